//! Architectures: declared parameters, logits in every mode, features, statistics, and derivatives of two orders.

use super::{
    network::{IMAGES, Network},
    params::init_on,
    random_like,
};
use crate::{
    Context as _, Ctx, Result, Tensor,
    architecture::{ForeignArchitecture, InputShape},
    bail, ensure,
    nn::ModuleSpec,
    tensor::BatchNormMode,
};

/// Small images of 5 classes, for networks under test.
pub const SMALL: InputShape = InputShape {
    channels: 3,
    height: 16,
    width: 16,
    classes: 5,
};

/// Checks an architecture on the tensors of a host: parameters with names of their own, all of them used; finite logits and the
/// feature `embedding` in each mode of BatchNorm; every BatchNorm reported once; images that do not look at each other in eval mode;
/// gradients of first and second order. `tolerance` is relative to the largest slope.
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
    for (name, mode) in BatchNormMode::NAMED {
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
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("two parameters are called \"{}\"", pair[0]);
    }
    ensure!(
        spec.params.iter().any(|p| p.trainable),
        "it declares no learned parameter"
    );
    Ok(())
}
