//! Trajectory matching: training on the synthetic set from an expert's parameters should end where the expert's training did.
//!
//! MTT: Cazenavette et al., "Dataset distillation by matching training trajectories", CVPR 2022 (`distill.py` of
//! GeorgeCazenavette/mtt-distillation). TESLA, the same loss in memory that does not grow with the steps: Cui et al., "Scaling up
//! dataset distillation to ImageNet-1K with constant memory", ICML 2023 (`distill.py` of justincui03/tesla).

mod descent;

use descent::{Descent, fixed};
use plugin_api::prelude::*;

/// How the gradient of the loss is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Method {
    /// Backward through all steps, keeping their activations (MTT)
    #[default]
    Mtt,
    /// Step by step, treating each step's initial parameters as constants (TESLA, as in its authors' code); the parameters of
    /// each step are kept
    Tesla,
    /// Backward step by step: the gradient of `mtt` in the memory of `tesla`
    TeslaExact,
}

/// `||w_T - w*||^2 / ||w_0 - w*||^2`: `w_0` is an expert after a random epoch, `w*` the same expert `expert_epochs` later, and `w_T`
/// what `steps` steps of gradient descent on the synthetic set make of `w_0`, at the learned learning rate.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Trajectory {
    /// How the gradient is computed
    method: Method,
    /// Steps of gradient descent on the synthetic set (the authors' `syn_steps`)
    #[schemars(range(min = 1))]
    steps: usize,
    /// Epochs of the expert that these steps should match
    #[schemars(range(min = 1))]
    expert_epochs: u64,
    /// The steps start from an expert's epoch below this one
    #[schemars(range(min = 1))]
    max_start_epoch: u64,
    /// Synthetic images per step (`batch_syn`); all by default
    #[schemars(range(min = 1))]
    batch_size: Option<usize>,
}

impl Default for Trajectory {
    fn default() -> Self {
        Self {
            method: Method::Mtt,
            steps: 20,
            expert_epochs: 3,
            max_start_epoch: 20,
            batch_size: None,
        }
    }
}

impl Trajectory {
    /// An expert's parameters at two of its epochs.
    fn span(&self, x: &MatchInput<'_>) -> Result<[Vec<Tensor>; 2]> {
        let epoch = u64::from(x.ctx.rng("start").below(self.max_start_epoch as u32));
        let expert = |epoch| x.lab.expert(x.ctx.iteration(), epoch);
        Ok([expert(epoch)?, expert(epoch + self.expert_epochs)?])
    }

    /// Through the graph of all steps.
    fn unrolled(
        &self,
        descent: &Descent<'_>,
        [start, target]: &[Vec<Tensor>; 2],
    ) -> Result<Matched> {
        let synthetic = descent.input.synthetic;
        let mut values = descent.network.leaves(start)?;
        for step in 0..self.steps {
            let gradients = descent.gradients(&values, synthetic, step, true)?;
            values = descent.moved(&values, &gradients, descent.rate)?;
        }
        let way = descent.squared_distance(start, target)?;
        let left = descent.squared_distance(&values, target)?;
        Matched::of((left / way)?, synthetic)
    }

    /// Forward without a graph, then one step's graph at a time. With `d` the derivative of the loss by the parameters after a step,
    /// the step `w' = w - lr g(w, x)` adds the derivative of `<d, w'>` by images, labels and rate; `exact` takes its derivative by
    /// `w` as the `d` of the step before, otherwise `d` stays.
    fn stepwise(
        &self,
        descent: &Descent<'_>,
        [start, target]: &[Vec<Tensor>; 2],
    ) -> Result<Matched> {
        let synthetic = descent.input.synthetic;
        let exact = self.method == Method::TeslaExact;
        let fixed = fixed(synthetic)?;
        let rate = descent.rate.detach()?;
        let mut path = vec![descent.network.leaves(start)?];
        for step in 0..self.steps {
            let gradients = descent.gradients(&path[step], &fixed, step, false)?;
            let moved = descent.moved(&path[step], &gradients, &rate)?;
            path.push(descent.network.leaves(&moved)?);
        }
        let end = path.pop().unwrap_or_default();
        let way = descent.squared_distance(start, target)?;
        let loss = (descent.squared_distance(&end, target)?.detach()? / &way)?;
        let mut d = descent.derivative(&end, target, &way)?;
        let mut sum = Matched::nothing(synthetic)?;
        sum.loss = loss;
        while let Some(values) = path.pop() {
            let gradients = descent.gradients(&values, synthetic, path.len(), true)?;
            let moved = descent.moved(&values, &gradients, descent.rate)?;
            let product = descent.product(&d, &moved)?;
            let own = descent.network.learned(&values);
            let mut inputs = synthetic.learned();
            let learned = inputs.len();
            if exact {
                inputs.extend(&own);
            }
            let mut found = grad(&product, &inputs, false)?;
            if exact {
                d = found.split_off(learned);
            }
            sum.add_gradients(found)?;
        }
        Ok(sum)
    }
}

impl Matcher for Trajectory {
    fn forward(&self, x: &MatchInput<'_>) -> Result<Matched> {
        let descent = Descent::new(x, self.steps, self.batch_size)?;
        let span = self.span(x)?;
        match self.method {
            Method::Mtt => self.unrolled(&descent, &span),
            Method::Tesla | Method::TeslaExact => self.stepwise(&descent, &span),
        }
    }

    fn needs(&self) -> MatchNeeds {
        MatchNeeds {
            second_order: true,
            expert_epochs: Some(self.max_start_epoch - 1 + self.expert_epochs),
            learning_rate: true,
            ..MatchNeeds::default()
        }
    }
}

export_plugin! { matcher "trajectory": Trajectory = "distance to the end of an expert's training trajectory (MTT, TESLA)" }

#[cfg(test)]
mod tests;
