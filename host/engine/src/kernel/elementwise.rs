//! Broadcast elementwise functions on the CPU: strided operands, no copies, one pass.

use candle_core::DType;

use super::strided::{self, Operand, lines, map};
use super::{Host, Scalar, dispatch, to_value};
use crate::error::Result;
use crate::value::Value;

/// An arithmetic function of two numbers; in this order the GPU's kernel counts them.
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
pub(super) fn zip<T: Scalar>(
    op: &'static str,
    a: &Value,
    b: &Value,
    dims: &[usize],
    f: impl Fn(T, T) -> T + Sync,
) -> Result<Vec<T>> {
    // So few entries of one shape and layout that planning a walk would take longer than walking.
    const FEW: usize = 256;
    let alike = a.dims() == b.dims() && a.is_contiguous() && b.is_contiguous();
    if alike && a.elem_count() <= FEW {
        let (left, right) = (Host::<T>::open(op, a)?, Host::<T>::open(op, b)?);
        let pairs = left.iter().zip(right.iter());
        return Ok(pairs.map(|(a, b)| f(*a, *b)).collect());
    }
    let (left, right) = (
        Operand::<T>::open(op, a, dims)?,
        Operand::<T>::open(op, b, dims)?,
    );
    let (a, b) = (&*left.data, &*right.data);
    // SAFETY: every entry is written: the operands reach as far as the result.
    Ok(unsafe {
        lines(
            dims,
            [&left.strides, &right.strides],
            #[inline(always)]
            move |out, [i, j], steps| {
                let (a, b, out) = (&a[i..], &b[j..], out.iter_mut());
                // Plain loops: an iterator's fold is a function of its own, compiled without the wide vectors.
                match steps {
                    [1, 1] => {
                        for (out, (a, b)) in out.zip(a.iter().zip(b)) {
                            out.write(f(*a, *b));
                        }
                    }
                    [1, 0] => {
                        let b = b[0];
                        for (out, a) in out.zip(a) {
                            out.write(f(*a, b));
                        }
                    }
                    [0, 1] => {
                        let a = a[0];
                        for (out, b) in out.zip(b) {
                            out.write(f(a, *b));
                        }
                    }
                    [step_a, step_b] => {
                        for (k, out) in out.enumerate() {
                            out.write(f(a[k * step_a], b[k * step_b]));
                        }
                    }
                }
            },
        )
    })
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
    to_value(map(&source, x.dims(), |v| v), x.dims(), x)
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

/// Adds a value that broadcasts to `dims` to numbers of that shape.
pub(crate) fn add_over<T: Scalar>(
    op: &'static str,
    to: &mut [T],
    from: &Value,
    dims: &[usize],
) -> Result<()> {
    strided::add(to, &Operand::<T>::open(op, from, dims)?, dims);
    Ok(())
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
        let (chosen, yes, no) = (&*mask.data, &*left.data, &*right.data);
        let strides = [mask.strides.as_slice(), &left.strides, &right.strides];
        // SAFETY: every entry is written.
        let out = unsafe {
            lines(
                dims,
                strides,
                #[inline(always)]
                move |out, [i, j, k], step| {
                    for (n, out) in out.iter_mut().enumerate() {
                        let (yes, no) = (yes[j + n * step[1]], no[k + n * step[2]]);
                        out.write(if chosen[i + n * step[0]] != 0 { yes } else { no });
                    }
                },
            )
        };
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
}
