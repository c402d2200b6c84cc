//! What follows a normalisation in the same pass, and a channel's way there.

use crate::kernel::Scalar;
use crate::kernel::elementary::Elementary;

/// An interval that results are limited to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// What is below becomes this.
    pub min: f64,
    /// What is above becomes this.
    pub max: f64,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self {
        min: f64::NEG_INFINITY,
        max: f64::INFINITY,
    };
    /// Those of a ReLU.
    pub const RELU: Self = Self {
        min: 0.0,
        max: f64::INFINITY,
    };

    /// Whether they limit anything.
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// What follows a normalisation, entry by entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum After {
    /// Results are limited to an interval; at its ends the derivative is 0.
    Limits(Limits),
    /// `y / (1 + e^-y)`, the SiLU.
    Silu,
}

impl After {
    /// Nothing.
    pub const NOTHING: Self = Self::Limits(Limits::NONE);
    /// A ReLU.
    pub const RELU: Self = Self::Limits(Limits::RELU);

    /// Whether anything follows.
    pub fn is_some(self) -> bool {
        self != Self::NOTHING
    }

    /// The limits, if that is what follows.
    pub(crate) fn limits(self) -> Option<Limits> {
        match self {
            Self::Limits(limits) => Some(limits),
            Self::Silu => None,
        }
    }
}

/// An [`After`] in a kernel.
pub(crate) trait Follow<T>: Copy + Send + Sync {
    /// Whether the derivative takes longer than writing down what it lets through and reading that again.
    const IS_COSTLY: bool;
    /// The result.
    fn result(self, y: T) -> T;
    /// `g` times the derivative at `y`.
    fn pull(self, g: T, y: T) -> T;
    /// Whether a derivative that is 0 or 1 is 1 where this is the result.
    fn lets_through(self, result: T) -> bool;
}

/// [`Limits`] in a kernel.
#[derive(Clone, Copy)]
pub(crate) struct Limited<T> {
    min: T,
    max: T,
}

impl<T: Scalar> Limited<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            min: T::from_f64(limits.min),
            max: T::from_f64(limits.max),
        }
    }
}

impl<T: Scalar> Follow<T> for Limited<T> {
    const IS_COSTLY: bool = false;

    /// NaN passes, as through PyTorch's functions.
    #[inline(always)]
    fn result(self, y: T) -> T {
        let y = if y < self.min { self.min } else { y };
        if y > self.max { self.max } else { y }
    }

    #[inline(always)]
    fn pull(self, g: T, y: T) -> T {
        if self.lets_through(y) { g } else { T::ZERO }
    }

    /// The result lies between the limits, not at them.
    #[inline(always)]
    fn lets_through(self, y: T) -> bool {
        // Without a jump, so that loops become vectors.
        (y > self.min) & (y < self.max)
    }
}

/// The SiLU in a kernel.
#[derive(Clone, Copy)]
pub(crate) struct Silu;

impl<T: Elementary> Follow<T> for Silu {
    const IS_COSTLY: bool = true;

    #[inline(always)]
    fn result(self, y: T) -> T {
        y / (T::ONE + Elementary::exp(-y))
    }

    #[inline(always)]
    fn pull(self, g: T, y: T) -> T {
        let gate = T::ONE / (T::ONE + Elementary::exp(-y));
        g * (gate * (T::ONE + y * (T::ONE - gate)))
    }

    #[inline(always)]
    fn lets_through(self, _: T) -> bool {
        true
    }
}

/// A channel's way from input to what the residual is added to.
#[derive(Clone, Copy)]
pub(crate) struct Affine<T> {
    pub(super) scale: T,
    pub(super) shift: T,
}

impl<T: Scalar> Affine<T> {
    /// Normalises by a mean and a variance and applies weight and bias; forward and backward share it, so that a recomputed mask has
    /// the very bits of the forward pass.
    pub(crate) fn new(mean: T, var: T, eps: f64, [weight, bias]: [T; 2]) -> Self {
        let scale = weight.to_f64() / (var.to_f64() + eps).sqrt();
        let shift = bias.to_f64() - mean.to_f64() * scale;
        Self {
            scale: T::from_f64(scale),
            shift: T::from_f64(shift),
        }
    }

    /// `x scale + shift`
    #[inline(always)]
    pub(crate) fn at(self, x: T) -> T {
        x * self.scale + self.shift
    }
}
