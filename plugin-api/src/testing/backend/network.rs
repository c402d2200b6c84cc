//! Matrix products, linear layers and convolutions.

use super::{
    Array,
    places::{NOWHERE, broadcast_dims, places},
};
use crate::{Result, bail, ensure};

/// Stride, padding and dilation along (rows, columns), and groups.
#[derive(Clone, Copy)]
pub(super) struct ConvShape {
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) groups: usize,
}

/// How many windows of `extent` fit `size` entries with `padding` on each side.
///
/// # Errors
/// When none does, or the stride is 0.
pub(super) fn windows(size: usize, extent: usize, stride: usize, padding: usize) -> Result<usize> {
    ensure!(
        stride > 0 && extent > 0,
        "window and stride must be above 0"
    );
    let padded = size + 2 * padding;
    ensure!(
        padded >= extent,
        "a window of {extent} is larger than the padded input of {padded}"
    );
    Ok((padded - extent) / stride + 1)
}

/// The dimensions of images.
///
/// # Errors
/// For another rank.
pub(super) fn image_dims(x: &Array) -> Result<[usize; 4]> {
    let Ok(dims) = x.dims().try_into() else {
        bail!("expected images [N, C, H, W], got shape {:?}", x.dims())
    };
    Ok(dims)
}

impl Array {
    /// Product of the last two dimensions; leading ones broadcast.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(super) fn matmul(&self, rhs: &Array) -> Result<Array> {
        let ([batch_a @ .., m, k], [batch_b @ .., k_b, n]) = (self.dims(), rhs.dims()) else {
            bail!("expected at least 2 dimensions on both sides");
        };
        ensure!(k == k_b, "the inner dimensions {k} and {k_b} differ");
        let batch = broadcast_dims(batch_a, batch_b)?;
        let flat = |x: &Array, rows: usize, cols: usize| {
            let whole = x.broadcast_to(&[batch.as_slice(), &[rows, cols]].concat());
            whole.reshape(&[batch.iter().product(), rows, cols])
        };
        let product = flat(self, *m, *k).product(&flat(rhs, *k, *n));
        Ok(product.reshape(&[batch.as_slice(), &[*m, *n]].concat()))
    }

    /// `x @ w^T + b`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(super) fn linear(&self, weight: &Array, bias: Option<&Array>) -> Result<Array> {
        let (&[outputs, inputs], Some((&last, leading))) =
            (weight.dims(), self.dims().split_last())
        else {
            bail!("expected x of at least 1 dimension and a weight [O, I]");
        };
        ensure!(
            last == inputs,
            "x has {last} features, the weight expects {inputs}"
        );
        let rows: usize = leading.iter().product();
        let y = self
            .reshape(&[rows, inputs])
            .matmul(&weight.permute(&[1, 0]))?;
        let y = y.reshape(&[leading, &[outputs]].concat());
        let Some(bias) = bias else { return Ok(y) };
        ensure!(
            bias.dims() == [outputs],
            "expected a bias of shape [{outputs}], got {:?}",
            bias.dims()
        );
        Ok(y.add(&bias.broadcast_to(y.dims())))
    }

    /// Cross-correlation: every window becomes a column ([`Array::columns`]), then one matrix product a group.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(super) fn conv2d(&self, weight: &Array, shape: ConvShape) -> Result<Array> {
        let ([n, c, h, w], groups) = (image_dims(self)?, shape.groups);
        let &[outputs, per_group, kh, kw] = weight.dims() else {
            bail!(
                "expected a weight [O, C / groups, KH, KW], got shape {:?}",
                weight.dims()
            );
        };
        ensure!(
            groups > 0 && c.is_multiple_of(groups) && outputs.is_multiple_of(groups),
            "{c} input and {outputs} output channels cannot have {groups} groups"
        );
        let expected = c / groups;
        ensure!(
            per_group == expected,
            "the input has {expected} channels a group, the weight expects {per_group}"
        );
        let extent = |size: usize, axis: usize| {
            let span = if size == 0 {
                0
            } else {
                (size - 1) * shape.dilation[axis] + 1
            };
            windows([h, w][axis], span, shape.stride[axis], shape.padding[axis])
        };
        let (out_h, out_w) = (extent(kh, 0)?, extent(kw, 1)?);
        let columns = self.columns([kh, kw], [out_h, out_w], shape);
        let weight = weight.reshape(&[groups, outputs / groups, per_group * kh * kw]);
        let y = weight
            .product(&columns)
            .reshape(&[groups, outputs / groups, n, out_h, out_w]);
        Ok(y.permute(&[2, 0, 1, 3, 4])
            .reshape(&[n, outputs, out_h, out_w]))
    }

    /// [groups, C / groups * KH * KW, N * H' * W']: what each output place sees.
    fn columns(&self, [kh, kw]: [usize; 2], [out_h, out_w]: [usize; 2], shape: ConvShape) -> Array {
        let &[n, c, h, w] = self.dims() else {
            unreachable!("checked by conv2d")
        };
        let (groups, per_group) = (shape.groups, c / shape.groups);
        let place = |out: usize, k: usize, axis: usize| {
            let at = (out * shape.stride[axis] + k * shape.dilation[axis])
                .checked_sub(shape.padding[axis]);
            at.filter(|&i| i < [h, w][axis])
        };
        let table = places(&[groups, per_group, kh, kw, n, out_h, out_w], |at| {
            let &[group, channel, ky, kx, image, oy, ox] = at else {
                unreachable!("seven dimensions")
            };
            match (place(oy, ky, 0), place(ox, kx, 1)) {
                (Some(y), Some(x)) => ((image * c + group * per_group + channel) * h + y) * w + x,
                _ => NOWHERE,
            }
        });
        self.take(table, &[groups, per_group * kh * kw, n * out_h * out_w], 0.)
    }
}
