//! Matchers: how far training on a small synthetic set is from training on real data, by gradients, features or trajectories,
//! and in which direction its images should move.

mod foreign;
mod lab;
mod network;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    Result, Tensor,
    abi::{Args, Method, Reply},
    component::{Ctx, State, to_json, unknown_method},
    ensure, grad,
};

pub use foreign::ForeignMatcher;
pub use lab::Lab;
pub use network::{Answer, Network};

use lab::ForeignLab;

/// The set that is optimised. Its images, and everything else that is learned, are tracked.
pub struct Synthetic {
    /// Images as networks see them, [N, C, H, W].
    pub images: Tensor,
    /// Class of each image.
    pub classes: Vec<u32>,
    /// Learned labels as logits, [N, classes]; absent where an image's label is its class.
    pub labels: Option<Tensor>,
    /// Learned learning rate for training on the set, a scalar; absent if it is not learned.
    pub learning_rate: Option<Tensor>,
}

impl Synthetic {
    /// Everything that is learned: images, then labels, then learning rate.
    pub fn learned(&self) -> Vec<&Tensor> {
        std::iter::once(&self.images)
            .chain(&self.labels)
            .chain(&self.learning_rate)
            .collect()
    }

    /// The classes that have images, each once, in ascending order.
    pub fn distinct_classes(&self) -> Vec<u32> {
        let classes: BTreeSet<u32> = self.classes.iter().copied().collect();
        classes.into_iter().collect()
    }

    /// Indices of the images of a class.
    pub fn of_class(&self, class: u32) -> Vec<u32> {
        let indices = 0..self.classes.len() as u32;
        indices
            .filter(|&i| self.classes[i as usize] == class)
            .collect()
    }

    /// Some of the images, with gradients that reach [`Synthetic::images`].
    ///
    /// # Errors
    /// When an index is too large.
    pub fn select(&self, indices: &[u32]) -> Result<Tensor> {
        let index = self.images.new_u32(indices, &[indices.len()])?;
        self.images.index_select(&index, 0)
    }
}

/// The result of a call to a matcher.
pub struct Matched {
    /// The distance of the set from real data, a scalar.
    pub loss: Tensor,
    /// Gradients of [`Synthetic::learned`], in its order; `None` leaves a part as it is.
    pub gradients: Vec<Option<Tensor>>,
}

impl Matched {
    /// A loss with the gradients that its graph gives.
    ///
    /// # Errors
    /// When `loss` is no scalar.
    pub fn of(loss: Tensor, synthetic: &Synthetic) -> Result<Self> {
        let gradients = grad(&loss, &synthetic.learned(), false)?;
        Ok(Self {
            loss: loss.detach()?,
            gradients,
        })
    }

    /// The sum over the classes of a loss in which no class's images meet another's; one graph at a time. `loss` is handed a class and
    /// its images, tracked, [n, C, H, W].
    ///
    /// # Errors
    /// What `loss` answers, and when it gives no scalar.
    pub fn by_class(
        synthetic: &Synthetic,
        mut loss: impl FnMut(u32, &Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        let mut sum = Self::nothing(synthetic)?;
        let (mut order, mut parts) = (Vec::new(), Vec::new());
        for class in synthetic.distinct_classes() {
            let indices = synthetic.of_class(class);
            let images = synthetic.select(&indices)?.detach()?.leaf()?;
            let loss = loss(class, &images)?;
            let gradient = grad(&loss, &[&images], false)?.pop().flatten();
            parts.push(gradient.map_or_else(|| images.zeros_like(), Ok)?);
            order.extend(indices);
            sum.loss = (sum.loss + loss.detach()?)?;
        }
        ensure!(!parts.is_empty(), "an empty synthetic set");
        let mut row_of = vec![0; order.len()];
        for (row, image) in order.into_iter().enumerate() {
            row_of[image as usize] = row as u32;
        }
        let rows = synthetic.images.new_u32(&row_of, &[row_of.len()])?;
        let all = Tensor::cat(&parts.iter().collect::<Vec<_>>(), 0)?;
        sum.gradients[0] = Some(all.index_select(&rows, 0)?);
        Ok(sum)
    }

    /// Nothing yet: loss 0, no gradients.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn nothing(synthetic: &Synthetic) -> Result<Self> {
        Ok(Self {
            loss: synthetic.images.new_like(&[0.], &[])?,
            gradients: vec![None; synthetic.learned().len()],
        })
    }

