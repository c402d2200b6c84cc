//! What an author's test calls: a component made from its options and called through the boundary, as a host does it.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{device, options::Maker};
use crate::{
    Context as _, Result,
    architecture::{self, Architecture, ForeignArchitecture, InputShape},
    canvas::{self, CanvasHook, ForeignCanvasHook},
    contract::{self, TOLERANCE},
    loss::{self, ForeignLoss, Loss},
    matcher::{self, ForeignMatcher, Matcher},
    regularizer::{self, ForeignRegularizer, Regularizer},
    relabeler::{self, ForeignRelabeler, Relabeler},
    schemars::JsonSchema,
    selector::{self, ForeignSelector, Selector},
};

/// Checks of components through the boundary; an error names the component.
macro_rules! checks {
    ($(
        $(#[$doc:meta])*
        $check:ident: $kind:ident, $module:ident $(, $input:ident: $type:ty)? => |$maker:ident| $contract:expr;
    )*) => { $(
        $(#[$doc])*
        pub fn $check<T: $kind + DeserializeOwned + JsonSchema>(
            name: &str,
            options: Value,
            $($input: $type,)?
        ) -> Result<()> {
            let kind = stringify!($module);
            let check = || {
                let $maker = Maker::<T>::check(kind, name, options, $module::serve::<T>)?;
                $contract
            };
            check().with_context(|| format!("{kind} \"{name}\""))
        }
    )* };
}

checks! {
    /// Checks a loss through the boundary: name, options and schema; then a finite scalar with the right gradient for
    /// class labels, mixed labels and soft labels (it may refuse some of them), the same at every call, and a state
    /// that survives.
    ///
    /// # Errors
    /// What breaks the contract, and how to mend it.
    check_loss: Loss, loss => |maker| {
        let make = || maker.make().map(ForeignLoss::new);
        contract::loss::verify_pair(&make()?, &make()?, &device(), TOLERANCE)
    };

    /// Checks a regularizer through the boundary: name, options and schema; then, on a made-up view, canvas, two
    /// BatchNorms and the feature `embedding`, a finite scalar with the right gradient with respect to each; that it
    /// works on nothing but what [`Regularizer::needs`] asks for; the same value at every call, and a state that
    /// survives.
    ///
    /// # Errors
    /// What breaks the contract, and how to mend it.
    check_regularizer: Regularizer, regularizer => |maker| {
        let make = || ForeignRegularizer::new(maker.make()?);
        contract::regularizer::verify_pair(&make()?, &make()?, &device(), TOLERANCE)
    };

    /// Checks an architecture through the boundary: name, options and schema; parameters with names of their own, all
    /// of them used; finite logits and the feature `embedding` in each mode of BatchNorm; every BatchNorm reported
    /// once; images that do not look at each other in eval mode; gradients of first and second order.
    ///
    /// # Errors
    /// What breaks the contract, and how to mend it.
    check_architecture_at: Architecture, architecture, input: InputShape => |maker| {
        let architecture = ForeignArchitecture::new(maker.make()?);
        contract::verify_architecture(&architecture, &input, &device(), TOLERANCE)
    };

    /// Checks a relabeler through the boundary: name, options and schema; then, for sets without mixes, with cutmix and
    /// with mixup and with colour jitter (it may refuse some), plans within the set and the same at every call; records with a row for each
    /// view, the same for any batch; training views that cover the set; and targets that are distributions.
    ///
    /// # Errors
    /// What breaks the contract, and how to mend it.
    check_relabeler: Relabeler, relabeler => |maker| {
        let make = || maker.make().map(ForeignRelabeler::new);
        contract::relabeler::verify_pair(&make()?, &make()?, &device(), TOLERANCE)
    };

    /// Checks a canvas hook through the boundary: name, options and schema; then, on made-up images, changes that fit them, the same at
    /// every call.
    ///
    /// # Errors
    /// What breaks the contract, and how to mend it.
    check_canvas: CanvasHook, canvas => |maker| {
        contract::verify_canvas(&ForeignCanvasHook::new(maker.make()?), &device())
    };

    /// Checks a selector through the boundary: name, options and schema; then, of made-up crops, as many different ones as are asked
    /// for, the same at every call, given nothing but what [`Selector::needs`] asks for.
    ///
    /// # Errors
    /// What breaks the contract, and how to mend it.
    check_selector: Selector, selector => |maker| {
        contract::verify_selector(&ForeignSelector::new(maker.make()?)?, &device())
    };

    /// Checks a matcher through the boundary: name, options and schema; then, on a small set with learned labels and learning rate, a
    /// finite loss and finite gradients for three iterations, the same in a second component and in one that goes on from a saved
    /// state.
    ///
    /// # Errors
    /// What breaks the contract, and how to mend it.
    check_matcher: Matcher, matcher => |maker| {
        let make = || ForeignMatcher::new(maker.make()?);
        contract::matcher::verify_pairs(&make, &device())
    };

    /// That the gradients which a matcher gives are those of its loss, by differences at its first iteration.
    ///
    /// # Errors
    /// Where they disagree.
    check_matcher_gradients: Matcher, matcher => |maker| {
        let make = || ForeignMatcher::new(maker.make()?);
        contract::matcher::verify_gradients(&make, &device(), TOLERANCE)
    };
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
