//! Results written line by line from strided operands: broadcast and permuted views are read where they lie.

use std::mem::MaybeUninit;

use candle_core::WithDType;

use super::output::{held, writable, written};
use super::tasks::each_part;
use super::{Host, Scalar, vectorised};
use crate::error::Result;
use crate::value::Value;

/// Entries that one task computes.
const CHUNK: usize = 1 << 14;

/// An operand with the strides that broadcasting to the result's shape gives it.
pub(super) struct Operand<'a, T> {
    /// From its first entry on.
    pub(super) data: Host<'a, T>,
    pub(super) strides: Vec<usize>,
}

impl<'a, T: WithDType> Operand<'a, T> {
    pub(super) fn open(op: &'static str, value: &'a Value, dims: &[usize]) -> Result<Self> {
        let layout = value.layout().broadcast_as(dims)?;
        Ok(Self {
            data: Host::starting(op, value, layout.start_offset())?,
            strides: layout.stride().to_vec(),
        })
    }
}

/// Merges neighbouring dimensions that all operands step through evenly; the last dimension of the result is the inner loop.
pub(crate) fn collapse<const N: usize>(
    dims: &[usize],
    strides: [&[usize]; N],
) -> (Vec<usize>, [Vec<usize>; N]) {
    let (mut sizes, mut steps): (Vec<usize>, [Vec<usize>; N]) =
        (Vec::new(), std::array::from_fn(|_| Vec::new()));
    for (d, &size) in dims.iter().enumerate() {
        if size == 1 {
            continue;
        }
        let even =
            !sizes.is_empty() && (0..N).all(|k| steps[k].last() == Some(&(strides[k][d] * size)));
        if even {
            *sizes.last_mut().expect("not empty") *= size;
        } else {
            sizes.push(size);
        }
        for k in 0..N {
            if even {
                steps[k].pop();
            }
            steps[k].push(strides[k][d]);
        }
    }
    if sizes.is_empty() {
        sizes.push(1);
        steps.iter_mut().for_each(|s| s.push(0));
    }
    (sizes, steps)
}

/// A result of shape `dims`, written in pieces of lines; a piece lies in one task. `write` is handed a piece, and where each operand
/// starts there and how far it steps from entry to entry.
///
/// # Safety
/// `write` must write every entry that it is handed.
pub(super) unsafe fn lines<O: Copy + Send, const N: usize>(
    dims: &[usize],
    strides: [&[usize]; N],
    write: impl Fn(&mut [MaybeUninit<O>], [usize; N], [usize; N]) + Sync,
) -> Vec<O> {
    // SAFETY: the caller's `write` writes all that it is handed, which is all there is.
    unsafe {
        written(dims.iter().product(), |out| {
            in_lines(out, dims, strides, write)
        })
    }
}

/// Hands out all pieces of a place of shape `dims`, as [`lines`] does.
fn in_lines<O: Send, const N: usize>(
    out: &mut [MaybeUninit<O>],
    dims: &[usize],
    strides: [&[usize]; N],
    write: impl Fn(&mut [MaybeUninit<O>], [usize; N], [usize; N]) + Sync,
) {
    if dims.contains(&0) {
        return;
    }
    let (sizes, steps) = &collapse(dims, strides);
    let (&inner, outer) = sizes.split_last().expect("collapse leaves one dimension");
    let (last, write) = (steps.each_ref().map(|steps| steps[outer.len()]), &write);
    each_part(out, CHUNK, |i, out| {
        vectorised(
            #[inline(always)]
            move || {
                // Where the first line lies; from there on the places are counted up.
                let (mut line, mut column) = (i * CHUNK / inner, i * CHUNK % inner);
                let mut place = vec![0; outer.len()];
                let mut starts = [0; N];
                for (d, size) in outer.iter().enumerate().rev() {
                    place[d] = line % size;
                    line /= size;
                    for k in 0..N {
                        starts[k] += place[d] * steps[k][d];
                    }
                }
                let mut rest = &mut *out;
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at_mut((inner - column).min(rest.len()));
                    write(
                        piece,
                        std::array::from_fn(|k| starts[k] + column * last[k]),
                        last,
                    );
                    (column, rest) = (0, after);
                    for (d, size) in outer.iter().enumerate().rev() {
                        place[d] += 1;
                        for k in 0..N {
                            starts[k] += steps[k][d];
                        }
                        if place[d] < *size {
                            break;
                        }
                        place[d] = 0;
                        for k in 0..N {
                            starts[k] -= size * steps[k][d];
                        }
                    }
                }
            },
        );
    });
}

/// Adds an operand to numbers of shape `dims`.
pub(super) fn add<T: Scalar>(to: &mut [T], x: &Operand<'_, T>, dims: &[usize]) {
    let len: usize = dims.iter().product();
    assert_eq!(to.len(), len, "a number for each entry");
    let data = &*x.data;
    // SAFETY: numbers alone are written.
    let to = unsafe { writable(to) };
    in_lines(
        to,
        dims,
        [&x.strides],
        #[inline(always)]
        move |to, [i], [step]| {
            // SAFETY: the place holds numbers.
            let (to, data) = (unsafe { held(to) }, &data[i..]);
            match step {
                1 => {
                    for (to, x) in to.iter_mut().zip(data) {
                        *to += *x;
                    }
                }
                0 => {
                    let x = data[0];
                    for to in to {
                        *to += x;
                    }
                }
                step => {
                    for (to, x) in to.iter_mut().zip(data.iter().step_by(step)) {
                        *to += *x;
                    }
                }
            }
        },
    );
}

/// `f` of every entry of an operand.
pub(super) fn map<T: Scalar>(
    x: &Operand<'_, T>,
    dims: &[usize],
    f: impl Fn(T) -> T + Sync,
) -> Vec<T> {
    let data = &*x.data;
    // SAFETY: every entry is written: the operand reaches as far as the result.
    unsafe {
        lines(
            dims,
            [&x.strides],
            #[inline(always)]
            move |out, [i], [step]| {
                let (data, out) = (&data[i..], out.iter_mut());
                match step {
                    1 => out.zip(data).for_each(|(out, x)| _ = out.write(f(*x))),
                    0 => {
                        let value = f(data[0]);
                        out.for_each(|out| _ = out.write(value));
                    }
                    step => out.zip(data.iter().step_by(step)).for_each(|(out, x)| {
                        out.write(f(*x));
                    }),
                }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_dimensions_are_merged() {
        let (sizes, steps) = collapse(&[2, 3, 4], [&[12, 4, 1], &[0, 0, 0]]);
        assert_eq!((sizes, steps), (vec![24], [vec![1], vec![0]]));
        let (sizes, _) = collapse(&[2, 3, 4], [&[12, 4, 1], &[0, 1, 0]]);
        assert_eq!(sizes, [2, 3, 4]);
    }
}
