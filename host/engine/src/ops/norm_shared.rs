//! Batch normalisation of a batch that lies in several parts: with the statistics of all of it.

use std::sync::Arc;

use candle_core::DType;

use super::node::{Asked, BatchNorm, BatchNormConfig, BatchNormMode, OP};
use super::parts::{Parts, Shared, joined};
use crate::autograd::Context;
use crate::error::{Result, ensure};
use crate::gpu;
use crate::kernel::batch_norm::{Gradients, moments};
use crate::kernel::{Host, to_value};
use crate::ops::arrange::{arranged, contiguous};
use crate::ops::on_device;
use crate::tensor::Tensor;
use crate::value::Value;

fn numbers(value: &Value) -> Result<Vec<f64>> {
    Ok(value.to_dtype(DType::F64)?.to_vec1()?)
}

impl BatchNorm {
    fn count(&self) -> f64 {
        (self.planes.batch * self.planes.plane) as f64
    }

    /// A vector of the channels, like `like`.
    fn per_channel(&self, numbers: Vec<f64>, like: &Value) -> Result<Value> {
        let value = Value::from_vec(numbers, self.planes.channels, like.device())?;
        Ok(value.to_dtype(like.dtype())?)
    }

    /// As [`BatchNorm::forward`], with mean and variance of all parts.
    pub(super) fn shared_forward(
        &mut self,
        parts: Arc<dyn Parts>,
        [x, weight, bias]: [&Tensor; 3],
        residual: Option<&Tensor>,
        mask: bool,
    ) -> Result<(Vec<Value>, Option<Value>)> {
        let images = arranged(self.order, x.value())?;
        let own = self.moments(&images)?;
        let mut told = vec![self.count()];
        for moment in &own {
            told.extend(numbers(moment)?);
        }
        let all = parts.gather(told)?;
        let (count, mean, var) = joined(&all, self.planes.channels)?;
        let statistics = [
            self.per_channel(mean, &own[0])?,
            self.per_channel(var, &own[1])?,
        ];
        let twin = Self {
            config: BatchNormConfig {
                mode: BatchNormMode::Eval,
                ..self.config
            },
            running: statistics.clone(),
            mask: None,
            shared: None,
            ..*self
        };
        let (mut outputs, mask) = twin.forward(x, weight, bias, residual, mask)?;
        outputs.extend(statistics);
        self.shared = Some(Shared { parts, count });
        Ok((outputs, mask))
    }

    fn moments(&self, images: &Value) -> Result<[Value; 2]> {
        on_device!(OP, images,
            gpu => gpu::batch_norm::moments(&gpu, self.order, self.planes, images),
            T => {
                let (mean, var) = moments::<T>(self.planes, &Host::<T>::open(OP, images)?);
                let value = |data| to_value(data, &[self.planes.channels], images);
                Ok([value(mean)?, value(var)?])
            }
        )
    }

    /// As [`BatchNorm::gradients`]; those of weight and bias are of the own part.
    ///
    /// With N entries of a channel in all parts, `dx = s (g - sum(g) / N - x^ sum(g x^) / N)`, `s = weight / sqrt(var + eps)`, and both
    /// sums over all parts. The own part's line is that of constant statistics with `g_mean` and `g_var` chosen for it.
    pub(super) fn shared_gradients(
        &self,
        context: &Context<'_>,
        shared: &Shared,
        asked: Asked,
    ) -> Result<Gradients<Value>> {
        let [g_y, g_mean, g_var] = asked.given;
        ensure!(
            !context.create_graph() && g_mean.is_none() && g_var.is_none(),
            OP,
            "statistics that parts of a batch share have derivatives of the first order, of the result alone"
        );
        let affine = Asked {
            given: [g_y.clone(), None, None],
            sole: false,
            frozen: true,
            x: false,
            affine: true,
            residual: false,
        };
        let own = self.gradients(context, &affine)?;
        let mut told = numbers(&own.bias)?;
        told.extend(numbers(&own.weight)?);
        let all = shared.parts.gather(told)?;
        let channels = self.planes.channels;
        let sum = |i: usize| all.iter().map(|part| part[i]).sum::<f64>();
        let weight = numbers(&contiguous(context.input(1).value())?)?;
        let var = context.output(2).into_value();
        let spread = numbers(&var)?;
        let part = self.count() / shared.count;
        let (mut level, mut slope) = (Vec::new(), Vec::new());
        for c in 0..channels {
            let rstd = 1. / (spread[c] + self.config.eps).sqrt();
            let scale = weight[c] * rstd * part;
            level.push(-scale * sum(c));
            slope.push(-scale * rstd * sum(channels + c) / 2.);
        }
        let all = Asked {
            given: [
                g_y,
                Some(self.per_channel(level, &var)?),
                Some(self.per_channel(slope, &var)?),
            ],
            affine: false,
            frozen: true,
            ..asked
        };
        let images = self.gradients(context, &all)?;
        Ok(Gradients {
            x: images.x,
            residual: images.residual,
            ..own
        })
    }
}
