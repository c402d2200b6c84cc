//! Broadcast elementwise functions on the CPU: strided operands, no copies, one pass.

use rayon::prelude::*;

use candle_core::{DType, Storage, StorageRef, WithDType};

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
}

/// An operand with the strides that broadcasting to the result's shape gives it.
struct Operand<'a, T> {
    storage: StorageRef<'a>,
    start: usize,
    strides: Vec<usize>,
    entries: std::marker::PhantomData<T>,
}

impl<'a, T: WithDType> Operand<'a, T> {
    fn open(op: &'static str, value: &'a Value, dims: &[usize]) -> Result<Self> {
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

    fn data(&self) -> &[T] {
        let Storage::Cpu(cpu) = &*self.storage else {
            unreachable!("checked when opened")
        };
        &cpu.as_slice::<T>().expect("checked when opened")[self.start..]
    }
}

/// Merges neighbouring dimensions that all operands step through evenly; the last dimension of the result is the inner loop.
fn collapse<const N: usize>(
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

/// Calls `run(out, offsets)` for each piece of an inner line of the result; a piece lies in one task.
fn lines<O: Send, const N: usize>(
    out: &mut [O],
    sizes: &[usize],
    steps: &[Vec<usize>; N],
    run: impl Fn(&mut [O], [usize; N]) + Sync,
) {
    let (&inner, outer) = sizes.split_last().expect("collapse leaves one dimension");
    let work = |first: usize, out: &mut [O]| {
        let (mut position, mut rest) = (first, out);
        while !rest.is_empty() {
            let (mut line, column) = (position / inner, position % inner);
            let mut offsets: [usize; N] = std::array::from_fn(|k| column * steps[k][outer.len()]);
            for (d, size) in outer.iter().enumerate().rev() {
                for k in 0..N {
                    offsets[k] += line % size * steps[k][d];
                }
                line /= size;
            }
            let len = (inner - column).min(rest.len());
            let (piece, after) = rest.split_at_mut(len);
            run(piece, offsets);
            position += len;
            rest = after;
        }
    };
    let chunks = out.par_chunks_mut(CHUNK).enumerate();
    chunks.for_each(|(i, chunk)| vectorised(|| work(i * CHUNK, chunk)));
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
    let mut out = vec![T::ZERO; dims.iter().product()];
    if out.is_empty() {
        return Ok(out);
    }
    let (sizes, steps) = collapse(dims, [&left.strides, &right.strides]);
    let inner = sizes.len() - 1;
    let (step_a, step_b) = (steps[0][inner], steps[1][inner]);
    let (a, b) = (left.data(), right.data());
    lines(&mut out, &sizes, &steps, |out, [i, j]| {
        let (a, b) = (&a[i..], &b[j..]);
        match (step_a, step_b) {
            (1, 1) => {
                for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                    *out = f(*a, *b);
                }
            }
            (1, 0) => out
                .iter_mut()
                .zip(a)
                .for_each(|(out, a)| *out = f(*a, b[0])),
            (0, 1) => out
                .iter_mut()
                .zip(b)
                .for_each(|(out, b)| *out = f(a[0], *b)),
            _ => {
                for (k, out) in out.iter_mut().enumerate() {
                    *out = f(a[k * step_a], b[k * step_b]);
                }
            }
        }
    });
    Ok(out)
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
    let mut out = vec![T::ZERO; x.elem_count()];
    if !out.is_empty() {
        let (sizes, steps) = collapse(x.dims(), [&source.strides]);
        let step = steps[0][sizes.len() - 1];
        let data = source.data();
        lines(&mut out, &sizes, &steps, |out, [i]| match step {
            0 => out.fill(data[i]),
            1 => out.copy_from_slice(&data[i..i + out.len()]),
            _ => {
                let taken = data[i..].iter().step_by(step);
                out.iter_mut().zip(taken).for_each(|(out, v)| *out = *v);
            }
        });
    }
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
        let mut out = vec![T::ZERO; dims.iter().product()];
        if !out.is_empty() {
            let strides = [mask.strides.as_slice(), &left.strides, &right.strides];
            let (sizes, steps) = collapse(dims, strides);
            let step = steps.each_ref().map(|steps| steps[sizes.len() - 1]);
            let (mask, left, right) = (mask.data(), left.data(), right.data());
            lines(&mut out, &sizes, &steps, |out, [i, j, k]| {
                for (n, out) in out.iter_mut().enumerate() {
                    let chosen = mask[i + n * step[0]] != 0;
                    let (yes, no) = (left[j + n * step[1]], right[k + n * step[2]]);
                    *out = if chosen { yes } else { no };
                }
            });
        }
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
