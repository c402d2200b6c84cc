//! Gradient matching: the gradient of a network's loss on synthetic images should point where that on real ones does.
//!
//! DC: Zhao, Mopuri and Bilen, "Dataset condensation with gradient matching", ICLR 2021. DSA, the same under augmentation: Zhao and
//! Bilen, ICML 2021. Both as in `main.py` and `utils.py` of VICO-UoE/DatasetCondensation.

mod distance;

use std::sync::Mutex;

use distance::Distance;
use plugin_api::prelude::*;

/// `sum over classes of D(gradient on real images, gradient on synthetic ones)`, in a network that is trained on the synthetic
/// set in between: iterations come in rounds of `outer`. A round begins with a fresh network; before each of its other iterations the
/// network takes `inner` epochs of gradient descent on the synthetic images.
///
/// The authors' table of `outer` and `inner`: 1 and 1 for one image a class, 10 and 50 for 10, 50 and 10 for 50. Their 1,000 iterations
/// are rounds, hence `iterations = 1000 outer` here. Where they count epochs of one batch each (up to 256 synthetic images), a
/// larger set is taken in several batches.
///
/// Differs from the authors' code in BatchNorm alone: they freeze a network's norms with the statistics of real images, here each
/// batch has its own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Gradient {
    /// Iterations with one network, the first with its initial parameters
    #[schemars(range(min = 1))]
    outer: u64,
    /// Epochs of training it on the synthetic set between iterations
    inner: u64,
    /// Learning rate of that training
    #[schemars(extend("exclusiveMinimum" = 0))]
    learning_rate: f64,
    /// Images per batch of that training
    #[schemars(range(min = 1))]
    batch_size: usize,
    /// Real images per class in each iteration
    #[schemars(range(min = 1))]
    real_per_class: usize,
    /// Distance between two gradients
    distance: Distance,
    /// The network of the round
    #[serde(skip)]
    #[schemars(skip)]
    held: Mutex<Option<Held>>,
}

impl Default for Gradient {
    fn default() -> Self {
        Self {
            outer: 10,
            inner: 50,
            learning_rate: 0.01,
            batch_size: 256,
            real_per_class: 256,
            distance: Distance::Rows,
            held: Mutex::default(),
        }
    }
}

/// A network on its way through a round.
#[derive(Clone)]
struct Held {
    round: u64,
    values: Vec<Tensor>,
}

impl Gradient {
    /// The network of this iteration: a fresh one, or the round's after its training on the images as they are now.
    fn network_of(&self, network: &Network, x: &MatchInput<'_>) -> Result<Held> {
        let (round, step) = (
            x.ctx.iteration() / self.outer,
            x.ctx.iteration() % self.outer,
        );
        if step == 0 {
            let values = x.lab.initial(round)?;
            return Ok(Held { round, values });
        }
        let held = self.lock()?.clone();
        let Some(mut held) = held.filter(|h| h.round == round) else {
            bail!(
                "iteration {} continues with the network of round {round}, which was not kept",
                x.ctx.iteration()
            )
        };
        let images = x.synthetic.images.detach()?;
        let mut rng = x.ctx.rng("inner");
        for epoch in 0..self.inner {
            let order = rng.permutation(x.synthetic.classes.len());
            for (batch, indices) in order.chunks(self.batch_size).enumerate() {
                let index = images.new_u32(indices, &[indices.len()])?;
                let part = images.index_select(&index, 0)?;
                let draw = INNER_DRAWS + epoch * order.len() as u64 + batch as u64;
                let part = x.lab.augment(&part, true, draw)?;
                let classes: Vec<u32> = indices
                    .iter()
                    .map(|&i| x.synthetic.classes[i as usize])
                    .collect();
                held.values = self.descend(network, &held.values, &part, &classes, x.ctx)?;
            }
        }
        Ok(held)
    }

    fn descend(
        &self,
        network: &Network,
        values: &[Tensor],
        images: &Tensor,
        classes: &[u32],
        ctx: &Ctx,
    ) -> Result<Vec<Tensor>> {
        let leaves = network.leaves(values)?;
        let loss = network
            .forward(&leaves, images, ctx)?
            .cross_entropy(classes)?;
        let mut gradients = grad(&loss, &network.learned(&leaves), false)?.into_iter();
        let specs = network.spec.params.iter().zip(&leaves);
        specs
            .map(
                |(spec, value)| match spec.trainable.then(|| gradients.next().flatten()) {
                    Some(Some(g)) => (value - (g * self.learning_rate)?)?.detach(),
                    _ => value.detach(),
                },
            )
            .collect()
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Option<Held>>> {
        self.held
            .lock()
            .map_err(|_| Error::msg("an earlier call failed while it held the network"))
    }
}

/// Draws of augmentations in the training of the network; those of the matching are the classes.
const INNER_DRAWS: u64 = 1 << 20;

impl Matcher for Gradient {
    fn forward(&self, x: &MatchInput<'_>) -> Result<Matched> {
        let network = x.lab.network()?;
        let held = self.network_of(&network, x)?;
        let gradients = |images: &Tensor, class: u32, create_graph: bool| {
            let leaves = network.leaves(&held.values)?;
            let images = x.lab.augment(images, false, u64::from(class))?;
            let classes = vec![class; images.dim(0)?];
            let loss = network
                .forward(&leaves, &images, x.ctx)?
                .cross_entropy(&classes)?;
            grad(&loss, &network.learned(&leaves), create_graph)
        };
        let matched = Matched::by_class(x.synthetic, |class, own| {
            let real = x.lab.real(class, self.real_per_class, 0)?;
            let real = gradients(&real, class, false).context("real images")?;
            let own = gradients(own, class, true).context("synthetic images")?;
            self.distance.of(&real, &own)
        })?;
        let last = x.ctx.iteration() % self.outer + 1 == self.outer;
        *self.lock()? = (!last).then_some(held);
        Ok(matched)
    }

    fn needs(&self) -> MatchNeeds {
        MatchNeeds {
            second_order: true,
            real_per_class: self.real_per_class,
            ..MatchNeeds::default()
        }
    }

    fn save(&self) -> Result<Option<State>> {
        let held = self.lock()?.clone();
        Ok(held.map(|held| {
            let numbered = held.values.into_iter().enumerate();
            State {
                tensors: numbered.map(|(i, v)| (format!("{i:04}"), v)).collect(),
                json: held.round.to_string(),
            }
        }))
    }

    fn load(&self, state: &State) -> Result<()> {
        let mut tensors = state.tensors.clone();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let round = state.json.parse();
        *self.lock()? = Some(Held {
            round: round.map_err(|_| Error::msg("the saved round is not a number"))?,
            values: tensors.into_iter().map(|(_, value)| value).collect(),
        });
        Ok(())
    }
}

export_plugin! { matcher "gradient": Gradient = "distance between gradients on real and synthetic images (DC; DSA with augmentation)" }

#[cfg(test)]
mod tests;
