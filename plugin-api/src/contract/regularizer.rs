//! Regularizers: scalar, finite, differentiable, deterministic, with nothing but what they say they need.

#[cfg(feature = "testing")]
use super::scalar::verify_move;
use super::{random_like, scalar::verify_scalar};
use crate::{
    Context as _, Ctx, Result, Tensor, ensure,
    regularizer::{BatchNormInput, Regularizer, RegularizerInput},
};

/// Channels of the BatchNorms that are made up.
const NORMS: [usize; 2] = [3, 5];

/// Checks a regularizer on the tensors of a host: on a made-up view, canvas, two BatchNorms and the feature `embedding`, a finite
/// scalar with the right gradient with respect to each, the same at every call; and that it works on nothing but what
/// [`Regularizer::needs`] asks for. `tolerance` is relative to the largest slope.
///
/// # Errors
/// What breaks the contract.
pub fn verify_regularizer(
    regularizer: &dyn Regularizer,
    device: &Tensor,
    tolerance: f64,
) -> Result<()> {
    let whole = World::whole(device, regularizer)?;
    let slopes = verify_scalar(
        &regularizer,
        &|x| whole.forward(regularizer, x),
        &whole.inputs,
        tolerance,
    )?;
    ensure!(
        slopes.iter().any(|&s| s > 0.),
        "the penalty depends neither on view, canvas and features nor on BatchNorm statistics, so it does nothing"
    );
    let needed = World::needed(device, regularizer)?;
    let given = format!(
        "given only what needs() requests ({})",
        needed.description()
    );
    let alone = needed.forward(regularizer, &needed.tensors());
    let value = alone.and_then(|v| v.to_scalar()).context(&given)?;
    ensure!(value.is_finite(), "{given} the value is {value}");
    Ok(())
}

/// [`verify_regularizer`], and that a state moves to a second component.
#[cfg(feature = "testing")]
pub(crate) fn verify_pair(
    used: &dyn Regularizer,
    fresh: &dyn Regularizer,
    device: &Tensor,
    tolerance: f64,
) -> Result<()> {
    verify_regularizer(used, device, tolerance)?;
    let world = World::whole(device, used)?;
    verify_move(
        (&used, &|x| world.forward(used, x)),
        (&fresh, &|x| world.forward(fresh, x)),
        &world.tensors(),
    )
}

/// What a regularizer is handed: view, canvas, then mean and variance of each BatchNorm, then features.
struct World {
    inputs: Vec<(String, Tensor)>,
    running: Vec<[Tensor; 2]>,
    features: Vec<String>,
    ctx: Ctx,
}

impl World {
    /// Everything, and features of all names that are asked for.
    fn whole(device: &Tensor, regularizer: &dyn Regularizer) -> Result<Self> {
        let mut features = regularizer.needs().features;
        features.retain(|f| f != "embedding");
        features.insert(0, "embedding".to_owned());
        Self::new(device, &NORMS, features)
    }

    /// Only what is asked for.
    fn needed(device: &Tensor, regularizer: &dyn Regularizer) -> Result<Self> {
        let needs = regularizer.needs();
        let norms: &[usize] = if needs.batch_norm { &NORMS } else { &[] };
        Self::new(device, norms, needs.features)
    }

    fn new(device: &Tensor, norms: &[usize], features: Vec<String>) -> Result<Self> {
        let random = |dims: &[usize], seed| random_like(device, dims, seed);
        let positive = |channels, seed| random(&[channels], seed)?.sqr()?.affine(1., 0.5);
        let mut inputs = vec![
            ("view".to_owned(), random(&[2, 3, 8, 8], 1)?),
            ("canvas".to_owned(), random(&[2, 3, 10, 10], 2)?),
        ];
        let mut running = Vec::new();
        for (&channels, seed) in norms.iter().zip((10..).step_by(4)) {
            let (mean, var) = (random(&[channels], seed)?, positive(channels, seed + 1)?);
            inputs.push(("the mean of a BatchNorm".to_owned(), mean));
            inputs.push(("the variance of a BatchNorm".to_owned(), var));
            running.push([
                random(&[channels], seed + 2)?,
                positive(channels, seed + 3)?,
            ]);
        }
        for (name, seed) in features.iter().zip(50..) {
            inputs.push((format!("feature \"{name}\""), random(&[2, 6], seed)?));
        }
        Ok(Self {
            inputs,
            running,
            features,
            ctx: Ctx::new("recover", 0, device).at(3, 10),
        })
    }

    fn tensors(&self) -> Vec<Tensor> {
        self.inputs.iter().map(|(_, x)| x.clone()).collect()
    }

    fn description(&self) -> String {
        let norms = if self.running.is_empty() {
            "no BatchNorm"
        } else {
            "BatchNorms"
        };
        format!("{norms}, features: [{}]", self.features.join(", "))
    }

    fn forward(&self, regularizer: &dyn Regularizer, x: &[Tensor]) -> Result<Tensor> {
        let (statistics, features) = x[2..].split_at(2 * self.running.len());
        let norm = |(i, (pair, running)): (usize, (&[Tensor], &[Tensor; 2]))| BatchNormInput {
            name: format!("features.{i}"),
            mean: pair[0].clone(),
            var: pair[1].clone(),
            running_mean: running[0].clone(),
            running_var: running[1].clone(),
        };
        let batch_norms: Vec<_> = statistics
            .chunks(2)
            .zip(&self.running)
            .enumerate()
            .map(norm)
            .collect();
        let features: Vec<_> = self
            .features
            .iter()
            .cloned()
            .zip(features.iter().cloned())
            .collect();
        regularizer.forward(&RegularizerInput {
            view: &x[0],
            canvas: &x[1],
            batch_norms: &batch_norms,
            features: &features,
            ctx: &self.ctx,
        })
    }
}
