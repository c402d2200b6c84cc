//! Convolutions at ResNet-18's layer shapes (small stem, 32x32 pixels, batch 32), the 1x1 convolutions of ResNet-50 (224x224 pixels,
//! batch 4) and the depthwise ones of MobileNetV2 and EfficientNet-B0 (batch 8): forward, gradient by the input, gradient by the weights.
//! Elements are multiplications with an addition.

mod single;

use alambic::engine::{
    Tensor,
    ops::{Conv2dParams, conv2d, conv2d_input_grad, conv2d_weight_grad},
};
use alambic_benches::lab::noise;
use anyhow::Result;
use criterion::{Criterion, Throughput};

/// A layer: images, channels in and out, pixels a side of its input, kernel, stride, groups.
struct Layer {
    batch: usize,
    inputs: usize,
    outputs: usize,
    side: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
}

/// The shapes that occur in ResNet-18, each once, from the stem to the last stage; then those of the others.
const LAYERS: [Layer; 23] = [
    layer(3, 64, 32, 3, 1),
    layer(64, 64, 32, 3, 1),
    layer(64, 128, 32, 3, 2),
    layer(64, 128, 32, 1, 2),
    layer(128, 128, 16, 3, 1),
    layer(128, 256, 16, 3, 2),
    layer(128, 256, 16, 1, 2),
    layer(256, 256, 8, 3, 1),
    layer(256, 512, 8, 3, 2),
    layer(256, 512, 8, 1, 2),
    layer(512, 512, 4, 3, 1),
    pointwise(64, 64, 56, 1),
    pointwise(64, 256, 56, 1),
    pointwise(256, 512, 56, 2),
    pointwise(512, 128, 28, 1),
    pointwise(1024, 256, 14, 1),
    pointwise(512, 2048, 7, 1),
    depthwise(32, 112, 3, 1),
    depthwise(96, 112, 3, 2),
    depthwise(144, 56, 3, 1),
    depthwise(384, 14, 3, 1),
    depthwise(672, 14, 5, 1),
    depthwise(960, 7, 3, 1),
];

const fn layer(inputs: usize, outputs: usize, side: usize, kernel: usize, stride: usize) -> Layer {
    Layer {
        batch: 32,
        inputs,
        outputs,
        side,
        kernel,
        stride,
        groups: 1,
    }
}

const fn pointwise(inputs: usize, outputs: usize, side: usize, stride: usize) -> Layer {
    Layer {
        batch: 4,
        ..layer(inputs, outputs, side, 1, stride)
    }
}

const fn depthwise(channels: usize, side: usize, kernel: usize, stride: usize) -> Layer {
    Layer {
        batch: 8,
        groups: channels,
        ..layer(channels, channels, side, kernel, stride)
    }
}

impl Layer {
    fn name(&self) -> String {
        let Self {
            inputs,
            outputs,
            side,
            kernel,
            stride,
            ..
        } = self;
        let kind = if self.groups == 1 { "" } else { ", depthwise" };
        format!("{inputs} to {outputs}, {side}x{side}, {kernel}x{kernel}, stride {stride}{kind}")
    }

    fn multiplications(&self) -> u64 {
        let out = self.side / self.stride;
        let taps = self.inputs / self.groups * self.kernel * self.kernel;
        (self.batch * self.outputs * out * out * taps) as u64
    }
}

fn measure(c: &mut Criterion, layer: &Layer) -> Result<()> {
    let (side, kernel) = (layer.side, layer.kernel);
    let params = Conv2dParams {
        stride: [layer.stride; 2],
        padding: [kernel / 2; 2],
        groups: layer.groups,
        ..Conv2dParams::default()
    };
    let x = noise("x", &[layer.batch, layer.inputs, side, side])?;
    let weight = noise(
        "weight",
        &[layer.outputs, layer.inputs / layer.groups, kernel, kernel],
    )?;
    let out = side / layer.stride;
    let g = noise("g", &[layer.batch, layer.outputs, out, out])?;
    let forward = || -> Result<Tensor> { Ok(conv2d(&x, &weight, &params)?) };
    let by_input = || -> Result<Tensor> { Ok(conv2d_input_grad(&g, &weight, [side; 2], &params)?) };
    let by_weight = || -> Result<Tensor> { Ok(conv2d_weight_grad(&x, &g, [kernel; 2], &params)?) };
    let directions: [(&str, &dyn Fn() -> Result<Tensor>); 3] = [
        ("forward", &forward),
        ("gradient by the input", &by_input),
        ("gradient by the weights", &by_weight),
    ];
    let mut group = c.benchmark_group(layer.name());
    group.throughput(Throughput::Elements(layer.multiplications()));
    group.sample_size(20);
    for (name, run) in directions {
        single::measure((&mut group, &layer.name()), name, run)?;
    }
    group.finish();
    Ok(())
}

fn main() -> Result<()> {
    single::main(|c| LAYERS.iter().try_for_each(|layer| measure(c, layer)))
}
