//! Elementary functions of both floating-point types. Those of f32 that networks use most are polynomials without branches, which
//! the compiler turns into vectors; a call of the C library for each entry costs ten times as much.

use candle_core::cpu::erf::erf_f64;

use super::Scalar;

/// The elementary functions of the floating-point types.
pub trait Elementary: Scalar {
    /// `e^x`.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Sine.
    fn sin(self) -> Self;
    /// Cosine.
    fn cos(self) -> Self;
    /// `x^exponent`.
    fn powf(self, exponent: Self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
}

macro_rules! elementary {
    ($type:ty, $exp:path, $erf:path) => {
        impl Elementary for $type {
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            fn ln(self) -> Self {
                <$type>::ln(self)
            }
            fn tanh(self) -> Self {
                <$type>::tanh(self)
            }
            fn sin(self) -> Self {
                <$type>::sin(self)
            }
            fn cos(self) -> Self {
                <$type>::cos(self)
            }
            fn powf(self, exponent: Self) -> Self {
                <$type>::powf(self, exponent)
            }
            #[inline(always)]
            fn erf(self) -> Self {
                $erf(self)
            }
        }
    };
}
elementary!(f32, exp_f32, erf_f32);
elementary!(f64, f64::exp, erf_f64);

/// `e^x` within 2 units in the last place: `2^n` times Cephes' polynomial (`expf.c`) of what is left, at most ln(2) / 2.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    // Beyond these the result is infinite or 0.
    const HIGHEST: f32 = 89.0;
    const LOWEST: f32 = -104.0;
    // Added to a small number, it leaves the nearest integer in the last bits.
    const ROUND: f32 = 12_582_912.0;
    // ln(2) in two parts; the first has few bits, so that its product with n is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // (e^r - 1 - r) / r^2.
    const BEND: [f32; 6] = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_6e-1,
        5.0e-1,
    ];
    // Comparisons with NaN fail, so that NaN stays.
    let x = if x > HIGHEST { HIGHEST } else { x };
    let x = if x < LOWEST { LOWEST } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let rest = x - n * LN2_HIGH - n * LN2_LOW;
    let value = polynomial(rest, &BEND) * (rest * rest) + rest + 1.0;
    // 2^n in two factors, each of which is a normal number.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
    value * power(half) * power(n.wrapping_sub(half))
}

/// The error function within 4e-7: the quotient of polynomials in `x^2` that Eigen and XLA use in f32.
#[inline(always)]
fn erf_f32(x: f32) -> f32 {
    // From here on the function is 1 in f32.
    const LIMIT: f32 = 4.0;
    const ABOVE: [f32; 7] = [
        -2.726_142_4e-10,
        2.770_681_5e-8,
        -2.101_024e-6,
        -5.692_506_2e-5,
        -7.349_906_4e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const BELOW: [f32; 5] = [
        -1.456_607_15e-5,
        -2.133_740_5e-4,
        -1.682_827e-3,
        -7.373_329_3e-3,
        -1.426_473_9e-2,
    ];
    let x = if x > LIMIT { LIMIT } else { x };
    let x = if x < -LIMIT { -LIMIT } else { x };
    let square = x * x;
    x * polynomial(square, &ABOVE) / polynomial(square, &BELOW)
}

/// A polynomial from its factors, that of the highest power first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, factors: &[f32; N]) -> f32 {
    let mut sum = factors[0];
    for factor in &factors[1..] {
        sum = sum * x + factor;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_those_of_double_precision() {
        for i in -10_400..=8_870 {
            let x = i as f32 * 0.01 + 0.003;
            let (got, expected) = (f64::from(exp_f32(x)), f64::from(x).exp());
            // Below the normal numbers only the absolute error counts.
            let unit = (expected * f64::from(f32::EPSILON)).max(f64::from(f32::from_bits(1)));
            assert!(
                (got - expected).abs() <= 1.5 * unit,
                "{x}: {got} {expected}"
            );
        }
        assert_eq!([0.0, -0.0].map(exp_f32), [1.0, 1.0]);
        assert_eq!(exp_f32(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp_f32(89.0), f32::INFINITY);
        assert_eq!([f32::NEG_INFINITY, -200.0].map(exp_f32), [0.0, 0.0]);
        assert!(exp_f32(f32::NAN).is_nan());
    }

    #[test]
    fn the_error_function_is_that_of_double_precision() {
        for i in -6_000..=6_000 {
            let x = i as f32 * 0.001;
            let (got, expected) = (f64::from(erf_f32(x)), erf_f64(f64::from(x)));
            let size = expected.abs().max(1e-30);
            assert!(
                (got - expected).abs() <= 4e-7 * size,
                "{x}: {got} {expected}"
            );
        }
        assert!(erf_f32(f32::NAN).is_nan());
    }
}
