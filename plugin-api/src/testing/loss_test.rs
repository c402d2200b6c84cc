//! Losses to try the checks on: good ones, and one for each way to break the contract.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use serde_json::json;

use super::{check_loss, device};
use crate::{contract::verify_loss, prelude::*};

macro_rules! loss {
    ($(#[$doc:meta])* $name:ident, |$x:ident| $body:expr) => {
        $(#[$doc])*
        #[derive(Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        struct $name {}

        impl Loss for $name {
            fn forward(&self, $x: &LossInput<'_>) -> Result<Tensor> {
                $body
            }
        }
    };
}

loss! {
    /// Cross-entropy with class labels, mixed ones included; it refuses soft labels.
    CrossEntropy, |x| {
        let log_p = x.logits.log_softmax(1)?;
        let hard = x.targets.hard()?;
        let of = |labels: &Tensor| log_p.gather(&labels.unsqueeze(1)?, 1)?.squeeze(1)?.neg();
        let first = of(&hard.labels)?;
        match (hard.labels_b, hard.lambda) {
            (Some(b), Some(lambda)) => ((&first - of(&b)?)? * lambda)?.broadcast_add(&of(&b)?)?.mean_all(),
            _ => first.mean_all(),
        }
    }
}

loss! {
    /// Loses the gradient.
    Detached, |x| x.logits.detach()?.sqr()?.mean_all()
}

loss! {
    /// Forgets to reduce.
    NoScalar, |x| x.logits.mean(&[1])
}

loss! {
    /// Not a number where a logit is negative.
    Undefined, |x| x.logits.log()?.mean_all()
}

loss! {
    /// The same whatever the logits are.
    Constant, |x| x.logits.zeros_like()?.sum_all()
}

loss! {
    /// Takes no targets.
    Refusing, |_x| bail!("never")
}

loss! {
    /// Panics.
    Panicking, |x| {
        let classes = x.logits.dim(1)?;
        [x.logits][classes].mean_all()
    }
}

macro_rules! counting {
    ($(#[$doc:meta])* $name:ident, |$counter:ident| $save:expr) => {
        $(#[$doc])*
        #[derive(Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        struct $name {
            #[serde(skip)]
            calls: AtomicU64,
        }

        impl Loss for $name {
            fn forward(&self, x: &LossInput<'_>) -> Result<Tensor> {
                let calls = self.calls.fetch_add(1, Ordering::Relaxed);
                x.logits.sqr()?.affine(1. + calls as f64, 0.)?.mean_all()
            }

            fn save(&self) -> Result<Option<State>> {
                let $counter = self.calls.load(Ordering::Relaxed);
                Ok($save)
            }

            fn load(&self, state: &State) -> Result<()> {
                self.calls.store(state.json.parse()?, Ordering::Relaxed);
                Ok(())
            }
        }
    };
}

counting! {
    /// Counts its calls and says so.
    Stateful, |calls| Some(State { tensors: Vec::new(), json: calls.to_string() })
}

counting! {
    /// Counts its calls and keeps it to itself.
    Forgetful, |_calls| None
}

/// Keeps a second number that it does not save.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HalfSaved {
    #[serde(skip)]
    seen: AtomicU64,
}

impl Loss for HalfSaved {
    fn forward(&self, x: &LossInput<'_>) -> Result<Tensor> {
        let seen = self.seen.swap(1, Ordering::Relaxed);
        x.logits.sqr()?.affine(1. + seen as f64, 0.)?.mean_all()
    }

    fn save(&self) -> Result<Option<State>> {
        Ok(Some(State {
            tensors: Vec::new(),
            json: "{}".to_owned(),
        }))
    }
}

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
            "detached somewhere",
        ],
    );
    told(error::<NoScalar>(), &["expected a scalar, got shape [6]"]);
    told(error::<Undefined>(), &["the value is NaN"]);
    told(error::<Constant>(), &["nothing can be learned"]);
    told(
        error::<Refusing>(),
        &[
            "all kinds of targets are rejected",
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
