//! What the three networks are made of: convolutions with ReLU and max pooling, then linear layers with ReLU between them.

use plugin_api::prelude::*;

/// A convolution with ReLU, and perhaps a pooling.
#[derive(Clone, Copy)]
pub struct Layer {
    /// Channels that come out.
    pub outputs: usize,
    /// Side of the window.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Side of the windows of a max pooling of stride 2.
    pub pool: Option<usize>,
}

impl Layer {
    /// Stride 1, and padding that keeps the size.
    pub fn same(outputs: usize, kernel: usize, pool: Option<usize>) -> Self {
        Self {
            outputs,
            kernel,
            stride: 1,
            padding: kernel / 2,
            pool,
        }
    }

    /// The side of what comes out, from images that are large enough.
    fn side(self, side: usize) -> usize {
        let side = (side + 2 * self.padding - self.kernel) / self.stride + 1;
        self.pool.map_or(side, |pool| (side - pool) / 2 + 1)
    }

    /// The least side from which `side` comes out.
    fn least(self, side: usize) -> usize {
        let side = self.pool.map_or(side, |pool| (side - 1) * 2 + pool);
        (side - 1) * self.stride + self.kernel - 2 * self.padding
    }
}

/// The layers of an `nn.Sequential` that keep the form of images.
pub struct Features(Vec<(Conv2d, Option<Pool2dConfig>)>);

impl Features {
    /// Declares the convolutions; `p` counts them, their ReLUs and poolings. Gives also the channels, rows and columns that come out.
    ///
    /// # Errors
    /// When the images are too small.
    pub fn new(
        p: &ParamBuilder,
        layers: &[Layer],
        input: &InputShape,
    ) -> Result<(Self, [usize; 3])> {
        let &InputShape {
            mut channels,
            mut height,
            mut width,
            ..
        } = input;
        let least = layers.iter().rev().fold(1, |side, layer| layer.least(side));
        ensure!(
            height.min(width) >= least,
            "images of {height}x{width} pixels are too small, expected at least {least} pixels per side"
        );
        let (mut convolutions, mut index) = (Vec::new(), 0);
        for layer in layers {
            let config = Conv2dConfig::padded(layer.padding).with_stride(layer.stride);
            let (kernel, options) = (layer.kernel, ConvOptions::new(config));
            let conv = Conv2d::new(&p.pp(index), channels, layer.outputs, kernel, options)?;
            let pool = layer.pool.map(|kernel| Pool2dConfig {
                kernel: [kernel; 2],
                stride: [2; 2],
                padding: [0; 2],
            });
            index += 2 + usize::from(pool.is_some());
            convolutions.push((conv, pool));
            channels = layer.outputs;
            (height, width) = (layer.side(height), layer.side(width));
        }
        Ok((Self(convolutions), [channels, height, width]))
    }

    fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let mut h = x.clone();
        for (conv, pool) in &self.0 {
            h = conv.forward(params, &h)?.relu()?;
            if let Some(pool) = pool {
                h = h.max_pool2d(*pool)?;
            }
        }
        Ok(h)
    }
}

/// Linear layers with ReLU between them.
pub struct Classifier(Vec<Linear>);

impl Classifier {
    /// Declares layers by their names and numbers of outputs.
    ///
    /// # Errors
    /// None that names of their own can meet.
    pub fn new(mut inputs: usize, layers: &[(ParamBuilder, usize)]) -> Result<Self> {
        let layer = |(p, outputs): &(ParamBuilder, usize)| {
            let layer = Linear::new(p, inputs, *outputs);
            inputs = *outputs;
            layer
        };
        Ok(Self(layers.iter().map(layer).collect::<Result<_>>()?))
    }

    fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let (last, hidden) = self.0.split_last().expect("every network has logits");
        let mut h = x.clone();
        for layer in hidden {
            h = layer.forward(params, &h)?.relu()?;
        }
        params.tap("embedding", &h);
        last.forward(params, &h)
    }
}

/// Both, and between them perhaps a mean pooling to images of a fixed side.
pub struct Network {
    /// What comes first.
    pub features: Features,
    /// Side of the images that the classifier sees; that of the features when absent.
    pub side: Option<usize>,
    /// What comes last.
    pub classifier: Classifier,
}

impl Module for Network {
    fn forward(&self, params: &Params, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        let mut h = self.features.forward(params, x)?;
        if let Some(side) = self.side {
            h = h.adaptive_avg_pool2d(side, side)?;
        }
        self.classifier.forward(params, &h.flatten_from(1)?)
    }
}
