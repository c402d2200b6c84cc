//! Broadcast elementwise functions on the CPU: strided operands, no copies, one pass.

use std::mem::MaybeUninit;

use candle_core::DType;

use super::strided::{Operand, Piece, collapse, lines};
use super::{Host, Scalar, dispatch, to_value};
use crate::error::Result;
use crate::value::Value;

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
    let piece = Zip {
        data: [left.data(), right.data()],
        step: steps.each_ref().map(|steps| steps[sizes.len() - 1]),
        f,
    };
    // SAFETY: `Zip` writes every entry: the operands reach as far as the result.
    Ok(unsafe { lines(&sizes, &steps, &piece) })
}

/// A piece of [`zip`].
struct Zip<'a, T, F> {
    data: [&'a [T]; 2],
    step: [usize; 2],
    f: F,
}

impl<T: Scalar, F: Fn(T, T) -> T + Sync> Piece<T, 2> for Zip<'_, T, F> {
    #[inline(always)]
    fn write(&self, out: &mut [MaybeUninit<T>], [i, j]: [usize; 2]) {
        let (f, a, b) = (&self.f, &self.data[0][i..], &self.data[1][j..]);
        let out = out.iter_mut();
        match self.step {
            [1, 1] => out.zip(a.iter().zip(b)).for_each(|(out, (a, b))| {
                out.write(f(*a, *b));
            }),
            [1, 0] => {
                let b = b[0];
                out.zip(a).for_each(|(out, a)| _ = out.write(f(*a, b)));
            }
            [0, 1] => {
                let a = a[0];
                out.zip(b).for_each(|(out, b)| _ = out.write(f(a, *b)));
            }
            [step_a, step_b] => out.enumerate().for_each(|(k, out)| {
                out.write(f(a[k * step_a], b[k * step_b]));
            }),
        }
    }
}

/// The value with its entries in row-major order; candle's own copy of a permuted or broadcast value is serial.
pub(crate) fn contiguous(x: &Value) -> Result<Value> {
    if x.is_contiguous() {
        return Ok(x.clone());
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
    let piece = Copied {
        data: source.data(),
        step: steps[0][sizes.len() - 1],
    };
    // SAFETY: `Copied` writes every entry: the source reaches as far as the result.
    let out = unsafe { lines(&sizes, &steps, &piece) };
    to_value(out, x.dims(), x)
}

/// A piece of [`copy`].
struct Copied<'a, T> {
    data: &'a [T],
    step: usize,
}

impl<T: Scalar> Piece<T, 1> for Copied<'_, T> {
    #[inline(always)]
    fn write(&self, out: &mut [MaybeUninit<T>], [i]: [usize; 1]) {
        let (data, out) = (&self.data[i..], out.iter_mut());
        match self.step {
            0 => out.for_each(|out| _ = out.write(data[0])),
            1 => out.zip(data).for_each(|(out, v)| _ = out.write(*v)),
            step => out.zip(data.iter().step_by(step)).for_each(|(out, v)| {
                out.write(*v);
            }),
        }
    }
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

/// [`binary`] of a few entries of one shape and layout, where planning a walk would take longer than walking; none for others.
pub(crate) fn few(op: &'static str, kind: Binary, a: &Value, b: &Value) -> Result<Option<Value>> {
    const FEW: usize = 256;
    let alike = a.dims() == b.dims() && a.is_contiguous() && b.is_contiguous();
    if !alike || a.elem_count() > FEW {
        return Ok(None);
    }
    dispatch!(op, a.dtype(), T => {
        let (left, right) = (Host::<T>::open(op, a)?, Host::<T>::open(op, b)?);
        let pairs = left.iter().zip(right.iter());
        let out: Vec<T> = match kind {
            Binary::Add => pairs.map(|(a, b)| *a + *b).collect(),
            Binary::Sub => pairs.map(|(a, b)| *a - *b).collect(),
            Binary::Mul => pairs.map(|(a, b)| *a * *b).collect(),
            Binary::Div => pairs.map(|(a, b)| *a / *b).collect(),
            Binary::Gate => pairs.map(|(a, b)| if *b > T::ZERO { *a } else { T::ZERO }).collect(),
        };
        to_value(out, a.dims(), a).map(Some)
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
        let piece = Selected {
            mask: mask.data(),
            data: [left.data(), right.data()],
            step: steps.each_ref().map(|steps| steps[sizes.len() - 1]),
        };
        // SAFETY: `Selected` writes every entry.
        let out = unsafe { lines(&sizes, &steps, &piece) };
        to_value(out, dims, a)
    })
}

/// A piece of [`select`].
struct Selected<'a, T> {
    mask: &'a [u8],
    data: [&'a [T]; 2],
    step: [usize; 3],
}

impl<T: Scalar> Piece<T, 3> for Selected<'_, T> {
    #[inline(always)]
    fn write(&self, out: &mut [MaybeUninit<T>], [i, j, k]: [usize; 3]) {
        let ([left, right], step) = (self.data, self.step);
        for (n, out) in out.iter_mut().enumerate() {
            let chosen = self.mask[i + n * step[0]] != 0;
            let (yes, no) = (left[j + n * step[1]], right[k + n * step[2]]);
            out.write(if chosen { yes } else { no });
        }
    }
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
}
