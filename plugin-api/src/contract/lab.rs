//! A small lab for matchers: a two-layer network, random images, experts that move in a straight line.

use super::random_like;
use crate::{
    Ctx, Error, Result, Tensor,
    architecture::{ForeignModule, Module},
    matcher::{Lab, Network},
    nn::{Conv2d, ConvOptions, Init, Linear, ParamBuilder, Params},
    tensor::Conv2dConfig,
};

/// Classes that the network tells apart.
pub const CLASSES: usize = 3;

/// Shape of an image.
const IMAGE: [usize; 3] = [2, 4, 4];

/// Channels of the convolution.
const WIDTH: usize = 3;

/// A lab on a device; everything in it follows from the arguments of a call. Augmenting multiplies images by a number that the draw
/// gives. Experts move by the same step each epoch.
pub struct TestLab {
    device: Tensor,
}

struct TwoLayers {
    conv: Conv2d,
    fc: Linear,
}

impl Module for TwoLayers {
    fn forward(&self, params: &Params, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        // Smooth, so that differences agree with gradients of any order.
        let hidden = self.conv.forward(params, x)?.tanh()?;
        params.tap("hidden", &hidden);
        let embedding = hidden.flatten_from(1)?;
        params.tap("embedding", &embedding);
        self.fc.forward(params, &embedding)
    }
}

impl TestLab {
    /// A lab whose tensors are made beside `device`.
    pub fn new(device: &Tensor) -> Self {
        Self {
            device: device.clone(),
        }
    }

    /// Random images for a synthetic set, [count, 2, 4, 4].
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn images(&self, count: usize, seed: u64) -> Result<Tensor> {
        let [c, h, w] = IMAGE;
        random_like(&self.device, &[count, c, h, w], seed)
    }

    fn values(&self, seed: u64, scale: f64) -> Result<Vec<Tensor>> {
        let specs = self.network()?.spec.params;
        let seeds = (0..).map(|i| 100 * seed + i);
        let values = specs.iter().zip(seeds);
        values
            .map(|(spec, seed)| random_like(&self.device, &spec.shape, seed)?.affine(scale, 0.))
            .collect()
    }
}

impl Lab for TestLab {
    fn real(&self, class: u32, count: usize, draw: u64) -> Result<Tensor> {
        // Classes apart, so that there is something to learn.
        let images = self.images(count, 1000 + 10 * u64::from(class) + draw)?;
        images.affine(1., f64::from(class))
    }

    fn augment(&self, images: &Tensor, _each: bool, draw: u64) -> Result<Tensor> {
        images.affine(1. + (draw % 7) as f64 / 10., 0.)
    }

    fn network(&self) -> Result<Network> {
        let p = ParamBuilder::new();
        let [channels, height, width] = IMAGE;
        let padded = ConvOptions::new(Conv2dConfig::padded(1));
        let module = TwoLayers {
            conv: Conv2d::new(&p.pp("conv"), channels, WIDTH, 3, padded)?,
            fc: Linear::new(&p.pp("fc"), WIDTH * height * width, CLASSES)?,
        };
        p.buffer("steps", &[1], Init::Constant { value: 0. })?;
        Ok(Network {
            module: ForeignModule::of(module),
            spec: p.spec(),
        })
    }

    fn initial(&self, draw: u64) -> Result<Vec<Tensor>> {
        self.values(1 + draw, 0.3)
    }

    fn expert(&self, expert: u64, epoch: u64) -> Result<Vec<Tensor>> {
        let (start, step) = (
            self.values(500 + expert, 0.3)?,
            self.values(900 + expert, 0.02)?,
        );
        let pairs = start.into_iter().zip(step);
        pairs
            .map(|(start, step)| start + step.affine(epoch as f64, 0.))
            .collect::<Result<_, Error>>()
    }
}
