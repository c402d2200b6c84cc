//! Losses: scalar, finite, differentiable, deterministic, for at least one kind of targets.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    TOLERANCE,
    options::Maker,
    random_like,
    scalar::{refused, verify_move, verify_scalar},
};
use crate::{
    Context as _, Ctx, Result, Tensor, ensure,
    loss::{ForeignLoss, HardTargets, Loss, LossInput, SoftTargets, Targets, serve},
    rng::{Rng, StreamId},
    schemars::JsonSchema,
    testing::device,
};

const IMAGES: usize = 6;
const CLASSES: usize = 5;

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
        let maker = Maker::<T>::check("loss", name, options, serve::<T>)?;
        let (used, fresh) = (
            ForeignLoss::new(maker.make()?),
            ForeignLoss::new(maker.make()?),
        );
        let device = device();
        let accepted = verify(&used, &device, TOLERANCE)?;
        let ctx = context(&device);
        let inputs = [
            random_like(&device, &[IMAGES, CLASSES], 1)?,
            embedding(&device)?,
        ];
        let (used, fresh): (&dyn Loss, &dyn Loss) = (&used, &fresh);
        let of = |loss: &dyn Loss, x: &[Tensor]| forward(loss, &accepted, &ctx, x);
        verify_move(
            (&used, &|x| of(used, x)),
            (&fresh, &|x| of(fresh, x)),
            &inputs,
        )
    };
    check().with_context(|| format!("loss \"{name}\""))
}

/// The checks of [`check_loss`] on a loss and tensors of a host; `tolerance` is relative to the largest slope.
///
/// # Errors
/// What breaks the contract.
pub fn verify_loss(loss: &dyn Loss, device: &Tensor, tolerance: f64) -> Result<()> {
    verify(loss, device, tolerance).map(|_| ())
}

/// Gives targets that the loss takes.
fn verify(loss: &dyn Loss, device: &Tensor, tolerance: f64) -> Result<Targets> {
    let ctx = context(device);
    let inputs = [
        (
            "logits".to_owned(),
            random_like(device, &[IMAGES, CLASSES], 1)?,
        ),
        ("feature \"embedding\"".to_owned(), embedding(device)?),
    ];
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
            "all kinds of targets are refused ({})",
            refusals.join("; ")
        ))
    })
}

fn context(device: &Tensor) -> Ctx {
    Ctx::new("validate", 0, device).at(3, 10)
}

fn embedding(device: &Tensor) -> Result<Tensor> {
    random_like(device, &[IMAGES, 8], 2)
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
    let soft = |logits: Option<&Tensor>| {
        Targets::Soft(SoftTargets {
            log_probs: log_probs.clone(),
            logits: logits.cloned(),
        })
    };
    Ok(vec![
        ("class labels", Targets::labels(labels.clone())),
        (
            "mixed class labels",
            Targets::Hard(HardTargets {
                labels,
                labels_b: Some(labels_b),
                lambda: Some(lambda),
            }),
        ),
        ("soft labels with logits", soft(Some(&logits))),
        ("soft labels without logits", soft(None)),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::loss_test::*;
    use super::*;
    use serde_json::json;

    fn error<T: Loss + DeserializeOwned + JsonSchema>() -> String {
        check_loss::<T>("under-test", json!({}))
            .err()
            .map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn good_losses_pass() {
        assert_eq!(error::<CrossEntropy>(), "");
        assert_eq!(error::<Stateful>(), "");
    }

    #[test]
    fn bad_losses_are_told() {
        let told = |text: String, parts: &[&str]| {
            assert!(parts.iter().all(|p| text.contains(p)), "{text}");
        };
        told(
            error::<Detached>(),
            &[
                "loss \"under-test\": class labels: logits",
                "detached on the way",
            ],
        );
        told(error::<NoScalar>(), &["expected a scalar, got shape [6]"]);
        told(error::<Undefined>(), &["the value is NaN"]);
        told(error::<Constant>(), &["nothing can be learned"]);
        told(
            error::<Refusing>(),
            &[
                "all kinds of targets are refused",
                "class labels: never",
                "without logits: never",
            ],
        );
        told(
            error::<Panicking>(),
            &["class labels", "instead of a panic", "index out of bounds"],
        );
        told(error::<Forgetful>(), &["two calls with the same inputs"]);
        told(
            error::<HalfSaved>(),
            &["a fresh component that loaded the state"],
        );
    }

    #[test]
    fn a_host_can_check_its_own_objects() {
        verify_loss(&CrossEntropy {}, &device(), 1e-6).unwrap();
        let single = device().to_dtype(crate::tensor::DType::F32).unwrap();
        verify_loss(&CrossEntropy {}, &single, 3e-2).unwrap();
        assert!(verify_loss(&Detached {}, &device(), 1e-6).is_err());
    }
}
