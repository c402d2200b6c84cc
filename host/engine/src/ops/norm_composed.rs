//! The backward of a normalisation made of differentiable operations, for derivatives of higher order.

use crate::error::Result;
use crate::tensor::Tensor;

/// How a normalisation looks at its input: everything is viewed with four dimensions.
#[derive(Clone)]
pub(super) struct View {
    /// The input and its gradient.
    pub(super) input: [usize; 4],
    /// Mean and variance, with size 1 in the dimensions they are taken over.
    pub(super) statistics: [usize; 4],
    /// Weight and bias, with size 1 in the dimensions they are shared over.
    pub(super) affine: [usize; 4],
}

fn shared_dims(view: &[usize; 4], input: &[usize; 4]) -> Vec<usize> {
    let stretched = |&d: &usize| view[d] == 1 && input[d] != 1;
    (0..4).filter(stretched).collect()
}

/// What the backward starts from; gradients have passed the ReLU already.
pub(super) struct Cotangents {
    pub(super) g_y: Option<Tensor>,
    pub(super) g_mean: Option<Tensor>,
    pub(super) g_var: Option<Tensor>,
}

/// Gradients of input, weight and bias, in the shapes of the view.
#[derive(Default)]
pub(super) struct Gradients {
    pub(super) x: Option<Tensor>,
    pub(super) weight: Option<Tensor>,
    pub(super) bias: Option<Tensor>,
}

/// What the input was normalised with.
pub(super) struct Normaliser {
    pub(super) mean: Tensor,
    pub(super) var: Tensor,
    /// Whether the two are constants rather than the statistics of x.
    pub(super) frozen: bool,
    pub(super) eps: f64,
}

/// The gradients, with `n` entries to a statistic and `x^ = (x - mean) r`, `r = 1 / sqrt(var + eps)`:
///
/// `db = sum g`, `dw = sum g x^`, `dx = r (g w - mean(g w) - x^ mean(g w x^)) + g_mean / n + 2 g_var (x - mean) / n`;
/// the two means are absent where constants normalise.
///
/// `x` is called only if the input is read; `batch_mean` is the mean of x.
pub(super) fn backward(
    view: &View,
    x: &dyn Fn() -> Result<Tensor>,
    weight: &Tensor,
    normaliser: &Normaliser,
    batch_mean: Option<&Tensor>,
    given: &Cotangents,
    needs: [bool; 3],
) -> Result<Gradients> {
    let weight = weight.reshape(&view.affine)?;
    let mean = normaliser.mean.reshape(&view.statistics)?;
    let var = normaliser.var.reshape(&view.statistics)?;
    let rstd = var.affine(1.0, normaliser.eps)?.powf(-0.5)?;
    let normalised = || x()?.sub(&mean)?.mul(&rstd);
    let over_statistics = shared_dims(&view.statistics, &view.input);
    let over_affine = shared_dims(&view.affine, &view.input);
    let [needs_x, needs_weight, needs_bias] = needs;
    let mut grads = Gradients::default();
    if let Some(g) = &given.g_y {
        let g = g.reshape(&view.input)?;
        if needs_bias {
            grads.bias = Some(g.sum(&over_affine, true)?);
        }
        if needs_weight {
            grads.weight = Some(g.mul(&normalised()?)?.sum(&over_affine, true)?);
        }
        if needs_x {
            let mut inner = g.mul(&weight)?;
            if !normaliser.frozen {
                let normalised = normalised()?;
                let level = inner.mean(&over_statistics, true)?;
                let slope = inner.mul(&normalised)?.mean(&over_statistics, true)?;
                inner = inner.sub(&level)?.sub(&normalised.mul(&slope)?)?;
            }
            grads.x = Some(inner.mul(&rstd)?);
        }
    }
    if needs_x {
        let count: usize = over_statistics.iter().map(|&d| view.input[d]).product();
        let share = 1.0 / count as f64;
        if let Some(g) = &given.g_mean {
            let level = g.reshape(&view.statistics)?.affine(share, 0.0)?;
            grads.x = Some(join(grads.x, level.broadcast_as(&view.input)?)?);
        }
        if let (Some(g), Some(mean)) = (&given.g_var, batch_mean) {
            let slope = g.reshape(&view.statistics)?.affine(2.0 * share, 0.0)?;
            let centred = x()?.sub(&mean.reshape(&view.statistics)?)?;
            grads.x = Some(join(grads.x, centred.mul(&slope)?)?);
        }
    }
    Ok(grads)
}

/// The sum of what there is.
pub(super) fn join(sum: Option<Tensor>, term: Tensor) -> Result<Tensor> {
    match sum {
        Some(sum) => sum.add(&term),
        None => Ok(term),
    }
}
