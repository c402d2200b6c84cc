//! A step of gradient matching (Zhao et al., ICLR 2021, DC; `main.py` and `utils.py`, `match_loss` with metric "ours").
//!
//! The gradient of a real batch is the target. The gradient of a synthetic batch keeps its graph, and the distance of the two is
//! differentiated by the synthetic images, which take a step of SGD with momentum. The network stays as it is.

use alambic::{
    artifact::Stage,
    engine::{
        Tensor, Value, backward_free, grad,
        optim::{Optimizer, OptimizerConfig, config::SgdConfig},
    },
    plugins::import,
    stages::networks::{Network, plugin_error},
};
use anyhow::{Context, Result};
use plugin_api::{
    Ctx,
    loss::{ForeignLoss, Loss, LossInput, Targets},
    tensor::BatchNormMode,
};
use serde_json::json;

use super::step::{Body, Size};
use crate::{Lab, lab::noise};

/// DC's guard against a row without a gradient.
const EPSILON: f64 = 1e-6;

struct Matcher<'a> {
    network: &'a Network,
    loss: &'a ForeignLoss,
    ctx: &'a Ctx,
    parameters: Vec<Tensor>,
    real: (Tensor, Targets),
    targets: Targets,
}

impl Matcher<'_> {
    fn cross_entropy(&self, images: &Tensor, targets: &Targets) -> Result<Tensor> {
        let mode = BatchNormMode::TRAIN;
        let forward = self
            .network
            .forward_on(&self.parameters, images, mode, self.ctx)?;
        let input = LossInput {
            logits: &forward.logits,
            targets,
            features: &forward.taps,
            ctx: self.ctx,
        };
        let value = self.loss.forward(&input).map_err(plugin_error)?;
        Ok(import(&value).map_err(plugin_error)?.clone())
    }

    fn leaves(&self) -> Vec<&Tensor> {
        self.parameters.iter().filter(|p| p.is_tracked()).collect()
    }

    /// The distance, and its gradient by the synthetic images.
    fn step(&self, synthetic: &Value) -> Result<(f64, Option<Value>)> {
        let real = self.cross_entropy(&self.real.0, &self.real.1)?;
        let wanted = backward_free(real, &self.leaves())?;
        let images = Tensor::leaf(synthetic.clone());
        let loss = self.cross_entropy(&images, &self.targets)?;
        let found = grad(&loss, &self.leaves(), true)?;
        drop(loss);
        let mut distance = images.scalar_like(0.)?;
        for (found, wanted) in found.into_iter().zip(wanted) {
            let (Some(found), Some(wanted)) = (found, wanted) else {
                continue;
            };
            // DC leaves out biases and the vectors of norms.
            if found.rank() > 1 {
                distance = distance.add(&row_distance(&found, &wanted)?)?;
            }
        }
        let number = distance.to_scalar()?;
        let by_images = backward_free(distance, &[&images])?.pop().flatten();
        Ok((number, by_images.map(Tensor::into_value)))
    }
}

/// `sum_rows 1 - cos(found, wanted)`, a row for each output channel.
fn row_distance(found: &Tensor, wanted: &Tensor) -> Result<Tensor> {
    let (found, wanted) = (found.flatten_from(1)?, wanted.flatten_from(1)?);
    let norms = found.norm(&[1], false)?.mul(&wanted.norm(&[1], false)?)?;
    let products = found.mul(&wanted)?.sum(&[1], false)?;
    let cosines = products.div(&norms.affine(1., EPSILON)?)?;
    Ok(cosines.affine(-1., 1.)?.sum_all()?)
}

pub(super) fn run(lab: &Lab, size: &Size, body: &mut Body<'_>) -> Result<()> {
    let session = lab.session();
    let network = lab.network(&session, &size.network)?;
    let loss = session.registry.create_loss("cross-entropy", &json!({}))?;
    let ctx = session.ctx(Stage::Recover)?;
    let targets = |count: usize| -> Result<Targets> {
        let labels = &lab.set().labels[..count];
        Ok(Targets::labels(
            ctx.indices(labels, &[count]).map_err(plugin_error)?,
        ))
    };
    let specs = network.spec().params.iter().zip(network.values());
    let parameters = specs.map(|(spec, value)| match spec.trainable {
        true => Tensor::leaf(value.clone()),
        false => Tensor::constant(value.clone()),
    });
    let matcher = Matcher {
        parameters: parameters.collect(),
        real: (
            Tensor::constant(lab.batch(&session, size.batch)?),
            targets(size.batch)?,
        ),
        targets: targets(size.synthetic)?,
        network: &network,
        loss: &loss,
        ctx: &ctx,
    };
    let side = size.canvas.side;
    let dims = [size.synthetic, 3, side, side];
    let mut synthetic = [noise("synthetic", &dims)?
        .into_value()
        .to_device(&session.device)?];
    // DC's defaults for its images.
    let sgd = SgdConfig {
        lr: 0.1,
        momentum: 0.5,
        ..SgdConfig::default()
    };
    let mut optimizer = Optimizer::new(OptimizerConfig::Sgd(sgd.clone()), &[dims.to_vec()]);
    body(&mut || {
        let (distance, by_images) = matcher.step(&synthetic[0])?;
        let by_images = by_images.context("the distance does not depend on the images")?;
        optimizer.step(&mut synthetic, &[Some(by_images)], sgd.lr, &[true])?;
        Ok(distance)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn rows_that_point_alike_have_no_distance_and_opposite_ones_two() {
        let tensor =
            |rows: [f64; 4]| Tensor::from_vec(rows.to_vec(), &[2, 2], &Device::Cpu).unwrap();
        let wanted = tensor([3., 4., 0., 2.]);
        let distance = |rows| {
            row_distance(&tensor(rows), &wanted)
                .unwrap()
                .to_scalar()
                .unwrap()
        };
        assert!(distance([6., 8., 0., 1.]).abs() < 1e-6);
        assert!((distance([-3., -4., 0., 5.]) - 2.).abs() < 1e-6);
        assert!((distance([4., -3., 1., 0.]) - 2.).abs() < 1e-6);
    }
}
