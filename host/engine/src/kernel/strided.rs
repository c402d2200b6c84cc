//! Results written line by line from strided operands: broadcast and permuted views are read where they lie.

use std::mem::MaybeUninit;

use candle_core::{Storage, StorageRef, WithDType};

use super::output::written;
use super::tasks::each_part;
use super::vectorised;
use crate::error::{Error, Result};
use crate::value::Value;

/// Entries that one task computes.
const CHUNK: usize = 1 << 14;

/// An operand with the strides that broadcasting to the result's shape gives it.
pub(super) struct Operand<'a, T> {
    storage: StorageRef<'a>,
    start: usize,
    pub(super) strides: Vec<usize>,
    entries: std::marker::PhantomData<T>,
}

impl<'a, T: WithDType> Operand<'a, T> {
    pub(super) fn open(op: &'static str, value: &'a Value, dims: &[usize]) -> Result<Self> {
        let (storage, layout) = value.storage_and_layout();
        let layout = layout.broadcast_as(dims)?;
        match &*storage {
            Storage::Cpu(cpu) => cpu.as_slice::<T>()?,
            _ => {
                return Err(Error::argument(
                    op,
                    "no kernel for this device, only for the cpu",
                ));
            }
        };
        Ok(Self {
            storage,
            start: layout.start_offset(),
            strides: layout.stride().to_vec(),
            entries: std::marker::PhantomData,
        })
    }

    pub(super) fn data(&self) -> &[T] {
        let Storage::Cpu(cpu) = &*self.storage else {
            unreachable!("checked when opened")
        };
        &cpu.as_slice::<T>().expect("checked when opened")[self.start..]
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

/// What writes pieces of inner lines. A struct and not a closure, so that its method is inlined where [`vectorised`] needs it.
pub(super) trait Piece<O, const N: usize>: Sync {
    /// Writes every entry of `out`; operand k starts at `starts[k]`.
    fn write(&self, out: &mut [MaybeUninit<O>], starts: [usize; N]);
}

/// A result of the given sizes, written piece by piece; a piece lies in one task.
///
/// # Safety
/// `piece` must write every entry that it is handed.
pub(super) unsafe fn lines<O: Copy + Send, const N: usize>(
    sizes: &[usize],
    steps: &[Vec<usize>; N],
    piece: &impl Piece<O, N>,
) -> Vec<O> {
    let fill = |out: &mut [MaybeUninit<O>]| {
        each_part(out, CHUNK, |i, out| {
            vectorised(Walk {
                sizes,
                steps,
                piece,
                first: i * CHUNK,
                out,
            });
        });
    };
    // SAFETY: the chunks are cut into pieces without a rest, and the caller's `piece` writes those.
    unsafe { written(sizes.iter().product(), fill) }
}

/// The entries from `first` on that one task of [`lines`] covers.
struct Walk<'a, O, P, const N: usize> {
    sizes: &'a [usize],
    steps: &'a [Vec<usize>; N],
    piece: &'a P,
    first: usize,
    out: &'a mut [MaybeUninit<O>],
}

impl<O, P: Piece<O, N>, const N: usize> pulp::NullaryFnOnce for Walk<'_, O, P, N> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let steps = self.steps;
        let (&inner, outer) = self
            .sizes
            .split_last()
            .expect("collapse leaves one dimension");
        // Where the first line lies; from there on the places are counted up.
        let (mut line, mut column) = (self.first / inner, self.first % inner);
        let mut place = vec![0; outer.len()];
        let mut starts = [0; N];
        for (d, size) in outer.iter().enumerate().rev() {
            place[d] = line % size;
            line /= size;
            for k in 0..N {
                starts[k] += place[d] * steps[k][d];
            }
        }
        let mut rest = self.out;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at_mut((inner - column).min(rest.len()));
            let at = std::array::from_fn(|k| starts[k] + column * steps[k][outer.len()]);
            self.piece.write(piece, at);
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
