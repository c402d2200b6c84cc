//! What networks are made of: products, convolutions, pooling, normalisation, bilinear crops.

use plugin_api::{ops, tensor::BatchNormMode as ForeignMode};

use super::call::{Call, Fault, Outputs, check_elements};
use crate::engine::{
    Tensor,
    ops::{
        BatchNormConfig, BatchNormMode, Conv2dParams, CropBox, batch_norm, binary::broadcast_shape,
        conv2d, crop_resize, group_norm, layer_norm,
    },
};

pub(super) fn perform(op: u32, call: &Call<'_>) -> Result<Outputs, Fault> {
    let x = call.float_input(0)?;
    let made = match op {
        ops::MATMUL => product(x, call.float_input(1)?)?,
        ops::LINEAR => {
            let (weight, bias) = (call.float_input(1)?, call.optional_float(2)?);
            let rows = x.elem_count() / x.dims().last().copied().unwrap_or(1).max(1);
            check_elements(&[rows, weight.dims().first().copied().unwrap_or(0)])?;
            x.linear(weight, bias)?
        }
        ops::CONV2D => convolution(call, x)?,
        ops::AVG_POOL2D => {
            x.avg_pool2d(call.pair(0)?, call.pair(2)?, call.pair(4)?, call.flag(6)?)?
        }
        ops::MAX_POOL2D => x.max_pool2d(call.pair(0)?, call.pair(2)?, call.pair(4)?)?,
        ops::ADAPTIVE_AVG_POOL2D => {
            let output = call.pair(0)?;
            check_images(x, output)?;
            x.adaptive_avg_pool2d(output[0], output[1])?
        }
        ops::BATCH_NORM => return batch_normalised(call, x),
        ops::GROUP_NORM => {
            let (weight, bias) = (call.float_input(1)?, call.float_input(2)?);
            group_norm(
                x,
                call.size(0)?,
                weight,
                bias,
                call.float(0)?,
                call.flag(1)?,
            )?
        }
        ops::LAYER_NORM => layer_norm(
            x,
            call.float_input(1)?,
            call.float_input(2)?,
            call.float(0)?,
        )?,
        ops::CROP_RESIZE => {
            let output = call.pair(0)?;
            check_images(x, output)?;
            crop_resize(x, &boxes(call.floats())?, output[0], output[1])?
        }
        _ => return Err(Fault::UnknownOp),
    };
    Ok(Outputs::One(made))
}

fn product(a: &Tensor, b: &Tensor) -> Result<Tensor, Fault> {
    if let ([lead_a @ .., rows, _], [lead_b @ .., _, columns]) = (a.dims(), b.dims()) {
        let mut dims = broadcast_shape("matmul", lead_a, lead_b)?;
        dims.extend([rows, columns]);
        check_elements(&dims)?;
    }
    Ok(a.matmul(b)?)
}

fn convolution(call: &Call<'_>, x: &Tensor) -> Result<Tensor, Fault> {
    let weight = call.float_input(1)?;
    let params = Conv2dParams {
        stride: call.pair(0)?,
        padding: call.pair(2)?,
        dilation: call.pair(4)?,
        groups: call.size(6)?,
    };
    if let ([batch, _, height, width], [outputs, ..]) = (x.dims(), weight.dims()) {
        // More than the output can have, whatever kernel and dilation are.
        let most = |input: usize, axis: usize| {
            (input + 2 * params.padding[axis]).div_ceil(params.stride[axis].max(1))
        };
        check_elements(&[*batch, *outputs, most(*height, 0), most(*width, 1)])?;
    }
    Ok(conv2d(x, weight, &params)?)
}

fn check_images(x: &Tensor, [height, width]: [usize; 2]) -> Result<(), Fault> {
    let images: usize = x.dims().iter().take(2).product();
    check_elements(&[images.max(1), height, width])
}

fn batch_normalised(call: &Call<'_>, x: &Tensor) -> Result<Outputs, Fault> {
    let mode = call.int(0)?;
    let mode = match u32::try_from(mode).map(ForeignMode) {
        Ok(ForeignMode::TRAIN) => BatchNormMode::Train,
        Ok(ForeignMode::EVAL) => BatchNormMode::Eval,
        Ok(ForeignMode::RECOVER) => BatchNormMode::Recover,
        Ok(ForeignMode::TRAIN_STATISTICS) => BatchNormMode::TrainStatistics,
        _ => {
            let have = "0 train, 1 eval, 2 recover, 3 train-statistics";
            return Err(Fault::Call(format!("unknown mode {mode} (have: {have})")));
        }
    };
    let config = BatchNormConfig {
        mode,
        eps: call.float(0)?,
        relu: call.flag(1)?,
    };
    let operand = |i| call.float_input(i);
    let residual = call.optional_float(5)?;
    let output = batch_norm(
        x,
        operand(1)?,
        operand(2)?,
        operand(3)?,
        operand(4)?,
        &config,
        residual,
    )?;
    Ok(Outputs::Many(vec![Some(output.y), output.mean, output.var]))
}

fn boxes(floats: &[f64]) -> Result<Vec<CropBox>, Fault> {
    let (boxes, rest) = floats.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Fault::Call(format!(
            "expected 4 numbers a box, got {}",
            floats.len()
        )));
    }
    Ok(boxes
        .iter()
        .map(|&[top, left, height, width]| CropBox {
            top,
            left,
            height,
            width,
        })
        .collect())
}
