//! Losses to try the checks on: good ones, and one for each way to break the contract.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::prelude::*;

macro_rules! loss {
    ($(#[$doc:meta])* $name:ident, |$x:ident| $body:expr) => {
        $(#[$doc])*
        #[derive(Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {}

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
        pub(super) struct $name {
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
pub(super) struct HalfSaved {
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
