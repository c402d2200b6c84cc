//! What an author's test calls: a component made from its options and called through the boundary, as a host does it.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{device, options::Maker};
use crate::{
    Context as _, Result,
    architecture::{self, Architecture, ForeignArchitecture, InputShape},
    contract::{self, TOLERANCE},
    loss::{self, ForeignLoss, Loss},
    matcher::{self, ForeignMatcher, Matcher},
    regularizer::{self, ForeignRegularizer, Regularizer},
    relabeler::{self, ForeignRelabeler, Relabeler},
    schemars::JsonSchema,
};

/// Checks a loss through the boundary: name, options and schema; then a finite scalar with the right gradient for
/// class labels, mixed labels and soft labels (it may refuse some of them), the same at every call, and a state
/// that survives.
///
/// # Errors
/// What breaks the contract, and how to mend it.
pub fn check_loss<T: Loss + DeserializeOwned + JsonSchema>(
    name: &str,
    options: Value,
) -> Result<()> {
    let check = || {
        let maker = Maker::<T>::check("loss", name, options, loss::serve::<T>)?;
        let make = || maker.make().map(ForeignLoss::new);
        contract::loss::verify_pair(&make()?, &make()?, &device(), TOLERANCE)
    };
    check().with_context(|| format!("loss \"{name}\""))
}

/// Checks a regularizer through the boundary: name, options and schema; then, on a made-up view, canvas, two
/// BatchNorms and the feature `embedding`, a finite scalar with the right gradient with respect to each; that it
/// works on nothing but what [`Regularizer::needs`] asks for; the same value at every call, and a state that
/// survives.
///
/// # Errors
/// What breaks the contract, and how to mend it.
pub fn check_regularizer<T: Regularizer + DeserializeOwned + JsonSchema>(
    name: &str,
    options: Value,
) -> Result<()> {
    let check = || {
        let maker = Maker::<T>::check("regularizer", name, options, regularizer::serve::<T>)?;
        let make = || ForeignRegularizer::new(maker.make()?);
        contract::regularizer::verify_pair(&make()?, &make()?, &device(), TOLERANCE)
    };
    check().with_context(|| format!("regularizer \"{name}\""))
}

/// [`check_architecture_at`] for images of 3 x 16 x 16 and 5 classes.
///
/// # Errors
/// What breaks the contract, and how to mend it.
pub fn check_architecture<T: Architecture + DeserializeOwned + JsonSchema>(
    name: &str,
    options: Value,
) -> Result<()> {
    check_architecture_at::<T>(name, options, contract::SMALL)
}

/// Checks an architecture through the boundary: name, options and schema; parameters with names of their own, all
/// of them used; finite logits and the feature `embedding` in each mode of BatchNorm; every BatchNorm reported
/// once; images that do not look at each other in eval mode; gradients of first and second order.
///
/// # Errors
/// What breaks the contract, and how to mend it.
pub fn check_architecture_at<T: Architecture + DeserializeOwned + JsonSchema>(
    name: &str,
    options: Value,
    input: InputShape,
) -> Result<()> {
    let check = || {
        let maker = Maker::<T>::check("architecture", name, options, architecture::serve::<T>)?;
        let architecture = ForeignArchitecture::new(maker.make()?);
        contract::verify_architecture(&architecture, &input, &device(), TOLERANCE)
    };
    check().with_context(|| format!("architecture \"{name}\""))
}

/// Checks a relabeler through the boundary: name, options and schema; then, for sets without mixes, with cutmix and
/// with mixup and with colour jitter (it may refuse some), plans within the set and the same at every call; records with a row for each
/// view, the same for any batch; training views that cover the set; and targets that are distributions.
///
/// # Errors
/// What breaks the contract, and how to mend it.
pub fn check_relabeler<T: Relabeler + DeserializeOwned + JsonSchema>(
    name: &str,
    options: Value,
) -> Result<()> {
    let check = || {
        let maker = Maker::<T>::check("relabeler", name, options, relabeler::serve::<T>)?;
        let make = || maker.make().map(ForeignRelabeler::new);
        contract::relabeler::verify_pair(&make()?, &make()?, &device(), TOLERANCE)
    };
    check().with_context(|| format!("relabeler \"{name}\""))
}

/// Checks a matcher through the boundary: name, options and schema; then, on a small set with learned labels and learning rate, a
/// finite loss and finite gradients for three iterations, the same in a second component and in one that goes on from a saved
/// state.
///
/// # Errors
/// What breaks the contract, and how to mend it.
pub fn check_matcher<T: Matcher + DeserializeOwned + JsonSchema>(
    name: &str,
    options: Value,
) -> Result<()> {
    let check = || {
        let maker = Maker::<T>::check("matcher", name, options, matcher::serve::<T>)?;
        let make = || ForeignMatcher::new(maker.make()?);
        contract::matcher::verify_pairs(&make, &device())
    };
    check().with_context(|| format!("matcher \"{name}\""))
}

/// That the gradients which a matcher gives are those of its loss, by differences at its first iteration.
///
/// # Errors
/// Where they disagree.
pub fn check_matcher_gradients<T: Matcher + DeserializeOwned + JsonSchema>(
    name: &str,
    options: Value,
) -> Result<()> {
    let check = || {
        let maker = Maker::<T>::check("matcher", name, options, matcher::serve::<T>)?;
        let make = || ForeignMatcher::new(maker.make()?);
        contract::matcher::verify_gradients(&make, &device(), TOLERANCE)
    };
    check().with_context(|| format!("matcher \"{name}\""))
}
