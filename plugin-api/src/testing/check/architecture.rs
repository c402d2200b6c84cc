//! Architectures: declared parameters, logits in every mode, features, statistics, and derivatives of two orders.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    TOLERANCE,
    network::{IMAGES, Network},
    options::Maker,
    params::init_on,
    random_like,
};
use crate::{
    Context as _, Ctx, Result, Tensor,
    architecture::{Architecture, ForeignArchitecture, InputShape, serve},
    ensure,
    nn::ModuleSpec,
    schemars::JsonSchema,
    tensor::BatchNormMode,
    testing::device,
};

const MODES: [(&str, BatchNormMode); 4] = [
    ("train", BatchNormMode::TRAIN),
    ("eval", BatchNormMode::EVAL),
    ("recover", BatchNormMode::RECOVER),
    ("train-statistics", BatchNormMode::TRAIN_STATISTICS),
];

/// [`check_architecture_at`] for images of 3 x 16 x 16 and 5 classes.
///
/// # Errors
/// What breaks the contract, and how to mend it.
pub fn check_architecture<T: Architecture + DeserializeOwned + JsonSchema>(
    name: &str,
    options: Value,
) -> Result<()> {
    check_architecture_at::<T>(
        name,
        options,
        InputShape {
            channels: 3,
            height: 16,
            width: 16,
            classes: 5,
        },
    )
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
        let maker = Maker::<T>::check("architecture", name, options, serve::<T>)?;
        verify_architecture(
            &ForeignArchitecture::new(maker.make()?),
            &input,
            &device(),
            TOLERANCE,
        )
    };
    check().with_context(|| format!("architecture \"{name}\""))
}

/// The checks of [`check_architecture_at`] on an architecture and tensors of a host; `tolerance` is relative to the
/// largest slope.
///
/// # Errors
/// What breaks the contract.
pub fn verify_architecture(
    architecture: &ForeignArchitecture,
    input: &InputShape,
    device: &Tensor,
    tolerance: f64,
) -> Result<()> {
    let (module, spec) = architecture.build(input).context("build")?;
    check_names(&spec)?;
    let dims = [IMAGES, input.channels, input.height, input.width];
    let network = Network {
        params: init_on(device, &spec, 1)?,
        ctx: Ctx::new("recover", 0, device),
        weights: random_like(device, &[IMAGES, input.classes], 3)?,
        module,
        spec,
    };
    let x = random_like(device, &dims, 2)?;
    for (name, mode) in MODES {
        network
            .check_mode(&x, mode)
            .with_context(|| format!("{name} mode"))?;
    }
    network
        .check_batch_independence(&x, tolerance)
        .context("eval mode")?;
    network.check_all_used(&x)?;
    network.check_gradients(&x, tolerance).context("eval mode")
}

fn check_names(spec: &ModuleSpec) -> Result<()> {
    let mut names: Vec<&str> = spec.params.iter().map(|p| p.name.as_str()).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    ensure!(
        twice.is_none(),
        "two parameters are called \"{}\"",
        twice.map_or("", |pair| pair[0])
    );
    ensure!(
        spec.params.iter().any(|p| p.trainable),
        "it declares no parameter that is learned"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::architecture_test::*;
    use super::*;
    use serde_json::json;

    fn error<T: Architecture + DeserializeOwned + JsonSchema>() -> String {
        let input = InputShape {
            channels: 2,
            height: 6,
            width: 6,
            classes: 3,
        };
        check_architecture_at::<T>("under-test", json!({}), input)
            .err()
            .map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn a_good_architecture_passes() {
        assert_eq!(error::<Good>(), "");
        check_architecture::<Good>("good", json!({})).unwrap();
    }

    #[test]
    fn bad_architectures_are_told() {
        let told = |text: String, part: &str| assert!(text.contains(part), "{text}");
        told(
            error::<NoEmbedding>(),
            "architecture \"under-test\": train mode: it taps \"embedding\" 0 times",
        );
        told(
            error::<Unused>(),
            "parameter \"spare\" is declared but the logits do not depend on it",
        );
        told(
            error::<Twice>(),
            "BatchNorms [0, 0] are reported, expected each of 1 once",
        );
        told(error::<Gossip>(), "images must not look at each other");
        told(
            error::<Transposed>(),
            "expected logits of shape [2, 3], got [3, 2]",
        );
        told(
            error::<Detached>(),
            "eval mode: the images of shape [2, 2, 6, 6]: the result changes with it",
        );
    }
}
