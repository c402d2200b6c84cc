//! Tables of places: where each element of a result comes from, or where each element goes.

use std::sync::Arc;

use super::Array;
use crate::{Result, bail};

/// A flat index for each element, or [`NOWHERE`].
pub(super) type Places = Arc<[usize]>;

/// No element.
pub(super) const NOWHERE: usize = usize::MAX;

/// Distance of neighbours along each dimension of a row-major shape.
pub(super) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i];
    }
    strides
}

/// The flat index of an element.
pub(super) fn flat(at: &[usize], strides: &[usize]) -> usize {
    at.iter().zip(strides).map(|(i, s)| i * s).sum()
}

/// `place` of every index of a shape, in row-major order.
pub(super) fn places(dims: &[usize], mut place: impl FnMut(&[usize]) -> usize) -> Places {
    let mut at = vec![0; dims.len()];
    let count = dims.iter().product();
    let mut table = Vec::with_capacity(count);
    for _ in 0..count {
        table.push(place(&at));
        for (i, &size) in at.iter_mut().zip(dims).rev() {
            *i += 1;
            if *i < size {
                break;
            }
            *i = 0;
        }
    }
    table.into()
}

/// The shape that two shapes broadcast to.
pub(super) fn broadcast_dims(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    let sizes = (0..rank).map(|i| match (size(a, i), size(b, i)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        _ => bail!("{a:?} and {b:?} do not broadcast to one shape"),
    });
    sizes.collect()
}

impl Array {
    /// Repeated to `dims`, to which the shape must broadcast.
    pub(super) fn broadcast_to(&self, dims: &[usize]) -> Array {
        if self.dims() == dims {
            return self.clone();
        }
        let (own, missing) = (strides(self.dims()), dims.len() - self.rank());
        let table = places(dims, |at| {
            let own_at = at[missing..].iter().zip(self.dims());
            own_at
                .zip(&own)
                .map(|((&i, &size), stride)| if size == 1 { 0 } else { i * stride })
                .sum()
        });
        self.take(table, dims, 0.)
    }

    /// Another size of one dimension: entry `i` of the result is entry `from(i)` of the array, or `fill` for
    /// [`NOWHERE`].
    pub(super) fn along(
        &self,
        dim: usize,
        size: usize,
        fill: f64,
        from: impl Fn(usize) -> usize,
    ) -> Array {
        let own = strides(self.dims());
        let mut dims = self.dims().to_vec();
        dims[dim] = size;
        let table = places(&dims, |at| match from(at[dim]) {
            NOWHERE => NOWHERE,
            i => flat(at, &own) + i * own[dim] - at[dim] * own[dim],
        });
        self.take(table, &dims, fill)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_run_in_row_major_order() {
        let dims = [2, 3, 2];
        let own = strides(&dims);
        assert_eq!(own, [6, 2, 1]);
        assert_eq!(
            &*places(&dims, |at| flat(at, &own)),
            (0..12).collect::<Vec<_>>()
        );
        assert_eq!(&*places(&[], |_| 7), [7]);
        assert!(places(&[3, 0], |_| 0).is_empty());
    }

    #[test]
    fn shapes_broadcast_from_the_right() {
        assert_eq!(broadcast_dims(&[2, 1, 3], &[4, 1]).unwrap(), [2, 4, 3]);
        assert_eq!(broadcast_dims(&[], &[2]).unwrap(), [2]);
        let error = broadcast_dims(&[2, 3], &[2]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "[2, 3] and [2] do not broadcast to one shape"
        );
    }
}
