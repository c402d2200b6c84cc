//! Element types: their names and their bytes.

use crate::{Error, ErrorKind, Result, tensor::DType};

/// The type's name in messages.
pub(super) fn name(dtype: DType) -> String {
    match dtype {
        DType::F32 => "f32".to_owned(),
        DType::F64 => "f64".to_owned(),
        DType::U32 => "u32".to_owned(),
        DType::U8 => "u8".to_owned(),
        DType::I64 => "i64".to_owned(),
        DType::F16 => "f16".to_owned(),
        DType::BF16 => "bf16".to_owned(),
        other => format!("element type #{}", other.0),
    }
}

/// Whether it is a floating-point type.
pub(super) fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
}

fn unknown(dtype: DType) -> Error {
    Error::new(
        ErrorKind::UNSUPPORTED,
        format!("the test backend knows no {}", name(dtype)),
    )
}

/// A value as it is after conversion: whole and within the range for integers, unchanged for floats.
///
/// # Errors
/// For a type that this version does not know.
pub(super) fn convert(value: f64, dtype: DType) -> Result<f64> {
    Ok(match dtype {
        DType::U32 => f64::from(value as u32),
        DType::U8 => f64::from(value as u8),
        DType::I64 => value as i64 as f64,
        _ if is_float(dtype) => value,
        _ => return Err(unknown(dtype)),
    })
}

/// Values as bytes of this machine.
///
/// # Errors
/// For a type that this version does not know.
pub(super) fn to_bytes(values: &[f64], dtype: DType) -> Result<Vec<u8>> {
    fn all<const N: usize>(values: &[f64], bytes: impl Fn(f64) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(|&v| bytes(v)).collect()
    }
    Ok(match dtype {
        DType::F32 => all(values, |v| (v as f32).to_ne_bytes()),
        DType::F64 => all(values, f64::to_ne_bytes),
        DType::U32 => all(values, |v| (v as u32).to_ne_bytes()),
        DType::U8 => all(values, |v| (v as u8).to_ne_bytes()),
        DType::I64 => all(values, |v| (v as i64).to_ne_bytes()),
        DType::F16 => all(values, |v| HALF.round(v).to_ne_bytes()),
        DType::BF16 => all(values, |v| BRAIN.round(v).to_ne_bytes()),
        _ => return Err(unknown(dtype)),
    })
}

/// Values from bytes of this machine.
///
/// # Errors
/// For a type that this version does not know, or a number of bytes that does not fit it.
pub(super) fn from_bytes(bytes: &[u8], dtype: DType) -> Result<Vec<f64>> {
    fn all<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Result<Vec<f64>> {
        let (chunks, rest) = bytes.as_chunks::<N>();
        crate::ensure!(
            rest.is_empty(),
            "{} bytes, expected a multiple of {N}",
            bytes.len()
        );
        Ok(chunks.iter().map(|c| value(*c)).collect())
    }
    match dtype {
        DType::F32 => all(bytes, |b| f64::from(f32::from_ne_bytes(b))),
        DType::F64 => all(bytes, f64::from_ne_bytes),
        DType::U32 => all(bytes, |b| f64::from(u32::from_ne_bytes(b))),
        DType::U8 => all(bytes, |b| f64::from(u8::from_ne_bytes(b))),
        DType::I64 => all(bytes, |b| i64::from_ne_bytes(b) as f64),
        DType::F16 => all(bytes, |b| HALF.value(u16::from_ne_bytes(b))),
        DType::BF16 => all(bytes, |b| BRAIN.value(u16::from_ne_bytes(b))),
        _ => Err(unknown(dtype)),
    }
}

/// A 16-bit float: sign, exponent, `mantissa` bits.
struct Float16 {
    mantissa: i32,
    bias: i32,
}

const HALF: Float16 = Float16 {
    mantissa: 10,
    bias: 15,
};
const BRAIN: Float16 = Float16 {
    mantissa: 7,
    bias: 127,
};

impl Float16 {
    fn infinity(&self) -> u16 {
        0x7FFF & !((1 << self.mantissa) - 1)
    }

    /// The nearest one, ties to even.
    fn round(&self, value: f64) -> u16 {
        let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
        if !value.is_finite() {
            let quiet = if value.is_nan() {
                1 << (self.mantissa - 1)
            } else {
                0
            };
            return sign | self.infinity() | quiet;
        }
        let exponent = ((value.to_bits() >> 52) & 0x7FF) as i32 - 1023;
        let exponent = exponent.max(1 - self.bias);
        let steps = (value.abs() * 2f64.powi(self.mantissa - exponent)).round_ties_even() as i64;
        // A subnormal has no leading one; one step beyond the mantissa carries into the exponent.
        let bits = (i64::from(exponent + self.bias - 1) << self.mantissa) + steps;
        sign | bits.min(i64::from(self.infinity())) as u16
    }

    fn value(&self, bits: u16) -> f64 {
        let sign = if bits & 0x8000 == 0 { 1. } else { -1. };
        let (magnitude, infinity) = (bits & 0x7FFF, self.infinity());
        if magnitude >= infinity {
            return if magnitude == infinity {
                sign * f64::INFINITY
            } else {
                f64::NAN
            };
        }
        let exponent = i32::from(magnitude >> self.mantissa);
        let fraction = f64::from(magnitude & ((1 << self.mantissa) - 1));
        let leading = if exponent == 0 {
            0.
        } else {
            f64::from(1 << self.mantissa)
        };
        sign * (leading + fraction) * 2f64.powi(exponent.max(1) - self.bias - self.mantissa)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // From the tables of IEEE 754 binary16 and of bfloat16.
    #[test]
    fn known_16_bit_values() {
        for (value, half) in [
            (1., 0x3C00),
            (-2., 0xC000),
            (65_504., 0x7BFF),
            (65_520., 0x7C00),
            (2f64.powi(-24), 1),
        ] {
            assert_eq!(HALF.round(value), half, "{value}");
        }
        assert_eq!(HALF.round(1. / 3.), 0x3555);
        assert_eq!(
            (
                BRAIN.round(1.),
                BRAIN.round(3.140_625),
                BRAIN.round(f64::INFINITY)
            ),
            (0x3F80, 0x4049, 0x7F80)
        );
        // Halfway between two neighbours: the even one.
        assert_eq!(
            (HALF.round(2049.), HALF.round(2051.)),
            (HALF.round(2048.), HALF.round(2052.))
        );
    }

    #[test]
    fn every_16_bit_pattern_survives() {
        for format in [HALF, BRAIN] {
            for bits in 0..=u16::MAX {
                let value = format.value(bits);
                assert!(
                    value.is_nan() && format.value(format.round(value)).is_nan()
                        || format.round(value) == bits
                );
            }
        }
    }

    #[test]
    fn bytes_of_every_type_survive() {
        for dtype in (0..7).map(DType) {
            let bytes = to_bytes(&[0., 1., 200.], dtype).unwrap();
            assert_eq!(bytes.len(), 3 * dtype.size());
            assert_eq!(
                from_bytes(&bytes, dtype).unwrap(),
                [0., 1., 200.],
                "{}",
                name(dtype)
            );
        }
        assert_eq!(
            to_bytes(&[], DType(99)).unwrap_err().kind(),
            ErrorKind::UNSUPPORTED
        );
        assert!(from_bytes(&[0; 3], DType::F16).is_err());
        assert_eq!(convert(-1.7, DType::I64).unwrap(), -1.);
        assert_eq!(convert(300., DType::U8).unwrap(), 255.);
    }
}
