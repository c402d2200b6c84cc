//! Networks as matchers have them: functions of parameters.

use crate::{
    Result, Tensor,
    architecture::{ForeignModule, Module},
    component::Ctx,
    ensure,
    nn::{ModuleSpec, Params},
    regularizer::named_feature,
    tensor::BatchNormMode,
};

/// A network as a function of its parameters.
pub struct Network {
    /// The function.
    pub module: ForeignModule,
    /// What it declared.
    pub spec: ModuleSpec,
}

/// The output of a network.
pub struct Answer {
    /// [N, classes].
    pub logits: Tensor,
    /// Features by the names under which the architecture tapped them; every one taps `embedding`.
    pub features: Vec<(String, Tensor)>,
}

impl Network {
    /// The parameters that are learned as leaves of a new graph, the buffers as they are.
    ///
    /// # Errors
    /// When there are more or fewer `values` than the network declared.
    pub fn leaves(&self, values: &[Tensor]) -> Result<Vec<Tensor>> {
        let declared = self.spec.params.len();
        ensure!(
            values.len() == declared,
            "{} values for a network with {declared} parameters and buffers",
            values.len()
        );
        let pairs = self.spec.params.iter().zip(values);
        pairs
            .map(|(spec, value)| match spec.trainable {
                true => value.detach()?.leaf(),
                false => value.detach(),
            })
            .collect()
    }

    /// Those of `values` that are learned.
    pub fn learned<'a>(&self, values: &'a [Tensor]) -> Vec<&'a Tensor> {
        let pairs = self.spec.params.iter().zip(values);
        pairs
            .filter(|(spec, _)| spec.trainable)
            .map(|(_, value)| value)
            .collect()
    }

    /// Runs it on parameters and buffers in the order of their declaration. A BatchNorm normalises with the batch's statistics and
    /// leaves the running ones alone.
    ///
    /// # Shapes
    /// x [N, C, H, W] -> [N, classes]
    ///
    /// # Errors
    /// When an operation fails.
    pub fn forward(&self, values: &[Tensor], x: &Tensor, ctx: &Ctx) -> Result<Answer> {
        let params = Params::new(values.to_vec(), BatchNormMode::TRAIN_STATISTICS);
        let logits = self.module.forward(&params, x, ctx)?;
        Ok(Answer {
            logits,
            features: params.into_report().0,
        })
    }
}

impl Answer {
    /// Mean cross-entropy with class labels.
    ///
    /// # Errors
    /// When there are more or fewer labels than images.
    pub fn cross_entropy(&self, labels: &[u32]) -> Result<Tensor> {
        let index = self.logits.new_u32(labels, &[labels.len(), 1])?;
        let log_p = self.logits.log_softmax(1)?;
        log_p.gather(&index, 1)?.mean_all()?.neg()
    }

    /// Mean cross-entropy with the distributions that other logits stand for.
    ///
    /// # Shapes
    /// targets [N, classes]
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn soft_cross_entropy(&self, targets: &Tensor) -> Result<Tensor> {
        let log_p = self.logits.log_softmax(1)?;
        (targets.softmax(1)? * log_p)?.sum(&[1])?.mean_all()?.neg()
    }

    /// A feature by name.
    ///
    /// # Errors
    /// When the architecture taps no such feature.
    pub fn feature(&self, name: &str) -> Result<&Tensor> {
        named_feature(&self.features, name)
    }
}
