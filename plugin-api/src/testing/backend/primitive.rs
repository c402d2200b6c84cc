//! The primitives that everything else is made of. Each derivative is made of primitives, so any order works.

use std::sync::Arc;

use super::{
    Array,
    places::{NOWHERE, Places},
};
use crate::tensor::DType;

impl Array {
    /// `a + b` of one shape.
    pub(super) fn add(&self, rhs: &Array) -> Array {
        assert_eq!(self.dims(), rhs.dims(), "add of two shapes");
        let values: Vec<f64> = self
            .values()
            .iter()
            .zip(rhs.values())
            .map(|(a, b)| a + b)
            .collect();
        Array::made(
            self.dtype(),
            self.dims(),
            values,
            vec![self.clone(), rhs.clone()],
            |_, _, g| g.clone(),
        )
    }

    /// `a * b` of one shape.
    pub(super) fn mul(&self, rhs: &Array) -> Array {
        assert_eq!(self.dims(), rhs.dims(), "mul of two shapes");
        let values: Vec<f64> = self
            .values()
            .iter()
            .zip(rhs.values())
            .map(|(a, b)| a * b)
            .collect();
        Array::made(
            self.dtype(),
            self.dims(),
            values,
            vec![self.clone(), rhs.clone()],
            |parents, which, g| g.mul(&parents[1 - which]),
        )
    }

    /// `a / b` of one shape.
    pub(super) fn div(&self, rhs: &Array) -> Array {
        assert_eq!(self.dims(), rhs.dims(), "div of two shapes");
        let values: Vec<f64> = self
            .values()
            .iter()
            .zip(rhs.values())
            .map(|(a, b)| a / b)
            .collect();
        Array::made(
            self.dtype(),
            self.dims(),
            values,
            vec![self.clone(), rhs.clone()],
            |parents, which, g| {
                let share = g.div(&parents[1]);
                if which == 0 {
                    share
                } else {
                    share.mul(&parents[0].div(&parents[1])).neg()
                }
            },
        )
    }

    /// `mask ? a : b` of one shape; what is not chosen is not even multiplied by 0, so that it may be infinite.
    pub(super) fn select(mask: Arc<[bool]>, on_true: &Array, on_false: &Array) -> Array {
        assert_eq!(on_true.dims(), on_false.dims(), "select of two shapes");
        let pairs = on_true.values().iter().zip(on_false.values());
        let values: Vec<f64> = mask
            .iter()
            .zip(pairs)
            .map(|(&m, (&a, &b))| if m { a } else { b })
            .collect();
        let parents = vec![on_true.clone(), on_false.clone()];
        Array::made(
            on_true.dtype(),
            on_true.dims(),
            values,
            parents,
            move |_, which, g| {
                let zero = g.full_like(0.);
                let (a, b) = if which == 0 { (g, &zero) } else { (&zero, g) };
                Array::select(Arc::clone(&mask), a, b)
            },
        )
    }

    /// `value` of each element; `slope` makes the derivative from the array itself.
    pub(super) fn map(
        &self,
        value: impl Fn(f64) -> f64,
        slope: impl Fn(&Array) -> Array + Send + Sync + 'static,
    ) -> Array {
        let values: Vec<f64> = self.values().iter().map(|&v| value(v)).collect();
        Array::made(
            self.dtype(),
            self.dims(),
            values,
            vec![self.clone()],
            move |parents, _, g| g.mul(&slope(&parents[0])),
        )
    }

    /// `value` of each element, without history.
    pub(super) fn map_constant(&self, value: impl Fn(f64) -> f64) -> Array {
        self.like(
            self.dims(),
            self.values().iter().map(|&v| value(v)).collect(),
        )
    }

    /// The same elements in another shape.
    pub(super) fn reshape(&self, dims: &[usize]) -> Array {
        Array::made(
            self.dtype(),
            dims,
            self.shared_values(),
            vec![self.clone()],
            |parents, _, g| g.reshape(parents[0].dims()),
        )
    }

