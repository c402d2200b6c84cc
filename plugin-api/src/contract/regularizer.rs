//! Regularizers: scalar, finite, differentiable, deterministic, with nothing but what they say they need.

#[cfg(feature = "testing")]
use super::scalar::verify_move;
use super::{random_like, scalar::verify_scalar};
use crate::{
    Context as _, Ctx, Needs, Result, Tensor, ensure,
    nn::{LayerInput, LayerKind},
    regularizer::{BatchNormInput, Regularizer, RegularizerInput},
};

/// Classes that are made up, and those of the images, of which two have the same.
const CLASSES: usize = 3;
const LABELS: [u32; 3] = [2, 0, 2];
const N: usize = LABELS.len();

/// Channels of the BatchNorms that are made up.
const NORMS: [usize; 2] = [3, 5];

/// Checks a regularizer on the tensors of a host: on a made-up view, canvas, two BatchNorms and the feature `embedding`, a finite
/// scalar with the right gradient with respect to each, the same at every call, after it has observed what it asks to; and that it works on nothing but what
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
    let tolerance = match regularizer.needs().stops_gradient {
        true => f64::MAX,
        false => tolerance,
    };
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

/// What a regularizer is handed: view, canvas, logits, then mean and variance of each BatchNorm, then features, then the inputs of layers.
struct World {
    inputs: Vec<(String, Tensor)>,
    running: Vec<[Tensor; 2]>,
    features: Vec<String>,
    layers: Vec<LayerKind>,
    ctx: Ctx,
}

impl World {
    /// Everything, and features of all names that are asked for.
    fn whole(device: &Tensor, regularizer: &dyn Regularizer) -> Result<Self> {
        let mut needs = regularizer.needs();
        needs.features.retain(|f| f != "embedding");
        needs.features.insert(0, "embedding".to_owned());
        needs.batch_norm = true;
        Self::new(device, regularizer, needs)
    }

    /// Only what is asked for.
    fn needed(device: &Tensor, regularizer: &dyn Regularizer) -> Result<Self> {
        let mut needs = regularizer.needs();
        // A BatchNorm whose input is handed over has its statistics.
        needs.batch_norm |= needs.layers.contains(&LayerKind::BatchNorm);
        Self::new(device, regularizer, needs)
    }

    /// What `needs` asks for; the regularizer observes another world of the kind first, where that is what it needs.
    fn new(device: &Tensor, regularizer: &dyn Regularizer, needs: Needs) -> Result<Self> {
        let world = Self::seeded(device, &needs, 0)?;
        if needs.reference {
            let real = Self::seeded(device, &needs, 100)?;
            let observed = real.with_input(&real.tensors(), |input| regularizer.observe(input));
            observed.context("observe")?;
        }
        Ok(world)
    }

    fn seeded(device: &Tensor, needs: &Needs, seed: u64) -> Result<Self> {
        let first = seed;
        let norms: &[usize] = if needs.batch_norm { &NORMS } else { &[] };
        let (features, layers) = (needs.features.clone(), needs.layers.clone());
        let random = |dims: &[usize], seed| random_like(device, dims, seed);
        let positive = |channels, seed| random(&[channels], seed)?.sqr()?.affine(1., 0.5);
        let mut inputs = vec![
            ("view".to_owned(), random(&[N, 3, 8, 8], first + 1)?),
            ("canvas".to_owned(), random(&[N, 3, 10, 10], first + 2)?),
            ("logits".to_owned(), random(&[N, CLASSES], first + 3)?),
        ];
        let mut running = Vec::new();
        for (&channels, seed) in norms.iter().zip((first + 10..).step_by(4)) {
            let (mean, var) = (random(&[channels], seed)?, positive(channels, seed + 1)?);
            inputs.push(("the mean of a BatchNorm".to_owned(), mean));
            inputs.push(("the variance of a BatchNorm".to_owned(), var));
            running.push([
                random(&[channels], seed + 2)?,
                positive(channels, seed + 3)?,
            ]);
        }
        for (name, seed) in features.iter().zip(first + 50..) {
            inputs.push((format!("feature \"{name}\""), random(&[N, 6], seed)?));
        }
        for (i, seed) in (0..layers.len() * NORMS.len()).zip(first + 70..) {
            let dims = [N, NORMS[i % NORMS.len()], 4, 4];
            inputs.push((format!("the input of layer {i}"), random(&dims, seed)?));
        }
        Ok(Self {
            inputs,
            running,
            features,
            layers,
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
        let layers: Vec<&str> = self.layers.iter().map(|kind| kind.name()).collect();
        let layers = match layers.as_slice() {
            [] => String::new(),
            kinds => format!(", inputs of layers: [{}]", kinds.join(", ")),
        };
        format!("{norms}, features: [{}]{layers}", self.features.join(", "))
    }

    fn forward(&self, regularizer: &dyn Regularizer, x: &[Tensor]) -> Result<Tensor> {
        self.with_input(x, |input| regularizer.forward(input))
    }

    fn with_input<R>(
        &self,
        x: &[Tensor],
        f: impl FnOnce(&RegularizerInput<'_>) -> Result<R>,
    ) -> Result<R> {
        let (statistics, others) = x[3..].split_at(2 * self.running.len());
        let (features, inputs) = others.split_at(self.features.len());
        let norm = |(i, (pair, running)): (usize, (&[Tensor], &[Tensor; 2]))| BatchNormInput {
            name: format!("features.{i}"),
            mean: pair[0].clone(),
            var: pair[1].clone(),
            running_mean: running[0].clone(),
            running_var: running[1].clone(),
        };
        let layer = |(i, (kind, input)): (usize, (LayerKind, &Tensor))| LayerInput {
            index: i,
            name: format!("features.{}", i % NORMS.len()),
            kind,
            input: input.clone(),
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
        let kinds = self.layers.iter().flat_map(|kind| [*kind; NORMS.len()]);
        let layers: Vec<_> = kinds.zip(inputs).enumerate().map(layer).collect();
        f(&RegularizerInput {
            view: &x[0],
            canvas: &x[1],
            batch_norms: &batch_norms,
            features: &features,
            logits: &x[2],
            labels: &LABELS,
            images: &[0, 0, 1],
            layers: &layers,
            ctx: &self.ctx,
        })
    }
}
