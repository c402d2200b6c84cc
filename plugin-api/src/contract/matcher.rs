//! Matchers: finite losses and gradients, the same at every call, and a state that survives.

use std::sync::Arc;

#[cfg(feature = "testing")]
use super::gradient::slopes;
use super::{
    finite,
    lab::{CLASSES, TestLab},
    random_like,
};
#[cfg(feature = "testing")]
use crate::bail;
use crate::{
    Context as _, Ctx, Result, Tensor, ensure,
    matcher::{ForeignMatcher, Matched, Synthetic},
};

/// Images of a class.
const PER_CLASS: usize = 2;

/// Iterations that are tried.
const ITERATIONS: u64 = 3;

/// Checks a matcher on the tensors of a host: on a small set with learned labels and learning rate, a finite loss and finite gradients
/// for three iterations, the same at every call.
///
/// # Errors
/// What breaks the contract.
pub fn verify_matcher(matcher: &ForeignMatcher, device: &Tensor) -> Result<()> {
    let world = World::new(device);
    for iteration in 0..ITERATIONS {
        let state = matcher.save().context("save")?;
        let matched = world.matched(matcher, &world.inputs()?, iteration)?;
        check(&matched)?;
        if let Some(state) = &state {
            matcher.load(state).context("load of saved state")?;
        }
        let again = world.matched(matcher, &world.inputs()?, iteration)?;
        ensure!(
            values(&matched)? == values(&again)?,
            "two calls of iteration {iteration} differ; draw random numbers from ctx.rng() and the lab, and save all state"
        );
    }
    Ok(())
}

/// [`verify_matcher`], and that each component that `make` gives does the same, with the state of another.
#[cfg(feature = "testing")]
pub(crate) fn verify_pairs(
    make: &dyn Fn() -> Result<ForeignMatcher>,
    device: &Tensor,
) -> Result<()> {
    verify_matcher(&make()?, device)?;
    let world = World::new(device);
    let first = make()?;
    for iteration in 0..ITERATIONS {
        let (fresh, state) = (make()?, first.save().context("save")?);
        if let Some(state) = &state {
            fresh.load(state).context("load into a fresh component")?;
        }
        let after = |m: &ForeignMatcher| values(&world.matched(m, &world.inputs()?, iteration)?);
        ensure!(
            after(&first)? == after(&fresh)?,
            "a fresh component that loaded the state differs at iteration {iteration}; save must return all of its state"
        );
    }
    Ok(())
}

/// That the gradients are those of the loss, by differences at the first iteration.
#[cfg(feature = "testing")]
pub(crate) fn verify_gradients(
    make: &dyn Fn() -> Result<ForeignMatcher>,
    device: &Tensor,
    tolerance: f64,
) -> Result<()> {
    let world = World::new(device);
    let inputs = world.inputs()?;
    let at = |x: &[Tensor]| world.matched(&make()?, x, 0);
    let matched = at(&inputs)?;
    for (i, gradient) in matched.gradients.iter().enumerate() {
        let Some(gradient) = gradient else { continue };
        // A function whose value is the loss and whose graph is the given gradient.
        let scalar = |x: &[Tensor]| {
            let mut all = inputs.clone();
            all[i] = x[0].detach()?;
            let found = at(&all)?;
            let Some(gradient) = found.gradients[i].clone() else {
                bail!("a gradient that was returned at first is missing")
            };
            let line = (gradient.detach()? * (&x[0] - x[0].detach()?)?)?.sum_all()?;
            found.loss + line
        };
        finite(gradient)?;
        let input = vec![(NAMES[i].to_owned(), inputs[i].clone())];
        slopes(&scalar, &input, 10. * tolerance, 12)?;
    }
    Ok(())
}

const NAMES: [&str; 3] = ["the images", "the labels", "the learning rate"];

struct World {
    lab: Arc<TestLab>,
    device: Tensor,
}

impl World {
    fn new(device: &Tensor) -> Self {
        Self {
            lab: Arc::new(TestLab::new(device)),
            device: device.clone(),
        }
    }

    /// Images, labels and learning rate.
    fn inputs(&self) -> Result<Vec<Tensor>> {
        let count = PER_CLASS * CLASSES;
        Ok(vec![
            self.lab.images(count, 3)?,
            random_like(&self.device, &[count, CLASSES], 7)?,
            self.device.new_like(&[0.05], &[])?,
        ])
    }

    fn matched(&self, matcher: &ForeignMatcher, x: &[Tensor], iteration: u64) -> Result<Matched> {
        let synthetic = Synthetic {
            images: x[0].leaf()?,
            classes: (0..PER_CLASS).flat_map(|_| 0..CLASSES as u32).collect(),
            labels: Some(x[1].leaf()?),
            learning_rate: Some(x[2].leaf()?),
        };
        let ctx = Ctx::new("match", 0, &self.device).at(iteration, ITERATIONS);
        let lab: Arc<TestLab> = Arc::clone(&self.lab);
        matcher.forward(&synthetic, lab, &ctx)
    }
}

fn check(Matched { loss, gradients }: &Matched) -> Result<()> {
    ensure!(
        loss.elem_count() == 1,
        "expected a scalar loss, got shape {:?}",
        loss.shape()
    );
    finite(loss).context("loss")?;
    ensure!(
        gradients.iter().any(Option::is_some),
        "it returns no gradient, so nothing is learned"
    );
    for (gradient, name) in gradients.iter().zip(NAMES) {
        if let Some(gradient) = gradient {
            finite(gradient).with_context(|| format!("gradient of {name}"))?;
        }
    }
    Ok(())
}

fn values(matched: &Matched) -> Result<Vec<Option<Vec<f64>>>> {
    let mut all = vec![Some(matched.loss.to_vec_f64()?)];
    for gradient in &matched.gradients {
        all.push(gradient.as_ref().map(Tensor::to_vec_f64).transpose()?);
    }
    Ok(all)
}
