//! Losses: scalar, finite, differentiable, deterministic, for at least one kind of targets.

#[cfg(feature = "testing")]
use super::scalar::verify_move;
use super::{
    random_like,
    scalar::{refused, verify_scalar},
};
use crate::{
    Context as _, Ctx, Result, Tensor, ensure,
    loss::{HardTargets, Loss, LossInput, SoftTargets, Targets},
    rng::{Rng, StreamId},
};

const IMAGES: usize = 6;
const CLASSES: usize = 5;

/// Checks a loss on the tensors of a host: a finite scalar with the right gradient for class labels, mixed labels and soft labels (it
/// may refuse some of them), the same at every call. `tolerance` is relative to the largest slope.
///
/// # Errors
/// What breaks the contract.
pub fn verify_loss(loss: &dyn Loss, device: &Tensor, tolerance: f64) -> Result<()> {
    verify(loss, device, tolerance).map(|_| ())
}

/// [`verify_loss`], and that a state moves to a second component.
#[cfg(feature = "testing")]
pub(crate) fn verify_pair(
    used: &dyn Loss,
    fresh: &dyn Loss,
    device: &Tensor,
    tolerance: f64,
) -> Result<()> {
    let accepted = verify(used, device, tolerance)?;
    let ctx = context(device);
    let inputs = inputs(device)?.map(|(_, x)| x);
    let of = |loss: &dyn Loss, x: &[Tensor]| forward(loss, &accepted, &ctx, x);
    verify_move(
        (&used, &|x| of(used, x)),
        (&fresh, &|x| of(fresh, x)),
        &inputs,
    )
}

/// Gives targets that the loss takes.
fn verify(loss: &dyn Loss, device: &Tensor, tolerance: f64) -> Result<Targets> {
    let ctx = context(device);
    let inputs = inputs(device)?;
    let points: Vec<Tensor> = inputs.iter().map(|(_, x)| x.clone()).collect();
    let (mut accepted, mut refusals) = (None, Vec::new());
    for (kind, targets) in targets(device)? {
        let answer = refused(forward(loss, &targets, &ctx, &points)).context(kind)?;
        if let Err(refusal) = answer {
            refusals.push(format!("{kind}: {refusal}"));
            continue;
        }
        let slopes = verify_scalar(
            &loss,
            &|x| forward(loss, &targets, &ctx, x),
            &inputs,
            tolerance,
        )
        .context(kind)?;
        ensure!(
            slopes.iter().any(|&s| s > 0.),
            "{kind}: the value depends neither on the logits nor on the features, so nothing can be learned from it"
        );
        accepted.get_or_insert(targets);
    }
    accepted.ok_or_else(|| {
        crate::Error::msg(format!(
            "all kinds of targets are rejected ({})",
            refusals.join("; ")
        ))
    })
}

fn context(device: &Tensor) -> Ctx {
    Ctx::new("validate", 0, device).at(3, 10)
}

/// Logits and a feature.
fn inputs(device: &Tensor) -> Result<[(String, Tensor); 2]> {
    let random = |columns, seed| random_like(device, &[IMAGES, columns], seed);
    let feature = "feature \"embedding\"".to_owned();
    Ok([
        ("logits".to_owned(), random(CLASSES, 1)?),
        (feature, random(8, 2)?),
    ])
}

/// The loss at logits and a feature.
fn forward(loss: &dyn Loss, targets: &Targets, ctx: &Ctx, x: &[Tensor]) -> Result<Tensor> {
    let features = [("embedding".to_owned(), x[1].clone())];
    loss.forward(&LossInput {
        logits: &x[0],
        targets,
        features: &features,
        ctx,
    })
}

fn targets(device: &Tensor) -> Result<Vec<(&'static str, Targets)>> {
    let mut rng = Rng::new(0, "testing", "labels", StreamId::default());
    let mut labels = || -> Result<Tensor> {
        let drawn: Vec<u32> = (0..IMAGES).map(|_| rng.below(CLASSES as u32)).collect();
        device.new_u32(&drawn, &[IMAGES])
    };
    let (labels, labels_b) = (labels()?, labels()?);
    let lambda = device.new_like(&[0.7, 0.2, 1., 0., 0.5, 0.9], &[IMAGES])?;
    let logits = random_like(device, &[IMAGES, CLASSES], 3)?;
    let log_probs = logits.log_softmax(1)?;
    let mixed = HardTargets {
        labels: labels.clone(),
        labels_b: Some(labels_b),
        lambda: Some(lambda),
    };
    let soft = |logits: Option<&Tensor>| {
        Targets::Soft(SoftTargets {
            classes: Some(mixed.clone()),
            ..SoftTargets::new(log_probs.clone(), logits.cloned())
        })
    };
    Ok(vec![
        ("class labels", Targets::labels(labels.clone())),
        ("mixed class labels", Targets::Hard(mixed.clone())),
        ("soft labels with logits", soft(Some(&logits))),
        ("soft labels without logits", soft(None)),
    ])
}