    /// Adds gradients.
    ///
    /// # Errors
    /// When their number is wrong.
    pub fn add_gradients(&mut self, others: Vec<Option<Tensor>>) -> Result<()> {
        let (have, got) = (self.gradients.len(), others.len());
        ensure!(have == got, "{got} gradients for {have} learned tensors");
        for (own, other) in self.gradients.iter_mut().zip(others) {
            *own = match (own.take(), other) {
                (Some(a), Some(b)) => Some((a + b)?),
                (a, b) => a.or(b),
            };
        }
        Ok(())
    }
}

/// What a matcher needs; checked before anything is computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MatchNeeds {
    /// Gradients of gradients through the network.
    pub second_order: bool,
    /// The last epoch of an expert's training that it uses; absent without experts.
    pub expert_epochs: Option<u64>,
    /// A learned learning rate.
    pub learning_rate: bool,
    /// Real images of one class in a batch; 0 without any.
    pub real_per_class: usize,
    /// Features by name.
    pub features: Vec<String>,
}

/// The input of a matcher.
pub struct MatchInput<'a> {
    /// The set that is optimised.
    pub synthetic: &'a Synthetic,
    /// Real images, networks and experts.
    pub lab: &'a dyn Lab,
    /// The position in the run.
    pub ctx: &'a Ctx,
}

/// A matcher. It is its own options: a struct that derives `Deserialize` and `JsonSchema`.
pub trait Matcher: Send + Sync + 'static {
    /// The loss of one iteration and its gradients; the host uses them to update the images.
    ///
    /// # Errors
    /// Any problem with the input; the host adds where in the run it occurred.
    fn forward(&self, input: &MatchInput<'_>) -> Result<Matched>;

    /// What it needs; asked before anything is computed.
    fn needs(&self) -> MatchNeeds {
        MatchNeeds::default()
    }

    /// Its state between calls, for a checkpoint; empty if there is none.
    ///
    /// # Errors
    /// When the state cannot be saved.
    fn save(&self) -> Result<Option<State>> {
        Ok(None)
    }

    /// Restores what [`Matcher::save`] returned.
    ///
    /// # Errors
    /// When the state does not fit.
    fn load(&self, _state: &State) -> Result<()> {
        Ok(())
    }
}

#[doc(hidden)]
pub fn serve<T: Matcher>(matcher: &T, method: Method, args: &Args<'_>) -> Result<Reply> {
    let mut reply = Reply::new();
    match method {
        Method::FORWARD => {
            let optional = |key| args.tensors(key).next().cloned();
            let classes = args.ints("classes").unwrap_or_default();
            let synthetic = Synthetic {
                images: args.tensor("images")?.clone(),
                classes: classes.iter().map(|&c| c as u32).collect(),
                labels: optional("labels"),
                learning_rate: optional("learning_rate"),
            };
            let (lab, ctx) = (ForeignLab(args.component("lab")?), Ctx::read(args)?);
            let matched = matcher.forward(&MatchInput {
                synthetic: &synthetic,
                lab: &lab,
                ctx: &ctx,
            })?;
            reply.tensor("loss", matched.loss);
            let given = matched.gradients.iter().map(|g| i64::from(g.is_some()));
            reply.ints("given", given.collect());
            for gradient in matched.gradients.into_iter().flatten() {
                reply.tensor("gradient", gradient);
            }
        }
        Method::NEEDS => {
            reply.text("needs", to_json(&matcher.needs())?);
        }
        Method::SAVE => return Ok(State::into_reply(matcher.save()?)),
        Method::LOAD => matcher.load(&State::read(args)?)?,
        other => return Err(unknown_method(other)),
    }
    Ok(reply)
}
