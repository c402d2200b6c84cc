//! A convolution, or its input gradient, as dense products: what is read, what is written, which weights each position sees.

use crate::kernel::im2col::ConvShape;
use crate::kernel::lanes::Lanes;
use crate::kernel::layout::{padded, to_blocked};
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

    /// Weights of one panel as `[class][block of source channels][tap][lane of source][2 LANES targets]`.
    pub(super) fn pack<S: Lanes>(&self, s: S, w: &[f32], panel: usize, to: *mut f32) {
        let (kernel, lanes) = (self.kernel, S::LANES);
        let (sources, targets) = (self.source.0, self.target.0);
        let (_lease, [scratch]) = TASKS.lend::<f32, 1>([kernel * lanes]);
        let start = scratch.at(0);
        for source in 0..padded(sources, lanes) {
            for half in 0..2 {
                let target = (2 * panel + half) * lanes;
                let count = targets.saturating_sub(target).min(lanes);
                let (step, first) = if self.adjoint {
                    (kernel, (source * targets + target) * kernel)
                } else {
                    (sources * kernel, (target * sources + source) * kernel)
                };
                if count > 0 && source < sources {
                    s.run(
                        #[inline(always)]
                        || {
                            let mut next = start;
                            // SAFETY: `count` filters of `kernel` numbers lie `step` apart; the scratch holds all taps.
                            unsafe {
                                to_blocked(s, w[first..].as_ptr(), step, count, kernel, || {
                                    next = next.wrapping_add(lanes);
                                    next.wrapping_sub(lanes)
                                });
                            }
                        },
                    );
                }
                let mut part = to;
                for class in &self.classes {
                    let taps = class.taps.len();
                    for (t, tap) in class.taps.iter().enumerate() {
                        let row = (source / lanes * taps + t) * lanes + source % lanes;
                        let to = part.wrapping_add(row * 2 * lanes + half * lanes);
                        // SAFETY: inside the panel's weights; the scratch holds all taps.
                        unsafe {
                            if count > 0 && source < sources {
                                std::ptr::copy_nonoverlapping(
                                    start.add(tap.weight * lanes),
                                    to,
                                    lanes,
                                );
                            } else {
                                std::ptr::write_bytes(to, 0, lanes);
                            }
                        }
                    }
                    part = part.wrapping_add(padded(sources, lanes) * taps * 2 * lanes);
                }
            }
        }
    }

    /// Numbers of the packed weights of one panel.
    pub(super) fn panel_len(&self, lanes: usize) -> usize {
        let taps: usize = self.classes.iter().map(|class| class.taps.len()).sum();
        padded(self.source.0, lanes) * taps * 2 * lanes
    }
}
