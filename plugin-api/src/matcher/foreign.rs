//! [`ForeignMatcher`]: a matcher behind the boundary, as a host has it.

use std::sync::Arc;

use super::{Lab, MatchNeeds, Matched, Synthetic, lab::serve_lab};
use crate::{
    Result, Tensor,
    abi::{ArgsBuf, Method, Reply},
    callee::Callee,
    component::{Ctx, State, adapt, needs_of, scalar},
    ensure,
};

/// A matcher behind the boundary.
pub struct ForeignMatcher {
    component: Callee,
    needs: MatchNeeds,
}

impl ForeignMatcher {
    /// Wraps what an entry of kind matcher created.
    ///
    /// # Errors
    /// When it cannot say what it needs.
    pub fn new(component: impl Into<Callee>) -> Result<Self> {
        let component = component.into();
        let needs = needs_of(&component)?;
        Ok(Self { component, needs })
    }

    /// See [`super::Matcher::forward`].
    ///
    /// # Errors
    /// See there.
    pub fn forward(&self, synthetic: &Synthetic, lab: Arc<dyn Lab>, ctx: &Ctx) -> Result<Matched> {
        let lab = adapt(lab, "lab", serve_lab);
        let classes: Vec<i64> = synthetic.classes.iter().map(|&c| i64::from(c)).collect();
        let mut args = ArgsBuf::new();
        args.tensor("images", &synthetic.images)
            .ints("classes", &classes)
            .component("lab", &lab);
        if let Some(labels) = &synthetic.labels {
            args.tensor("labels", labels);
        }
        if let Some(rate) = &synthetic.learning_rate {
            args.tensor("learning_rate", rate);
        }
        ctx.write(&mut args);
        let learned = synthetic.learned();
        self.component.call(Method::FORWARD, &args, |reply| {
            read_matched(reply, &learned)
        })
    }

    /// See [`super::Matcher::needs`].
    pub fn needs(&self) -> &MatchNeeds {
        &self.needs
    }

    /// See [`super::Matcher::save`].
    ///
    /// # Errors
    /// See there.
    pub fn save(&self) -> Result<Option<State>> {
        State::saved_by(&self.component)
    }

    /// See [`super::Matcher::load`].
    ///
    /// # Errors
    /// See there.
    pub fn load(&self, state: &State) -> Result<()> {
        state.load_with(&self.component)
    }
}

/// A loss and gradients that fit what is learned.
fn read_matched(mut reply: Reply, learned: &[&Tensor]) -> Result<Matched> {
    let loss = scalar(reply.take_tensor("loss")?)?;
    let given = reply.get_ints("given")?.to_vec();
    let mut tensors = reply.into_tensors().into_iter().map(|(_, tensor)| tensor);
    let parts = given
        .iter()
        .map(|&is| if is == 1 { tensors.next() } else { None });
    let gradients: Vec<_> = parts.collect();
    ensure!(
        gradients.len() == learned.len(),
        "the matcher returned {} gradients for {} learned tensors",
        gradients.len(),
        learned.len()
    );
    for (gradient, tensor) in gradients.iter().zip(learned) {
        if let Some(gradient) = gradient {
            let (got, expected) = (gradient.shape(), tensor.shape());
            ensure!(
                got == expected,
                "the matcher returned a gradient of shape {got:?}, expected {expected:?}"
            );
        }
    }
    Ok(Matched { loss, gradients })
}
