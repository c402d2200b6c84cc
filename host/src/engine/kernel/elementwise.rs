//! Broadcast elementwise functions on the CPU: strided operands, no copies, one pass.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use candle_core::{DType, Storage, StorageRef, WithDType};

use super::output::written;
use super::{Scalar, dispatch, to_value, vectorised};
use crate::engine::error::{Error, Result};
use crate::engine::tensor::Value;

/// Entries that one task computes.
const CHUNK: usize = 1 << 14;

/// An arithmetic function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    /// The first where the second is above 0, and 0 elsewhere.
    Gate,
}

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
pub(super) fn collapse<const N: usize>(
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

/// A result of the given sizes, of which `run(out, offsets)` writes each piece of an inner line; a piece lies in one task.
///
/// # Safety
/// `run` must write every entry that it is handed.
pub(super) unsafe fn lines<O: Copy + Send, const N: usize>(
    sizes: &[usize],
    steps: &[Vec<usize>; N],
    run: impl Fn(&mut [MaybeUninit<O>], [usize; N]) + Sync,
) -> Vec<O> {
    let (&inner, outer) = sizes.split_last().expect("collapse leaves one dimension");
    let step = steps.each_ref().map(|steps| steps[outer.len()]);
    let work = |first: usize, out: &mut [MaybeUninit<O>]| {
        // Where the first line lies; from there on the places are counted up.
        let (mut line, mut column) = (first / inner, first % inner);
        let mut place = vec![0; outer.len()];
        let mut starts = [0; N];
        for (d, size) in outer.iter().enumerate().rev() {
            place[d] = line % size;
            line /= size;
            for k in 0..N {
                starts[k] += place[d] * steps[k][d];
            }
        }
        let mut rest = out;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at_mut((inner - column).min(rest.len()));
            run(piece, std::array::from_fn(|k| starts[k] + column * step[k]));
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
    };
    let fill = |out: &mut [MaybeUninit<O>]| {
        let chunks = out.par_chunks_mut(CHUNK).enumerate();
        chunks.for_each(|(i, chunk)| vectorised(|| work(i * CHUNK, chunk)));
    };
    // SAFETY: the chunks are cut into pieces without a rest, and the caller's `run` writes those.
    unsafe { written(sizes.iter().product(), fill) }
}

/// `f(a, b)` of two operands that broadcast to `dims`.
fn zip<T: Scalar>(
    op: &'static str,
    a: &Value,
    b: &Value,
    dims: &[usize],
    f: impl Fn(T, T) -> T + Sync,
) -> Result<Vec<T>> {
    let (left, right) = (
        Operand::<T>::open(op, a, dims)?,
        Operand::<T>::open(op, b, dims)?,
    );
    if dims.contains(&0) {
        return Ok(Vec::new());
    }
    let (sizes, steps) = collapse(dims, [&left.strides, &right.strides]);
    let inner = sizes.len() - 1;
    let (step_a, step_b) = (steps[0][inner], steps[1][inner]);
    let (a, b) = (left.data(), right.data());
    let run = |out: &mut [MaybeUninit<T>], [i, j]: [usize; 2]| {
        let (a, b) = (&a[i..], &b[j..]);
        let out = out.iter_mut();
        match (step_a, step_b) {
            (1, 1) => out.zip(a.iter().zip(b)).for_each(|(out, (a, b))| {
                out.write(f(*a, *b));
            }),
            (1, 0) => out.zip(a).for_each(|(out, a)| _ = out.write(f(*a, b[0]))),
            (0, 1) => out.zip(b).for_each(|(out, b)| _ = out.write(f(a[0], *b))),
            _ => out.enumerate().for_each(|(k, out)| {
                out.write(f(a[k * step_a], b[k * step_b]));
            }),
        }
    };
    // SAFETY: `run` writes every entry: the operands reach as far as the result.
    Ok(unsafe { lines(&sizes, &steps, run) })
}

/// The value with its entries in row-major order; candle's own copy of a permuted or broadcast value is serial.
pub(crate) fn contiguous(x: &Value) -> Result<Value> {
    if x.is_contiguous() || !x.device().is_cpu() {
        return Ok(x.contiguous()?);
    }
    match x.dtype() {
        DType::F32 => copy::<f32>(x),
        DType::F64 => copy::<f64>(x),
        _ => Ok(x.contiguous()?),
    }
}

fn copy<T: Scalar>(x: &Value) -> Result<Value> {
    let source = Operand::<T>::open("copy", x, x.dims())?;
    if x.elem_count() == 0 {
        return to_value(Vec::<T>::new(), x.dims(), x);
    }
    let (sizes, steps) = collapse(x.dims(), [&source.strides]);
    let step = steps[0][sizes.len() - 1];
    let data = source.data();
    let run = |out: &mut [MaybeUninit<T>], [i]: [usize; 1]| {
        let (len, out) = (out.len(), out.iter_mut());
        match step {
            0 => out.for_each(|out| _ = out.write(data[i])),
            1 => out
                .zip(&data[i..i + len])
                .for_each(|(out, v)| _ = out.write(*v)),
            _ => out
                .enumerate()
                .for_each(|(k, out)| _ = out.write(data[i + k * step])),
        }
    };
    // SAFETY: `run` writes every entry: the source reaches as far as the result.
    let out = unsafe { lines(&sizes, &steps, run) };
    to_value(out, x.dims(), x)
}

/// An arithmetic function of two values that broadcast to `dims`.
pub(crate) fn binary(
    op: &'static str,
    kind: Binary,
    a: &Value,
    b: &Value,
    dims: &[usize],
) -> Result<Value> {
    dispatch!(op, a.dtype(), T => {
        let out = match kind {
            Binary::Add => zip::<T>(op, a, b, dims, |a, b| a + b),
            Binary::Sub => zip::<T>(op, a, b, dims, |a, b| a - b),
            Binary::Mul => zip::<T>(op, a, b, dims, |a, b| a * b),
            Binary::Div => zip::<T>(op, a, b, dims, |a, b| a / b),
            Binary::Gate => zip::<T>(op, a, b, dims, |a, b| if b > T::ZERO { a } else { T::ZERO }),
        };
        to_value(out?, dims, a)
    })
}

/// `a` where the mask (u8) is not 0 and `b` elsewhere, all broadcast to `dims`.
pub(crate) fn select(
    op: &'static str,
    mask: &Value,
    a: &Value,
    b: &Value,
    dims: &[usize],
) -> Result<Value> {
    dispatch!(op, a.dtype(), T => {
        let mask = Operand::<u8>::open(op, mask, dims)?;
        let (left, right) = (Operand::<T>::open(op, a, dims)?, Operand::<T>::open(op, b, dims)?);
        if dims.contains(&0) {
            return to_value(Vec::<T>::new(), dims, a);
        }
        let strides = [mask.strides.as_slice(), &left.strides, &right.strides];
        let (sizes, steps) = collapse(dims, strides);
        let step = steps.each_ref().map(|steps| steps[sizes.len() - 1]);
        let (mask, left, right) = (mask.data(), left.data(), right.data());
        let run = |out: &mut [MaybeUninit<T>], [i, j, k]: [usize; 3]| {
            for (n, out) in out.iter_mut().enumerate() {
                let chosen = mask[i + n * step[0]] != 0;
                let (yes, no) = (left[j + n * step[1]], right[k + n * step[2]]);
                out.write(if chosen { yes } else { no });
            }
        };
        // SAFETY: `run` writes every entry.
        let out = unsafe { lines(&sizes, &steps, run) };
        to_value(out, dims, a)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn value(dims: &[usize]) -> Value {
        let numbers: Vec<f64> = (0..dims.iter().product::<usize>())
            .map(|i| (i * 37 % 101) as f64)
            .collect();
        Value::from_vec(numbers, dims, &Device::Cpu).unwrap()
    }

    fn flat(v: &Value) -> Vec<f64> {
        v.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn broadcast_and_strided_operands_agree_with_candle() {
        let pairs = [
            (value(&[3, 4, 5]), value(&[3, 4, 5])),
            (value(&[7, 90, 41]), value(&[90, 1])),
            (value(&[1, 90, 1]), value(&[7, 90, 41])),
            (value(&[1]), value(&[2, 3])),
            (value(&[4, 3]).t().unwrap(), value(&[3, 4])),
            (value(&[5, 6]).narrow(1, 2, 3).unwrap(), value(&[5, 1])),
            (value(&[2, 1, 3]), value(&[1, 4, 1])),
            (value(&[0, 3]), value(&[3])),
        ];
        for (a, b) in pairs {
            let expected = a.broadcast_sub(&b).unwrap();
            let got = binary("test", Binary::Sub, &a, &b, expected.dims()).unwrap();
            assert_eq!(flat(&got), flat(&expected), "{:?} {:?}", a.dims(), b.dims());
        }
    }

    #[test]
    fn a_selection_broadcasts_its_three_operands() {
        let mask = Value::new(&[[1u8], [0]], &Device::Cpu).unwrap();
        let (a, b) = (value(&[1, 3]), value(&[2, 3]).affine(1.0, 0.5).unwrap());
        let got = select("test", &mask, &a, &b, &[2, 3]).unwrap();
        let expected = [flat(&a), flat(&b)[3..].to_vec()].concat();
        assert_eq!(flat(&got), expected);
    }

    #[test]
    fn copies_of_views_agree_with_candle() {
        let x = value(&[3, 50, 130]);
        let views = [
            x.permute((2, 0, 1)).unwrap(),
            x.transpose(0, 1).unwrap(),
            x.narrow(2, 3, 7).unwrap(),
            x.narrow(1, 2, 1)
                .unwrap()
                .broadcast_as((2, 3, 9, 130))
                .unwrap(),
        ];
        for view in views {
            let got = contiguous(&view).unwrap();
            assert!(got.is_contiguous());
            assert_eq!((got.dims(), flat(&got)), (view.dims(), flat(&view)));
        }
    }

    #[test]
    fn even_dimensions_are_merged() {
        let (sizes, steps) = collapse(&[2, 3, 4], [&[12, 4, 1], &[0, 0, 0]]);
        assert_eq!((sizes, steps), (vec![24], [vec![1], vec![0]]));
        let (sizes, _) = collapse(&[2, 3, 4], [&[12, 4, 1], &[0, 1, 0]]);
        assert_eq!(sizes, [2, 3, 4]);
    }
}
