//! Self-attention of several heads as one operation.

use super::arrange::contiguous;
use crate::autograd::{Save, record_one};
use crate::error::{Result, ensure};
use crate::gpu::{Gpu, computed};
use crate::kernel::attention::{Heads, backward, forward};
use crate::kernel::unary::has_kernel;
use crate::kernel::{Host, dispatch, to_value};
use crate::precision;
use crate::tensor::Tensor;
use crate::value::Value;

impl Tensor {
    /// Scaled dot-product self-attention (Vaswani et al., 2017): `softmax(q k^T / sqrt(D)) v` for each head, of queries, keys and values
    /// that lie side by side in each token, as one linear layer makes them.
    ///
    /// # Shapes
    /// (N, L, 3 heads D), a token's entries as (3, heads, D), give (N, L, heads D).
    ///
    /// # Errors
    /// If the last dimension is no multiple of `3 heads`.
    pub fn self_attention(&self, heads: usize) -> Result<Tensor> {
        let op = "self_attention";
        let [batch, tokens, entries] = self.dims_n(op)?;
        ensure!(
            heads > 0 && entries > 0 && entries % (3 * heads) == 0,
            op,
            "expected a multiple of 3 x {heads} heads in the last dimension, got {:?}",
            self.dims()
        );
        ensure!(tokens > 0, op, "expected tokens, got {:?}", self.dims());
        let heads = Heads {
            batch,
            tokens,
            heads,
            size: entries / (3 * heads),
            factors: precision::factors(self.value()),
        };
        if !has_kernel(self.value()) || Gpu::of(self.value()).is_some() {
            return composed(self, heads);
        }
        let value = on_cpu(heads, self.value(), None)?;
        Ok(record_one(
            op,
            &[self],
            value,
            Save::inputs(&[0]),
            move |c, g| {
                let x = c.input(0);
                if c.create_graph() {
                    return Ok(vec![Some(composed_vjp(&x, g, heads)?)]);
                }
                let value = on_cpu(heads, x.value(), Some(g.value()))?;
                Ok(vec![Some(Tensor::constant(value))])
            },
        ))
    }
}

/// The result, or with the result's gradient that of `x`.
fn on_cpu(heads: Heads, x: &Value, g: Option<&Value>) -> Result<Value> {
    let op = "self_attention";
    let Heads { batch, tokens, .. } = heads;
    let width = heads.heads * heads.size;
    let open = contiguous(x)?;
    let g = g.map(contiguous).transpose()?;
    dispatch!(op, x.dtype(), T => {
        let qkv = Host::<T>::open(op, &open)?;
        match &g {
            None => to_value(forward(heads, &qkv), &[batch, tokens, width], x),
            Some(g) => {
                let g = Host::<T>::open(op, g)?;
                to_value(backward(heads, &qkv, &g), &[batch, tokens, 3 * width], x)
            }
        }
    })
}

/// Queries, keys and values of plain operations, each [N, heads, L, D].
fn parts(x: &Tensor, heads: Heads) -> Result<[Tensor; 3]> {
    let Heads {
        batch,
        tokens,
        heads,
        size,
        ..
    } = heads;
    let parts = x.reshape(&[batch, tokens, 3, heads, size])?;
    let parts = parts.permute(&[2, 0, 3, 1, 4])?;
    let part = |i: usize| {
        let part = parts.narrow(0, i, 1)?;
        part.reshape(&[batch, heads, tokens, size])
    };
    Ok([part(0)?, part(1)?, part(2)?])
}

/// The share of each key in the result of each query, [N, heads, L, L]; computed in f32 where `q` is narrower.
fn shares(q: &Tensor, k: &Tensor, scale: f64) -> Result<Tensor> {
    let scores = q.affine(scale, 0.0)?.matmul(&k.transpose(2, 3)?)?;
    let shares = scores.to_dtype(computed(q.dtype()))?.softmax(3)?;
    shares.to_dtype(q.dtype())
}

/// The result of plain operations.
fn composed(x: &Tensor, heads: Heads) -> Result<Tensor> {
    let [q, k, v] = parts(x, heads)?;
    let mixed = shares(&q, &k, heads.scale())?.matmul(&v)?;
    let width = heads.heads * heads.size;
    mixed
        .transpose(1, 2)?
        .reshape(&[heads.batch, heads.tokens, width])
}

