//! Values joined along a dimension, and values with zeros around them along one.

use super::elementwise::contiguous;
use super::output::written;
use super::strided::collapse;
use super::tasks::{each, each_part};
use super::unary::has_kernel;
use super::{Disjoint, Host, Scalar, dispatch, to_value, vectorised};
use crate::error::Result;
use crate::value::Value;

/// Entries that one task copies.
const CHUNK: usize = 1 << 14;

/// `parts`, one behind the other along `dim`; none where they are no floating-point numbers, or do not fit together.
pub(crate) fn cat(parts: &[&Value], dim: usize) -> Result<Option<Value>> {
    let first = parts[0];
    let fits = |part: &&Value| {
        let dims = part.dims();
        let same = |d: usize| d == dim || dims[d] == first.dims()[d];
        part.dtype() == first.dtype() && dims.len() == first.rank() && (0..dims.len()).all(same)
    };
    if !has_kernel(first) || !parts.iter().all(fits) {
        return Ok(None);
    }
    let parts = parts.iter().map(|x| Part::of(x, dim));
    Ok(Some(joined(
        &parts.collect::<Result<Vec<_>>>()?,
        dim,
        first,
    )?))
}

/// `x` with zeros around, which starts at `start` of `size` in dimension `dim`; none where it has no floating-point numbers.
pub(crate) fn padded(x: &Value, dim: usize, start: usize, size: usize) -> Result<Option<Value>> {
    if !has_kernel(x) {
        return Ok(None);
    }
    let after = size - start - x.dims()[dim];
    let parts = [Part::Zeros(start), Part::of(x, dim)?, Part::Zeros(after)];
    Ok(Some(joined(&parts, dim, x)?))
}

/// Slices in their places along `dim`, in ascending order, zeros between and around.
pub(crate) fn placed(slices: &[(usize, Value)], dim: usize, size: usize) -> Result<Value> {
    let (mut parts, mut end) = (Vec::with_capacity(2 * slices.len() + 1), 0);
    for (start, slice) in slices {
        parts.push(Part::Zeros(start - end));
        parts.push(Part::of(slice, dim)?);
        end = start + slice.dims()[dim];
    }
    parts.push(Part::Zeros(size - end));
    joined(&parts, dim, &slices[0].1)
}

/// Adds a slice to numbers of the whole: in dimension `dim` it begins at `start` of `size`.
pub(crate) fn add_slice<T: Scalar>(
    numbers: &mut [T],
    slice: &Value,
    [dim, start, size]: [usize; 3],
) -> Result<()> {
    let slice = contiguous(slice)?;
    let after: usize = slice.dims()[dim + 1..].iter().product();
    let (len, line) = (slice.dims()[dim] * after, size * after);
    if numbers.is_empty() || len == 0 {
        return Ok(());
    }
    let from = Host::<T>::open("add", &slice)?;
    let lines = numbers.len() / line;
    assert_eq!(from.len(), lines * len, "as many lines of both");
    let (from, numbers) = (&*from, Disjoint::new(numbers));
    let parts = len.div_ceil(CHUNK);
    each(lines * parts, |task| {
        let (at, part) = (task / parts, task % parts * CHUNK);
        let count = CHUNK.min(len - part);
        // SAFETY: each task has its own part of a line.
        let to = unsafe { numbers.part(at * line + start * after + part, count) };
        let from = &from[at * len + part..][..count];
        vectorised(
            #[inline(always)]
            || {
                for (to, x) in to.iter_mut().zip(from) {
                    *to += *x;
                }
            },
        );
    });
    Ok(())
}

/// A value, whose lines lie `step` apart, or so many zeros of the dimension.
enum Part {
    Of { value: Value, step: usize },
    Zeros(usize),
}

impl Part {
    /// The value itself where its entries from `dim` on lie behind each other, as those of a slice do; else a copy.
    fn of(value: &Value, dim: usize) -> Result<Self> {
        let (dims, strides) = (value.dims(), value.stride());
        let (inner, [inner_step]) = collapse(&dims[dim..], [&strides[dim..]]);
        let (outer, [outer_step]) = collapse(&dims[..dim], [&strides[..dim]]);
        let is_line = inner.len() == 1 && (inner[0] == 1 || inner_step[0] == 1);
        if is_line && outer.len() == 1 {
            let (value, step) = (value.clone(), outer_step[0]);
            return Ok(Self::Of { value, step });
        }
        let value = contiguous(value)?;
        let step = dims[dim..].iter().product();
        Ok(Self::Of { value, step })
    }
}

/// The parts along `dim`; all else is as in `like`.
fn joined(parts: &[Part], dim: usize, like: &Value) -> Result<Value> {
    dispatch!("cat", like.dtype(), T => of_type::<T>(parts, dim, like))
}

