//! What a normalisation leaves to whoever reads its input: a map of the entries of each channel.

use super::after::{Affine, After, Follow, Limited, Silu};
use crate::kernel::elementary::Elementary;
#[cfg(target_arch = "x86_64")]
use crate::kernel::lanes::{Lanes, MOST_LANES};

/// `after(x scale + shift)` with a scale and a shift for each channel: entry by entry what a normalisation without a residual gives.
#[derive(Clone, Debug)]
pub struct ChannelMap<T> {
    /// Behind the last channel there are zeros for two registers.
    scale: Vec<T>,
    shift: Vec<T>,
    after: After,
}

/// The map from some channel on.
#[derive(Clone, Copy, Debug)]
pub struct Channels<'a, T> {
    scale: &'a [T],
    shift: &'a [T],
    after: After,
}

impl<T: Elementary> ChannelMap<T> {
    /// What normalises by a mean and a variance of each channel and applies weight and bias.
    pub(crate) fn new(
        [mean, var]: [&[T]; 2],
        [weight, bias]: [&[T]; 2],
        eps: f64,
        after: After,
    ) -> Self {
        #[cfg(target_arch = "x86_64")]
        let beyond = 2 * MOST_LANES;
        #[cfg(not(target_arch = "x86_64"))]
        let beyond = 0;
        let (mut scale, mut shift): (Vec<T>, Vec<T>) = (0..mean.len())
            .map(|c| {
                let own = Affine::new(mean[c], var[c], eps, [weight[c], bias[c]]);
                (own.scale, own.shift)
            })
            .unzip();
        scale.extend(std::iter::repeat_n(T::ZERO, beyond));
        shift.extend(std::iter::repeat_n(T::ZERO, beyond));
        Self {
            scale,
            shift,
            after,
        }
    }

    /// From channel `first` on.
    pub(crate) fn from(&self, first: usize) -> Channels<'_, T> {
        Channels {
            scale: &self.scale,
            shift: &self.shift,
            after: self.after,
        }
        .from(first)
    }
}

impl<T: Elementary> Channels<'_, T> {
    /// From channel `first` of these on.
    #[inline(always)]
    pub(crate) fn from(self, first: usize) -> Self {
        Self {
            scale: &self.scale[first..],
            shift: &self.shift[first..],
            ..self
        }
    }

    /// Maps entries of the first channel.
    #[inline(always)]
    pub(crate) fn line(self, entries: &mut [T]) {
        let affine = Affine {
            scale: self.scale[0],
            shift: self.shift[0],
        };
        match self.after {
            After::Limits(limits) => {
                let limited = Limited::new(limits);
                each(entries, |x| limited.result(affine.at(x)));
            }
            After::Silu => each(entries, |x| Silu.result(affine.at(x))),
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Channels<'_, f32> {
    /// Maps `rows` rows of `across` registers, all behind each other: each row has the same channels, one a lane.
    ///
    /// # Safety
    /// The registers can be read and written. The code around is compiled for these instructions.
    #[inline(always)]
    pub(crate) unsafe fn registers<S: Lanes>(
        self,
        s: S,
        start: *mut f32,
        (rows, across): (usize, usize),
    ) {
        for part in 0..across {
            let own = self.from(part * S::LANES);
            assert!(
                own.scale.len() >= S::LANES && own.shift.len() >= S::LANES,
                "a register of channels"
            );
            // SAFETY: asserted; the caller's promise.
            unsafe {
                let (scale, shift) = (s.load(own.scale.as_ptr()), s.load(own.shift.as_ptr()));
                for row in 0..rows {
                    let place = start.wrapping_add((row * across + part) * S::LANES);
                    s.store(place, s.add(s.mul(s.load(place), scale), shift));
                }
            }
        }
        // SAFETY: the caller's promise.
        let entries = unsafe { std::slice::from_raw_parts_mut(start, rows * across * S::LANES) };
        match self.after {
            after if !after.is_some() => {}
            After::Limits(limits) => {
                let limited = Limited::new(limits);
                each(entries, |y| limited.result(y));
            }
            After::Silu => each(entries, |y| Silu.result(y)),
        }
    }
}

#[inline(always)]
fn each<T: Copy>(entries: &mut [T], map: impl Fn(T) -> T) {
    for entry in entries {
        *entry = map(*entry);
    }
}
