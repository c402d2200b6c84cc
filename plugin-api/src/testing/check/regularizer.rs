//! Regularizers: scalar, finite, differentiable, deterministic, with nothing but what they say they need.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    TOLERANCE,
    options::Maker,
    random_like,
    scalar::{verify_move, verify_scalar},
};
use crate::{
    Context as _, Ctx, Result, Tensor, ensure,
    regularizer::{BatchNormInput, ForeignRegularizer, Regularizer, RegularizerInput, serve},
    schemars::JsonSchema,
    testing::device,
};

/// Channels of the BatchNorms that are made up.
const NORMS: [usize; 2] = [3, 5];

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
        let maker = Maker::<T>::check("regularizer", name, options, serve::<T>)?;
        let (used, fresh) = (
            ForeignRegularizer::new(maker.make()?)?,
            ForeignRegularizer::new(maker.make()?)?,
        );
        let device = device();
        verify_regularizer(&used, &device, TOLERANCE)?;
        let world = World::whole(&device, &used)?;
        let (used, fresh): (&dyn Regularizer, &dyn Regularizer) = (&used, &fresh);
        verify_move(
            (&used, &|x| world.forward(used, x)),
            (&fresh, &|x| world.forward(fresh, x)),
            &world.tensors(),
        )
    };
    check().with_context(|| format!("regularizer \"{name}\""))
}

/// The checks of [`check_regularizer`] on a regularizer and tensors of a host; `tolerance` is relative to the
/// largest slope.
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
    let alone = needed
        .forward(regularizer, &needed.tensors())
        .and_then(|v| v.to_scalar());
    let value = alone.with_context(|| {
        format!(
            "with nothing but what needs() asks for ({})",
            needed.description()
        )
    })?;
    ensure!(
        value.is_finite(),
        "with nothing but what needs() asks for ({}) the value is {value}",
        needed.description()
    );
    Ok(())
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
        let mut features = vec!["embedding".to_owned()];
        features.extend(
            regularizer
                .needs()
                .features
                .into_iter()
                .filter(|f| f != "embedding"),
        );
        Self::new(device, &NORMS, features)
    }

    /// Only what is asked for.
    fn needed(device: &Tensor, regularizer: &dyn Regularizer) -> Result<Self> {
        let needs = regularizer.needs();
        Self::new(
            device,
            if needs.batch_norm { &NORMS } else { &[] },
            needs.features,
        )
    }

    fn new(device: &Tensor, norms: &[usize], features: Vec<String>) -> Result<Self> {
        let mut inputs = vec![
            ("view".to_owned(), random_like(device, &[2, 3, 8, 8], 1)?),
            (
                "canvas".to_owned(),
                random_like(device, &[2, 3, 10, 10], 2)?,
            ),
        ];
        let mut running = Vec::new();
        let positive = |channels, seed| {
            random_like(device, &[channels], seed)?
                .sqr()?
                .affine(1., 0.5)
        };
        for (&channels, seed) in norms.iter().zip((10..).step_by(4)) {
            inputs.push((
                "the mean of a BatchNorm".to_owned(),
                random_like(device, &[channels], seed)?,
            ));
            inputs.push((
                "the variance of a BatchNorm".to_owned(),
                positive(channels, seed + 1)?,
            ));
            running.push([
                random_like(device, &[channels], seed + 2)?,
                positive(channels, seed + 3)?,
            ]);
        }
        for (name, seed) in features.iter().zip(50..) {
            inputs.push((
                format!("feature \"{name}\""),
                random_like(device, &[2, 6], seed)?,
            ));
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

#[cfg(test)]
mod tests {
    use super::super::regularizer_test::*;
    use super::*;
    use serde_json::json;

    fn error<T: Regularizer + DeserializeOwned + JsonSchema>() -> String {
        check_regularizer::<T>("under-test", json!({}))
            .err()
            .map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn good_regularizers_pass() {
        assert_eq!(error::<Statistics>(), "");
        assert_eq!(error::<Feature>(), "");
    }

    #[test]
    fn bad_regularizers_are_told() {
        let told = |text: String, part: &str| assert!(text.contains(part), "{text}");
        told(
            error::<Undefined>(),
            "regularizer \"under-test\": the value is NaN",
        );
        told(
            error::<Unasked>(),
            "what needs() asks for (no BatchNorm, features: []): the architecture taps no feature",
        );
        told(
            error::<Detached>(),
            "the variance of a BatchNorm of shape [5]: wrong gradient",
        );
        told(error::<Nothing>(), "it does nothing");
    }

    #[test]
    fn a_host_can_check_its_own_objects() {
        verify_regularizer(&Statistics {}, &device(), 1e-6).unwrap();
        assert!(verify_regularizer(&Undefined {}, &device(), 1e-6).is_err());
    }
}
