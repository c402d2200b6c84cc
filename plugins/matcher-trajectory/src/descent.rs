//! Gradient descent on the synthetic set.

use plugin_api::prelude::*;

/// Gradients of the learned parameters, in their order; `None` where the loss does not depend on one.
pub type Gradients = Vec<Option<Tensor>>;

/// A training on the synthetic set: its network, its batches and its learning rate.
pub struct Descent<'a> {
    pub input: &'a MatchInput<'a>,
    batches: Vec<Vec<u32>>,
    pub network: Network,
    pub rate: &'a Tensor,
}

impl<'a> Descent<'a> {
    /// Draws the batches of `steps` steps: epochs of all images, cut into batches.
    pub fn new(input: &'a MatchInput<'a>, steps: usize, batch_size: Option<usize>) -> Result<Self> {
        let Some(rate) = &input.synthetic.learning_rate else {
            bail!(
                "trajectory matching needs a learned learning rate, but the synthetic set has none"
            )
        };
        let images = input.synthetic.classes.len();
        ensure!(images > 0, "an empty synthetic set");
        let mut rng = input.ctx.rng("order");
        let mut batches = Vec::with_capacity(steps);
        while batches.len() < steps {
            let order = rng.permutation(images);
            let size = batch_size.unwrap_or(images).max(1);
            // From the last on, as the authors take them: an incomplete batch comes first.
            batches.extend(order.chunks(size).rev().map(<[u32]>::to_vec));
        }
        batches.truncate(steps);
        Ok(Self {
            input,
            batches,
            network: input.lab.network()?,
            rate,
        })
    }

    /// The gradients of the loss on the batch of a step.
    pub fn gradients(
        &self,
        values: &[Tensor],
        synthetic: &Synthetic,
        step: usize,
        create_graph: bool,
    ) -> Result<Gradients> {
        let indices = &self.batches[step];
        let images = synthetic.select(indices)?;
        let images = self.input.lab.augment(&images, true, step as u64)?;
        let answer = self.network.forward(values, &images, self.input.ctx)?;
        let loss = match &synthetic.labels {
            Some(labels) => {
                let index = labels.new_u32(indices, &[indices.len()])?;
                answer.soft_cross_entropy(&labels.index_select(&index, 0)?)?
            }
            None => {
                let classes = indices.iter().map(|&i| synthetic.classes[i as usize]);
                answer.cross_entropy(&classes.collect::<Vec<_>>())?
            }
        };
        grad(&loss, &self.network.learned(values), create_graph)
    }

    /// `w - rate g`; buffers and parameters without a gradient stay.
    pub fn moved(
        &self,
        values: &[Tensor],
        gradients: &Gradients,
        rate: &Tensor,
    ) -> Result<Vec<Tensor>> {
        let mut gradients = gradients.iter();
        let pairs = self.network.spec.params.iter().zip(values);
        pairs
            .map(|(spec, value)| {
                let gradient = match spec.trainable {
                    true => gradients.next().and_then(Option::as_ref),
                    false => None,
                };
                match gradient {
                    Some(g) => value - (g * rate)?,
                    None => Ok(value.clone()),
                }
            })
            .collect()
    }

    /// `||a - b||^2` over the learned parameters.
    pub fn squared_distance(&self, a: &[Tensor], b: &[Tensor]) -> Result<Tensor> {
        let (a, b) = (self.network.learned(a), self.network.learned(b));
        let parts = a.into_iter().zip(b);
        total(parts.map(|(a, b)| (a - b)?.sqr()?.sum_all()))
    }

    /// The derivative of `||w - target||^2 / way` by the learned parameters.
    pub fn derivative(&self, w: &[Tensor], target: &[Tensor], way: &Tensor) -> Result<Gradients> {
        let (w, target) = (self.network.learned(w), self.network.learned(target));
        let pairs = w.into_iter().zip(target);
        pairs
            .map(|(w, target)| Ok(Some(((w.detach()? - target)?.affine(2., 0.)? / way)?)))
            .collect()
    }

    /// `<d, w>` over the learned parameters.
    pub fn product(&self, d: &Gradients, w: &[Tensor]) -> Result<Tensor> {
        let pairs = d.iter().zip(self.network.learned(w));
        let parts = pairs.filter_map(|(d, w)| Some((d.as_ref()?, w)));
        total(parts.map(|(d, w)| (d * w)?.sum_all()))
    }
}

/// A set of constants with the same values.
pub fn fixed(synthetic: &Synthetic) -> Result<Synthetic> {
    let constant = |t: &Option<Tensor>| t.as_ref().map(Tensor::detach).transpose();
    Ok(Synthetic {
        images: synthetic.images.detach()?,
        classes: synthetic.classes.clone(),
        labels: constant(&synthetic.labels)?,
        learning_rate: constant(&synthetic.learning_rate)?,
    })
}

fn total(parts: impl Iterator<Item = Result<Tensor>>) -> Result<Tensor> {
    let sum = parts.reduce(|sum, part| sum? + part?);
    sum.unwrap_or_else(|| Err(Error::msg("the network has no learned parameters")))
}