/// Entries of a part in each line of the result: where they start there, and what they are, a line's `step` behind those of the one before.
struct Piece<'a, T> {
    start: usize,
    len: usize,
    data: Option<(Host<'a, T>, usize)>,
}

fn of_type<T: Scalar>(parts: &[Part], dim: usize, like: &Value) -> Result<Value> {
    let after: usize = like.dims()[dim + 1..].iter().product();
    let (mut pieces, mut size) = (Vec::with_capacity(parts.len()), 0);
    for part in parts {
        let (count, data) = match part {
            Part::Zeros(count) => (*count, None),
            Part::Of { value, step } => {
                let start = value.layout().start_offset();
                let data = Host::<T>::starting("cat", value, start)?;
                (value.dims()[dim], Some((data, *step)))
            }
        };
        pieces.push(Piece {
            start: size * after,
            len: count * after,
            data,
        });
        size += count;
    }
    let mut dims = like.dims().to_vec();
    dims[dim] = size;
    let (line, all) = (size * after, dims.iter().product());
    // SAFETY: every entry of a chunk lies in a piece of a line, and is written.
    let data = unsafe {
        written(all, |out| {
            each_part(out, CHUNK, |i, mut out| {
                let mut place = i * CHUNK;
                while !out.is_empty() {
                    let (row, column) = (place / line, place % line);
                    // Pieces without entries start where the next one does.
                    let piece = pieces.partition_point(|piece| piece.start <= column) - 1;
                    let piece = &pieces[piece];
                    let count = (piece.start + piece.len - column).min(out.len());
                    let (to, rest) = out.split_at_mut(count);
                    match &piece.data {
                        Some((data, step)) => {
                            let from = row * step + column - piece.start;
                            let from = &data[from..from + count];
                            to.iter_mut().zip(from).for_each(|(to, x)| _ = to.write(*x));
                        }
                        None => to.iter_mut().for_each(|to| _ = to.write(T::ZERO)),
                    }
                    (out, place) = (rest, place + count);
                }
            });
        })
    };
    to_value(data, &dims, like)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(dims: &[usize], first: f32) -> Value {
        let count: usize = dims.iter().product();
        let data = (0..count).map(|i| first + i as f32).collect();
        Value::from_vec(data, dims, &candle_core::Device::Cpu).unwrap()
    }

    fn numbers(value: &Value) -> Vec<f32> {
        value.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn joined_along_any_dimension_as_in_candle() {
        let cases: [(&[&[usize]], usize); 5] = [
            (&[&[2, 3, 4], &[5, 3, 4]], 0),
            (&[&[2, 3, 4], &[2, 0, 4], &[2, 1, 4]], 1),
            (&[&[2, 0, 4], &[2, 3, 4]], 1),
            (&[&[3, 70, 90], &[3, 11, 90], &[3, 200, 90]], 1),
            (&[&[300, 31], &[300, 40]], 1),
        ];
        for (dims, dim) in cases {
            let parts: Vec<Value> = (0..dims.len())
                .map(|i| value(dims[i], 1e5 * i as f32))
                .collect();
            let parts: Vec<&Value> = parts.iter().collect();
            let (got, expected) = (
                cat(&parts, dim).unwrap().unwrap(),
                Value::cat(&parts, dim).unwrap(),
            );
            assert_eq!(got.dims(), expected.dims());
            assert_eq!(numbers(&got), numbers(&expected), "{dims:?}");
        }
        let turned = value(&[3, 2], 0.0).t().unwrap();
        let got = cat(&[&turned, &turned], 1).unwrap().unwrap();
        assert_eq!(
            numbers(&got),
            [0.0, 2.0, 4.0, 0.0, 2.0, 4.0, 1.0, 3.0, 5.0, 1.0, 3.0, 5.0]
        );
        let whole = value(&[4, 6, 5], 0.0);
        let slices = [
            whole.narrow(1, 1, 2).unwrap(),
            whole.narrow(1, 3, 3).unwrap(),
        ];
        let slices: Vec<&Value> = slices.iter().collect();
        let (got, expected) = (cat(&slices, 1).unwrap(), Value::cat(&slices, 1));
        assert_eq!(numbers(&got.unwrap()), numbers(&expected.unwrap()));
        let other = cat(&[&turned, &value(&[3, 2], 0.0)], 0).unwrap();
        assert!(other.is_none(), "they do not fit");
    }

    #[test]
    fn zeros_stand_around() {
        for (dims, dim, start, size) in [
            ([2, 3, 4], 1, 2, 7),
            ([2, 3, 4], 2, 0, 5),
            ([40, 60, 50], 0, 3, 43),
            ([2, 0, 4], 1, 1, 3),
        ] {
            let x = value(&dims, 1.0);
            let expected = x.pad_with_zeros(dim, start, size - start - dims[dim]);
            let got = padded(&x, dim, start, size).unwrap().unwrap();
            assert_eq!(numbers(&got), numbers(&expected.unwrap()));
        }
    }
}