    /// The same elements under another tag of a floating-point type.
    pub(super) fn cast(&self, dtype: DType) -> Array {
        Array::made(
            dtype,
            self.dims(),
            self.shared_values(),
            vec![self.clone()],
            |parents, _, g| g.cast(parents[0].dtype()),
        )
    }

    /// Element `i` of the result is element `from[i]`, or `fill`.
    pub(super) fn take(&self, from: Places, dims: &[usize], fill: f64) -> Array {
        let own = self.values();
        let values: Vec<f64> = from
            .iter()
            .map(|&i| if i == NOWHERE { fill } else { own[i] })
            .collect();
        Array::made(
            self.dtype(),
            dims,
            values,
            vec![self.clone()],
            move |parents, _, g| g.put(Arc::clone(&from), parents[0].dims()),
        )
    }

    /// Element `i` is added to element `to[i]` of zeros.
    pub(super) fn put(&self, to: Places, dims: &[usize]) -> Array {
        let mut values = vec![0.; dims.iter().product()];
        for (&i, v) in to.iter().zip(self.values()) {
            if i != NOWHERE {
                values[i] += v;
            }
        }
        Array::made(
            self.dtype(),
            dims,
            values,
            vec![self.clone()],
            move |parents, _, g| g.take(Arc::clone(&to), parents[0].dims(), 0.),
        )
    }

    /// [B, M, K] @ [B, K, N] -> [B, M, N].
    pub(super) fn product(&self, rhs: &Array) -> Array {
        let (&[batch, m, k], &[_, _, n]) = (self.dims(), rhs.dims()) else {
            unreachable!("product of {:?} and {:?}", self.dims(), rhs.dims())
        };
        assert_eq!(rhs.dims(), [batch, k, n], "product with {:?}", self.dims());
        let mut values = vec![0.; batch * m * n];
        if n > 0 && k > 0 {
            for (i, out) in values.chunks_exact_mut(n).enumerate() {
                let row = &self.values()[i * k..][..k];
                let rows = rhs.values()[i / m * k * n..][..k * n].chunks_exact(n);
                for (&a, b) in row.iter().zip(rows) {
                    for (out, b) in out.iter_mut().zip(b) {
                        *out += a * b;
                    }
                }
            }
        }
        Array::made(
            self.dtype(),
            &[batch, m, n],
            values,
            vec![self.clone(), rhs.clone()],
            |parents, which, g| match which {
                0 => g.product(&parents[1].permute(&[0, 2, 1])),
                _ => parents[0].permute(&[0, 2, 1]).product(g),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(dims: &[usize], values: &[f64]) -> Array {
        Array::constant(DType::F64, dims, values.to_vec())
    }

    #[test]
    fn put_adds_where_take_reads() {
        let x = array(&[3], &[1., 2., 3.]);
        let table: Places = [2, NOWHERE, 0, 2].into();
        assert_eq!(
            x.take(Arc::clone(&table), &[4], 9.).values(),
            [3., 9., 1., 3.]
        );
        let y = array(&[4], &[1., 10., 100., 1000.]);
        assert_eq!(y.put(table, &[3]).values(), [100., 0., 1001.]);
    }

    #[test]
    fn product_by_hand() {
        let (a, b) = (
            array(&[1, 2, 2], &[1., 2., 3., 4.]),
            array(&[1, 2, 3], &[1., 0., 2., 0., 1., 3.]),
        );
        assert_eq!(a.product(&b).values(), [1., 2., 8., 3., 4., 18.]);
    }

    #[test]
    fn select_ignores_what_it_does_not_choose() {
        let (a, b) = (
            array(&[2], &[1., f64::NAN]),
            array(&[2], &[f64::INFINITY, 2.]),
        );
        assert_eq!(
            Array::select([true, false].into(), &a, &b).values(),
            [1., 2.]
        );
    }
}
