//! The derivative of the backward of a group normalisation made of differentiable operations, for the third order and above.
//!
//! The formulas are those of `kernel::group_norm_twice`; here mean and variance are functions of x again.

use super::composed::join;
use crate::error::Result;
use crate::tensor::Tensor;
use crate::value::Value;

/// The dimensions that statistics are taken over, of (N, groups, channels of a group, H W).
const GROUP: [usize; 2] = [2, 3];

/// A normalisation, and the result of its ReLU if it has one.
pub(super) struct Form<'a> {
    /// N, groups, channels of a group, H W.
    pub(super) input: [usize; 4],
    pub(super) eps: f64,
    pub(super) mask: Option<&'a Value>,
}

impl Form<'_> {
    /// Gradients by `g`, x and weight of the backward, given those of its gradients of x, weight and bias.
    pub(super) fn gradients(
        &self,
        [g, x, weight]: [&Tensor; 3],
        [by_x, by_weight, by_bias]: [Option<&Tensor>; 3],
        needs: [bool; 3],
    ) -> Result<Vec<Option<Tensor>>> {
        let dims = x.dims().to_vec();
        let per_channel = [1, self.input[1], self.input[2], 1];
        let image = |t: &Tensor| t.reshape(&self.input);
        let channel = |t: &Tensor| t.reshape(&per_channel);
        let optional =
            |t: Option<&Tensor>, view: &dyn Fn(&Tensor) -> Result<Tensor>| t.map(view).transpose();
        let (by_x, by_weight) = (optional(by_x, &image)?, optional(by_weight, &channel)?);
        let by_bias = optional(by_bias, &channel)?;
        let passed = image(&self.gate(g)?)?;
        let (x, scale) = (image(x)?, channel(weight)?);

        let mean = |t: &Tensor| t.mean(&GROUP, true);
        let centred = x.sub(&mean(&x)?)?;
        let var = mean(&centred.sqr()?)?;
        let rstd = var.affine(1.0, self.eps)?.powf(-0.5)?;
        let normalised = centred.mul(&rstd)?;
        let project = |v: &Tensor| {
            let slope = normalised.mul(&mean(&v.mul(&normalised)?)?)?;
            v.sub(&mean(v)?)?.sub(&slope)
        };
        // What reaches g, weight, the normalised input and x itself.
        let (mut dg, mut dweight, mut inner, mut dx) = (None, None, None, None);
        if let Some(by_x) = &by_x {
            let u = passed.mul(&scale)?;
            let (s, q) = (mean(&u.mul(&normalised)?)?, mean(&by_x.mul(&normalised)?)?);
            let projected = project(by_x)?.mul(&rstd)?;
            dg = Some(projected.mul(&scale)?);
            dweight = Some(passed.mul(&projected)?.sum(&[0, 3], true)?);
            inner = Some(by_x.mul(&s)?.add(&u.mul(&q)?)?.mul(&rstd)?.neg()?);
            let share = mean(&by_x.mul(&project(&u)?)?)?.mul(&rstd.sqr()?)?;
            dx = Some(normalised.mul(&share)?.neg()?);
        }
        if let Some(by_weight) = &by_weight {
            dg = Some(join(dg, normalised.mul(by_weight)?)?);
            inner = Some(join(inner, passed.mul(by_weight)?)?);
        }
        if let Some(by_bias) = &by_bias {
            dg = Some(join(dg, by_bias.broadcast_as(&self.input)?)?);
        }
        if let Some(inner) = &inner {
            dx = Some(join(dx, project(inner)?.mul(&rstd)?)?);
        }
        let dg = dg.map(|dg| self.gate(&dg.reshape(&dims)?)).transpose()?;
        let shaped = |t: Option<Tensor>, dims: &[usize]| t.map(|t| t.reshape(dims)).transpose();
        let grads = [dg, shaped(dx, &dims)?, shaped(dweight, weight.dims())?];
        let wanted = grads.into_iter().zip(needs);
        Ok(wanted
            .map(|(grad, wanted)| grad.filter(|_| wanted))
            .collect())
    }

    fn gate(&self, g: &Tensor) -> Result<Tensor> {
        match self.mask {
            Some(y) => g.gate(y),
            None => Ok(g.clone()),
        }
    }
}
