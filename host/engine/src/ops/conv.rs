//! Two-dimensional convolution: three operations whose derivatives are made of each other.
//!
//! With `y = conv(x, w)`, `input_grad` and `weight_grad` are its transposes in x and in w. All three are linear in
//! each argument, so the derivative of any of them is one of the other two, to any order.

use candle_core::DType;

use super::arrange::{arranged, contiguous};
use super::binary::crossed;
use crate::autograd::{Context, Lean, Save, record_one_lean};
use crate::error::{Result, ensure};
#[cfg(feature = "cuda")]
use crate::gpu;
use crate::gpu::Gpu;
use crate::gpu::layout::Order;
use crate::kernel::conv::{self as kernel, Direction, Images};
use crate::kernel::im2col::ConvShape;
use crate::kernel::over::over;
use crate::kernel::{Host, dispatch, to_value};
use crate::pending::{Mapped, Pending};
use crate::precision;
use crate::tensor::Tensor;
use crate::value::Value;

/// Hyper-parameters of a convolution; pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dParams {
    /// Distance between neighbouring windows.
    pub stride: [usize; 2],
    /// Zeros added on both sides.
    pub padding: [usize; 2],
    /// Distance between neighbouring taps.
    pub dilation: [usize; 2],
    /// Groups that the channels fall into.
    pub groups: usize,
}

impl Default for Conv2dParams {
    fn default() -> Self {
        Self {
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
        }
    }
}

/// Joins an input's and a weight's sizes, checking that they fit.
fn conv_shape(
    op: &'static str,
    [batch, in_channels, height, width]: [usize; 4],
    [out_channels, per_group, kernel_h, kernel_w]: [usize; 4],
    params: &Conv2dParams,
) -> Result<ConvShape> {
    let groups = params.groups;
    let shapes = format!(
        "(input {:?}, weight {:?})",
        [batch, in_channels, height, width],
        [out_channels, per_group, kernel_h, kernel_w]
    );
    ensure!(
        groups > 0 && in_channels % groups == 0 && out_channels % groups == 0,
        op,
        "{groups} groups do not divide {in_channels} input and {out_channels} output channels {shapes}"
    );
    ensure!(
        in_channels == per_group * groups,
        op,
        "input has {in_channels} channels, weight expects {} {shapes}",
        per_group * groups
    );
    ensure!(
        params.stride.iter().chain(&params.dilation).all(|&n| n > 0) && kernel_h * kernel_w > 0,
        op,
        "expected a kernel, a stride and a dilation above 0, got {params:?} {shapes}"
    );
    let (input, kernel) = ([height, width], [kernel_h, kernel_w]);
    let mut output = [0; 2];
    for axis in 0..2 {
        let padded = input[axis] + 2 * params.padding[axis];
        let reach = params.dilation[axis] * (kernel[axis] - 1) + 1;
        ensure!(
            padded >= reach,
            op,
            "the kernel spans {reach} positions, the padded input has {padded} {shapes}"
        );
        output[axis] = (padded - reach) / params.stride[axis] + 1;
    }
    Ok(ConvShape {
        batch,
        in_channels,
        out_channels,
        groups,
        input,
        output,
        kernel,
        stride: params.stride,
        padding: params.padding,
        dilation: params.dilation,
    })
}

fn run(
    op: &'static str,
    direction: Direction,
    shape: &ConvShape,
    a: &Tensor,
    b: &Tensor,
) -> Result<Value> {
    ensure!(
        a.dtype() == b.dtype(),
        op,
        "expected one type, got {:?} and {:?}",
        a.dtype(),
        b.dtype()
    );
    let dims = match direction {
        Direction::Forward => output_dims(shape),
        Direction::InputGrad => {
            let [height, width] = shape.input;
            [shape.batch, shape.in_channels, height, width]
        }
        Direction::WeightGrad => {
            let [height, width] = shape.kernel;
            let per_group = shape.in_channels / shape.groups;
            [shape.out_channels, per_group, height, width]
        }
    };
    let unmade = a.unmade().and_then(Pending::as_mapped);
    let unmade = unmade.filter(|_| direction != Direction::InputGrad);
    let a = unmade.map_or_else(|| a.value(), Mapped::x);
    let b = b.value();
    let order = Order::of_convolution(a, shape);
    #[cfg(feature = "cuda")]
    if let Some(Gpu::Cuda(cuda)) = Gpu::of(a) {
        return gpu::cudnn::run(cuda, direction, (shape, order), a, b, &dims);
    }
    let result = on_cpu(
        op,
        direction,
        shape,
        (&contiguous(a)?, unmade),
        &contiguous(b)?,
        &dims,
    )?;
    match direction {
        Direction::WeightGrad => Ok(result),
        Direction::Forward | Direction::InputGrad => arranged(order, &result),
    }
}

fn on_cpu(
    op: &'static str,
    direction: Direction,
    shape: &ConvShape,
    (a, unmade): (&Value, Option<&Mapped>),
    b: &Value,
    dims: &[usize; 4],
) -> Result<Value> {
    if a.dtype() == DType::BF16 {
        // The processor rounds the result alone, as sums in f32 do on a GPU.
        let [a, b] = [a.to_dtype(DType::F32)?, b.to_dtype(DType::F32)?];
        let result = on_cpu(op, direction, shape, (&a, None), &b, dims)?;
        return Ok(result.to_dtype(DType::BF16)?);
    }
    dispatch!(op, a.dtype(), T => {
        let (left, right) = (Host::<T>::open(op, a)?, Host::<T>::open(op, b)?);
        let images = Images {
            entries: &left,
            map: unmade.and_then(Mapped::map),
        };
        let result = kernel::run(direction, shape, precision::factors(a), images, &right);
        to_value(result, dims, a)
    })
}

