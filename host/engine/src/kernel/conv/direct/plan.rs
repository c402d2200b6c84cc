//! A convolution, or its input gradient, as dense products: what is read, what is written, which weights each position sees.

use crate::kernel::im2col::ConvShape;
use crate::kernel::lanes::Lanes;
use crate::kernel::layout::{padded, to_blocked};
use crate::kernel::product::words::Words;
use crate::kernel::scratch::TASKS;

/// A tap of the kernel: which weight, and where it reads, relative to its grid point.
#[derive(Clone, Copy)]
pub(crate) struct Tap {
    pub(crate) weight: usize,
    pub(crate) row: isize,
    pub(crate) column: isize,
}

/// The positions of the result that see the same taps: class `r * write_step[1] + c` has every `write_step[0]`-th row from r on, and
/// columns likewise from c on.
pub(crate) struct Class {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) taps: Vec<Tap>,
}

/// A convolution as dense products: what is read, what is written, and which weights each position sees.
pub(crate) struct Plan {
    pub(crate) batch: usize,
    /// Channels and size of what is read.
    pub(crate) source: (usize, [usize; 2]),
    /// Channels and size of what is written.
    pub(crate) target: (usize, [usize; 2]),
    /// Distance of what two neighbouring grid points read, and of what they write.
    pub(crate) read_step: [usize; 2],
    pub(crate) write_step: [usize; 2],
    pub(crate) classes: Vec<Class>,
    pub(crate) kernel: usize,
    adjoint: bool,
}

impl Plan {
    /// `y = conv(x, w)`.
    pub(crate) fn forward(shape: &ConvShape) -> Self {
        let [kh, kw] = shape.kernel;
        let reach = |axis: usize, k: usize| {
            (k * shape.dilation[axis]) as isize - shape.padding[axis] as isize
        };
        let taps = (0..kh * kw)
            .map(|weight| Tap {
                weight,
                row: reach(0, weight / kw),
                column: reach(1, weight % kw),
            })
            .collect();
        let class = Class {
            height: shape.output[0],
            width: shape.output[1],
            taps,
        };
        Self {
            batch: shape.batch,
            source: (shape.in_channels, shape.input),
            target: (shape.out_channels, shape.output),
            read_step: shape.stride,
            write_step: [1, 1],
            classes: vec![class],
            kernel: kh * kw,
            adjoint: false,
        }
    }

    /// The gradient of x: output row o reached input row `o stride + k dilation - padding`, so row y is reached by the taps whose
    /// `y + padding - k dilation` is a multiple of the stride.
    pub(crate) fn input_grad(shape: &ConvShape) -> Self {
        let [kh, kw] = shape.kernel;
        let reached = |axis: usize, place: usize, k: usize| {
            let distance =
                (place + shape.padding[axis]) as isize - (k * shape.dilation[axis]) as isize;
            let stride = shape.stride[axis] as isize;
            (distance.rem_euclid(stride) == 0).then(|| distance.div_euclid(stride))
        };
        let [sh, sw] = shape.stride;
        let mut classes = Vec::new();
        for (row, column) in (0..sh).flat_map(|row| (0..sw).map(move |column| (row, column))) {
            let taps = (0..kh * kw).filter_map(|weight| {
                Some(Tap {
                    weight,
                    row: reached(0, row, weight / kw)?,
                    column: reached(1, column, weight % kw)?,
                })
            });
            classes.push(Class {
                height: shape.input[0].saturating_sub(row).div_ceil(sh),
                width: shape.input[1].saturating_sub(column).div_ceil(sw),
                taps: taps.collect(),
            });
        }
        Self {
            batch: shape.batch,
            source: (shape.out_channels, shape.output),
            target: (shape.in_channels, shape.input),
            read_step: [1, 1],
            write_step: shape.stride,
            classes,
            kernel: kh * kw,
            adjoint: true,
        }
    }

    /// Weights of one panel as `[class][block of source words][tap][word of source][2 LANES targets]`.
    pub(super) fn pack<S: Lanes, W: Words<S>>(
        &self,
        (s, words): (S, W),
        w: &[f32],
        panel: usize,
        to: *mut f32,
    ) {
        let (kernel, lanes) = (self.kernel, S::LANES);
        let of_step = kernel * lanes;
        let (_lease, [scratch]) = TASKS.lend::<f32, 1>([W::STEPS * of_step]);
        let start = scratch.at(0);
        let rows = self.words::<S, W>();
        words.run(
            s,
            #[inline(always)]
            || {
                for (word, half) in (0..rows).flat_map(|word| [(word, 0), (word, 1)]) {
                    for step in 0..W::STEPS {
                        let (source, target) = (W::STEPS * word + step, (2 * panel + half) * lanes);
                        let to = scratch.at(step * of_step);
                        // SAFETY: the scratch holds all taps of each step.
                        unsafe { self.filters(s, w, (source, target), to) };
                    }
                    let mut part = to;
                    for class in &self.classes {
                        let taps = class.taps.len();
                        for (t, tap) in class.taps.iter().enumerate() {
                            let row = (word / lanes * taps + t) * lanes + word % lanes;
                            let to = part.wrapping_add(row * 2 * lanes + half * lanes);
                            let first = start.wrapping_add(tap.weight * lanes);
                            let second = first.wrapping_add((W::STEPS - 1) * of_step);
                            // SAFETY: inside the panel's weights; the scratch holds all taps.
                            unsafe { s.store(to, words.zipped(s, s.load(first), s.load(second))) };
                        }
                        part = part.wrapping_add(rows * taps * 2 * lanes);
                    }
                }
            },
        );
    }

    /// All taps of a source and of a register of targets, tap by tap; zeros for those that there are not.
    ///
    /// # Safety
    /// `to` takes a register for each tap. The code around is compiled for these instructions.
    #[inline(always)]
    unsafe fn filters<S: Lanes>(
        &self,
        s: S,
        w: &[f32],
        (source, target): (usize, usize),
        to: *mut f32,
    ) {
        let kernel = self.kernel;
        let (sources, targets) = (self.source.0, self.target.0);
        let count = targets.saturating_sub(target).min(S::LANES);
        let (step, first) = if self.adjoint {
            (kernel, (source * targets + target) * kernel)
        } else {
            (sources * kernel, (target * sources + source) * kernel)
        };
        let mut next = to;
        let mut every = || {
            next = next.wrapping_add(S::LANES);
            next.wrapping_sub(S::LANES)
        };
        // SAFETY: `count` filters of `kernel` numbers lie `step` apart; the caller's promise.
        unsafe {
            if count > 0 && source < sources {
                to_blocked(s, w[first..].as_ptr(), step, count, kernel, every);
            } else {
                for _ in 0..kernel {
                    s.store(every(), s.splat(0.0));
                }
            }
        }
    }

    /// Words that the channels of a source take, whole blocks.
    pub(super) fn words<S: Lanes, W: Words<S>>(&self) -> usize {
        padded(self.source.0, W::STEPS * S::LANES) / W::STEPS
    }

    /// Words of the packed weights of one panel.
    pub(super) fn panel_len<S: Lanes, W: Words<S>>(&self) -> usize {
        let taps: usize = self.classes.iter().map(|class| class.taps.len()).sum();
        self.words::<S, W>() * taps * 2 * S::LANES
    }
}
