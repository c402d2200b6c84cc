//! What losses and regularizers share: a finite scalar with the right gradient, the same at every call, and a state
//! that survives.

use super::gradient::slopes;
use crate::{
    Context as _, ErrorKind, Result, State, Tensor, component::scalar, ensure, loss::Loss,
    regularizer::Regularizer,
};

/// Elements of an input at which gradients are compared.
const SAMPLES: usize = 16;

/// Something with a state to checkpoint.
pub(super) trait Keeps {
    /// As in the component's trait.
    fn save(&self) -> Result<Option<State>>;
    /// As in the component's trait.
    fn load(&self, state: &State) -> Result<()>;
}

macro_rules! keeps {
    ($($kind:ident),*) => { $(
        impl Keeps for &dyn $kind {
            fn save(&self) -> Result<Option<State>> {
                $kind::save(*self)
            }

            fn load(&self, state: &State) -> Result<()> {
                $kind::load(*self, state)
            }
        }
    )* };
}

keeps! { Loss, Regularizer }

/// The component's forward computation on named tensors.
pub(super) type Forward<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Checks `forward` at `inputs`; gives the largest slope of each.
///
/// A component with a state may answer otherwise at a second call, but not after its state was put back.
pub(super) fn verify_scalar(
    keeps: &dyn Keeps,
    forward: Forward<'_>,
    inputs: &[(String, Tensor)],
    tolerance: f64,
) -> Result<Vec<f64>> {
    let state = keeps.save().context("save")?;
    let from_state = |x: &[Tensor]| {
        if let Some(state) = &state {
            keeps.load(state).context("load of saved state")?;
        }
        forward(x)
    };
    let tensors: Vec<Tensor> = inputs.iter().map(|(_, x)| x.clone()).collect();
    let first = scalar(from_state(&tensors)?)?.to_scalar()?;
    ensure!(first.is_finite(), "the value is {first} for random inputs");
    let again = from_state(&tensors)?.to_scalar()?;
    let mend = if state.is_some() {
        "save must return all of its state"
    } else {
        "draw random numbers from ctx.rng(), and save all state"
    };
    ensure!(
        first.to_bits() == again.to_bits(),
        "two calls with the same inputs give {first} and {again}; {mend}"
    );
    slopes(&from_state, inputs, tolerance, SAMPLES)
}

/// Checks that a state moves to a fresh component: what `used` gives next, `fresh` gives after loading.
#[cfg(feature = "testing")]
pub(super) fn verify_move(
    used: (&dyn Keeps, Forward<'_>),
    fresh: (&dyn Keeps, Forward<'_>),
    inputs: &[Tensor],
) -> Result<()> {
    let value = |forward: Forward<'_>| forward(inputs).and_then(|v| v.to_scalar());
    // A call, so that there is something to keep.
    value(used.1)?;
    let Some(state) = used.0.save().context("save")? else {
        return Ok(());
    };
    fresh
        .0
        .load(&state)
        .context("load into a fresh component")?;
    let (old, new) = (value(used.1)?, value(fresh.1)?);
    ensure!(
        old.to_bits() == new.to_bits(),
        "a fresh component that loaded the state gives {new}, the old one {old}; save must return all of its state"
    );
    Ok(())
}

/// A refusal of inputs is an answer; a panic is not.
pub(super) fn refused<T>(result: Result<T>) -> Result<Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(e) if e.kind() == ErrorKind::PANIC => {
            Err(e.context("expected an error instead of a panic"))
        }
        Err(e) => Ok(Err(e.to_string())),
    }
}