fn output_dims(shape: &ConvShape) -> [usize; 4] {
    let [height, width] = shape.output;
    [shape.batch, shape.out_channels, height, width]
}

/// Records one of the three operations; the images among its inputs are not kept where they can be made again.
fn record(
    op: &'static str,
    [a, b]: [&Tensor; 2],
    value: Value,
    images: &[usize],
    vjp: impl Fn(&Context<'_>, &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
) -> Tensor {
    let lean = Lean {
        inputs: images,
        again: None,
    };
    let save = Save::inputs(crossed(a, b));
    record_one_lean(op, &[a, b], value, save, lean, vjp).made()
}

/// Cross-correlation of images with filters, as `torch.nn.functional.conv2d` without a bias.
///
/// # Shapes
/// x (N, C, H, W), weight (O, C / groups, KH, KW) give (N, O, OH, OW).
///
/// # Errors
/// If the channels, groups, types or sizes do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, params: &Conv2dParams) -> Result<Tensor> {
    let op = "conv2d";
    let shape = conv_shape(op, x.dims_n(op)?, weight.dims_n(op)?, params)?;
    let value = run(op, Direction::Forward, &shape, x, weight)?;
    let params = *params;
    Ok(record(op, [x, weight], value, &[0], move |c, g| {
        let dx = || input_grad_sum(g, &c.input(1), &shape, &params, c.before(0));
        let dw = || conv2d_weight_grad(&c.input_again(0)?, g, shape.kernel, &params);
        c.wanted(&[&dx, &dw])
    }))
}

/// The gradient of [`conv2d`] in its input of size `input_hw`, given the gradient `g` of its output.
///
/// # Shapes
/// g (N, O, OH, OW), weight (O, C / groups, KH, KW) give (N, C, H, W).
///
/// # Errors
/// If `g` is not of the shape that such a convolution gives.
pub fn conv2d_input_grad(
    g: &Tensor,
    weight: &Tensor,
    input_hw: [usize; 2],
    params: &Conv2dParams,
) -> Result<Tensor> {
    let op = "conv2d_input_grad";
    let [batch, ..] = g.dims_n::<4>(op)?;
    let filters = weight.dims_n::<4>(op)?;
    let input = [batch, filters[1] * params.groups, input_hw[0], input_hw[1]];
    let shape = conv_shape(op, input, filters, params)?;
    check_cotangent(op, g, &shape)?;
    let value = run(op, Direction::InputGrad, &shape, g, weight)?;
    let params = *params;
    Ok(record(op, [g, weight], value, &[], move |c, h| {
        let dg = || conv2d(h, &c.input(1), &params);
        let dw = || conv2d_weight_grad(h, &c.input(0), shape.kernel, &params);
        c.wanted(&[&dg, &dw])
    }))
}

/// The gradient of [`conv2d`] in its input, and what others have handed on, in whose place it is added if it can be.
fn input_grad_sum(
    g: &Tensor,
    weight: &Tensor,
    shape: &ConvShape,
    params: &Conv2dParams,
    before: Option<Tensor>,
) -> Result<Tensor> {
    let Some(before) = before else {
        return conv2d_input_grad(g, weight, shape.input, params);
    };
    let op = "conv2d_input_grad";
    let (to, like) = (before.value(), g.dtype());
    let fits = Gpu::of(to).is_none()
        && [to.dtype(), weight.dtype()] == [like; 2]
        && matches!(like, DType::F32 | DType::F64);
    if fits {
        let (g, weight) = (contiguous(g.value())?, contiguous(weight.value())?);
        let added = dispatch!(op, like, T => {
            let (g, weight) = (Host::<T>::open(op, &g)?, Host::<T>::open(op, &weight)?);
            over(op, to, |to| kernel::input_grad_onto(shape, precision::factors(before.value()), &g, &weight, to))
        })?;
        if added {
            return Ok(before);
        }
    }
    before.plus(conv2d_input_grad(g, weight, shape.input, params)?)
}

/// The gradient of [`conv2d`] in its weight of size `kernel_hw`, given the gradient `g` of its output.
///
/// # Shapes
/// x (N, C, H, W), g (N, O, OH, OW) give (O, C / groups, KH, KW).
///
/// # Errors
/// If `g` is not of the shape that such a convolution gives.
pub fn conv2d_weight_grad(
    x: &Tensor,
    g: &Tensor,
    kernel_hw: [usize; 2],
    params: &Conv2dParams,
) -> Result<Tensor> {
    let op = "conv2d_weight_grad";
    let input = x.dims_n::<4>(op)?;
    let [_, out_channels, ..] = g.dims_n::<4>(op)?;
    let per_group = input[1] / params.groups.max(1);
    let filters = [out_channels, per_group, kernel_hw[0], kernel_hw[1]];
    let shape = conv_shape(op, input, filters, params)?;
    check_cotangent(op, g, &shape)?;
    let value = run(op, Direction::WeightGrad, &shape, x, g)?;
    let params = *params;
    Ok(record(op, [x, g], value, &[0], move |c, h| {
        let dx = || conv2d_input_grad(&c.input(1), h, shape.input, &params);
        let dg = || conv2d(&c.input_again(0)?, h, &params);
        c.wanted(&[&dx, &dg])
    }))
}

fn check_cotangent(op: &'static str, g: &Tensor, shape: &ConvShape) -> Result<()> {
    let expected = output_dims(shape);
    ensure!(
        g.dims() == expected,
        op,
        "expected an output gradient of shape {expected:?}, got {:?}",
        g.dims()
    );
    Ok(())
}

#[cfg(test)]
#[path = "conv_test.rs"]
mod tests;