/// The gradient of `x` of plain operations, which can be differentiated by `x` and `g`: with shares `p` and the result's gradient `g`,
/// `dv = p^T g`, `ds = p (g v^T - sum(p g v^T))`, `dq = s ds k`, `dk = s ds^T q`.
fn composed_vjp(x: &Tensor, g: &Tensor, heads: Heads) -> Result<Tensor> {
    let [q, k, v] = parts(x, heads)?;
    let Heads {
        batch,
        tokens,
        heads: count,
        size,
        ..
    } = heads;
    let p = shares(&q, &k, heads.scale())?;
    let g = g.reshape(&[batch, tokens, count, size])?.transpose(1, 2)?;
    let dv = p.transpose(2, 3)?.matmul(&g)?;
    let dp = g.matmul(&v.transpose(2, 3)?)?;
    let weighted = p.mul(&dp)?;
    let ds = weighted.sub(&p.mul(&weighted.sum(&[3], true)?)?)?;
    let ds = ds.affine(heads.scale(), 0.0)?;
    let dq = ds.matmul(&k)?;
    let dk = ds.transpose(2, 3)?.matmul(&q)?;
    let all = [&dq, &dk, &dv].map(|part| part.reshape(&[1, batch, count, tokens, size]));
    let [dq, dk, dv] = all;
    let all = Tensor::cat(&[&dq?, &dk?, &dv?], 0)?;
    let all = all.permute(&[1, 3, 0, 2, 4])?;
    all.reshape(&[batch, tokens, 3 * count * size])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backward::grad;
    use crate::gradcheck::{check, ramp};
    use crate::kernel::product::Factors;
    use candle_core::DType;

    #[test]
    fn attention_agrees_with_finite_differences() {
        let x = [ramp(&[2, 3, 12], 0.37)];
        check("self_attention", &x, |x| x[0].self_attention(2));
    }

    #[test]
    fn layers_of_attention_have_second_derivatives() {
        // What reaches the first layer depends on its input through the second: that must count once.
        let x = [ramp(&[1, 3, 12], 0.37)];
        let deep = |attention: &dyn Fn(&Tensor) -> Result<Tensor>, x: &Tensor| {
            let h = attention(&x.sqr()?)?;
            attention(&Tensor::cat(&[&h, &h.sqr()?, &h.sin()?], 2)?)
        };
        check("deep", &x, |x| deep(&|x| x.self_attention(2), &x[0]));
        let sizes = Heads {
            batch: 1,
            tokens: 3,
            heads: 2,
            size: 2,
            factors: Factors::AsGiven,
        };
        let twice = |attention: &dyn Fn(&Tensor) -> Result<Tensor>| {
            let x = Tensor::leaf(x[0].value().clone());
            let loss = deep(attention, &x)
                .unwrap()
                .sqr()
                .unwrap()
                .sum_all()
                .unwrap();
            let first = grad(&loss, &[&x], true).unwrap().remove(0).unwrap();
            let norm = first.sqr().unwrap().sum_all().unwrap();
            let second = grad(&norm, &[&x], false).unwrap().remove(0).unwrap();
            second.to_f64_vec().unwrap()
        };
        let (got, expected) = (
            twice(&|x| x.self_attention(2)),
            twice(&|x| composed(x, sizes)),
        );
        for (got, expected) in got.iter().zip(&expected) {
            let size = expected.abs().max(1.0);
            assert!((got - expected).abs() < 1e-9 * size, "{got} {expected}");
        }
    }

    #[test]
    fn the_kernels_are_the_plain_operations() {
        // Several parts of the queries, and a size that fills no register.
        for dims in [[2, 5, 3 * 2 * 4], [1, 401, 3 * 3 * 20]] {
            let heads = if dims[1] == 5 { 2 } else { 3 };
            let x = ramp(&dims, 0.7).to_dtype(DType::F32).unwrap();
            let weight = ramp(&[dims[0], dims[1], dims[2] / 3], 0.9);
            let weight = weight.to_dtype(DType::F32).unwrap();
            let sizes = Heads {
                batch: dims[0],
                tokens: dims[1],
                heads,
                size: dims[2] / 3 / heads,
                factors: Factors::AsGiven,
            };
            let of = |attention: &dyn Fn(&Tensor) -> Result<Tensor>| {
                let x = Tensor::leaf(x.value().clone());
                let y = attention(&x).unwrap();
                let loss = y.mul(&weight).unwrap().sum_all().unwrap();
                let dx = grad(&loss, &[&x], false).unwrap().remove(0).unwrap();
                [y, dx].map(|t| t.to_f64_vec().unwrap())
            };
            let got = of(&|x| x.self_attention(heads));
            let expected = of(&|x| composed(x, sizes));
            for (got, expected) in got.iter().flatten().zip(expected.iter().flatten()) {
                assert!((got - expected).abs() < 2e-6, "{got} {expected}");
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_told() {
        let text = ramp(&[1, 2, 7], 1.0).self_attention(2).unwrap_err();
        assert!(text.to_string().contains("3 x 2 heads"), "{text}");
    }
}
