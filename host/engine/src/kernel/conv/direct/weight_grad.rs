//! The weight gradient: each task has input channels of its own and runs over all positions, so there are no partial sums.

use super::gather::grid;
use super::rows::{Rows, check_sizes, window};
use crate::kernel::conv::images::Images;
use crate::kernel::conv::window::Window;
use crate::kernel::im2col::ConvShape;
use crate::kernel::lanes::Lanes;
use crate::kernel::layout::{BlockedProduct, from_blocked, padded, to_blocked, turned_product};
use crate::kernel::scratch::{Shared, TASKS, Unfilled};
use crate::kernel::tasks::each;

/// Positions that are gathered at a time.
const DEPTH: usize = 256;
/// Tasks that the blocks of input channels are split into.
const SPLITS: usize = 8;

/// `dw`, given the input and the gradient of the output.
///
/// # Shapes
/// x (N, C, H, W), grad (N, O, OH, OW) give (O, C, KH, KW).
pub(crate) fn weight_grad<S: Lanes>(
    s: S,
    shape: &ConvShape,
    x: Images<'_, f32>,
    grad: &[f32],
) -> Vec<f32> {
    check_sizes(shape, x.entries, grad);
    let taps = shape.kernel[0] * shape.kernel[1];
    let mut dw = Unfilled::new(shape.out_channels * shape.in_channels * taps);
    let out = dw.shared();
    let blocks = padded(shape.in_channels, S::LANES) / S::LANES;
    each(blocks.min(SPLITS), |task| {
        let tasks = blocks.min(SPLITS);
        let own = blocks * task / tasks..blocks * (task + 1) / tasks;
        let work = Work {
            s,
            shape,
            taps,
            first: own.start,
            blocks: own.len(),
            panels: shape.out_channels.div_ceil(2 * S::LANES),
        };
        work.run(x, grad, out);
    });
    // SAFETY: the tasks cover all input channels.
    unsafe { dw.filled() }
}

struct Work<'a, S> {
    s: S,
    shape: &'a ConvShape,
    taps: usize,
    /// Blocks of input channels.
    first: usize,
    blocks: usize,
    panels: usize,
}

impl<S: Lanes> Work<'_, S> {
    fn run(&self, x: Images<'_, f32>, grad: &[f32], dw: Shared<f32>) {
        let (shape, s, lanes) = (self.shape, self.s, S::LANES);
        let width = shape.output[1];
        let parts = Rows::all(shape.batch, shape.output, DEPTH);
        let most = parts.first().map_or(0, |part| part.positions(width));
        let sum_rows = self.blocks * self.taps * lanes;
        let window = |row: usize, rows: usize| window(shape, row, rows);
        let largest = parts
            .first()
            .map_or(0, |part| window(0, part.rows).len(lanes));
        let (_lease, [source, columns, right, sums]) = TASKS.lend([
            largest,
            self.taps * most * lanes,
            self.panels * 2 * lanes * most,
            sum_rows * self.panels * 2 * lanes,
        ]);
        for (p, part) in parts.into_iter().enumerate() {
            let Rows {
                image,
                images,
                row,
                rows,
            } = part;
            let positions = part.positions(width);
            self.turn(grad, (image, images), (row, rows), right.at(0));
            let size = BlockedProduct {
                blocks: 1,
                depth: positions,
                a_block: 0,
                b_step: lanes,
                b_second: positions * lanes,
                c_row: lanes,
                c_second: sum_rows * lanes,
                accumulate: p > 0,
            };
            for block in 0..self.blocks {
                self.gather(
                    x,
                    block,
                    (image, images),
                    &window(row, rows),
                    (rows, positions),
                    source,
                    columns,
                );
                for n in 0..self.panels {
                    let b = right.at(n * 2 * lanes * positions);
                    for t in 0..self.taps {
                        let a = columns.at(t * positions * lanes);
                        let place = n * 2 * sum_rows + (block * self.taps + t) * lanes;
                        let to = sums.at(place * lanes);
                        // SAFETY: gathered and turned above; the sums are this task's own.
                        unsafe { turned_product(s, &size, a, b, to) }
                    }
                }
            }
        }
        self.write(sums.at(0), sum_rows, dw);
    }

    /// The gradient's rows as `[block][position][lane]`, for all output channels.
    fn turn(
        &self,
        grad: &[f32],
        (image, images): (usize, usize),
        (row, rows): (usize, usize),
        to: *mut f32,
    ) {
        let (shape, s, lanes) = (self.shape, self.s, S::LANES);
        let [height, width] = shape.output;
        let count = rows * width;
        s.run(
            #[inline(always)]
            || {
                for block in 0..2 * self.panels {
                    let channel = block * lanes;
                    for j in 0..images {
                        let plane = (image + j) * shape.out_channels + channel;
                        let from = grad.as_ptr().wrapping_add((plane * height + row) * width);
                        let mut next = to.wrapping_add((block * images + j) * count * lanes);
                        let channels = shape.out_channels.saturating_sub(channel).min(lanes);
                        // SAFETY: no plane is read past the last channel; the lease has room for all blocks.
                        unsafe {
                            to_blocked(s, from, height * width, channels, count, || {
                                next = next.wrapping_add(lanes);
                                next.wrapping_sub(lanes)
                            });
                        }
                    }
                }
            },
        );
    }

    /// What each tap sees of one block of input channels, as `[tap][position][lane]`.
    #[allow(clippy::too_many_arguments)]
    fn gather(
        &self,
        x: Images<'_, f32>,
        block: usize,
        (image, images): (usize, usize),
        window: &Window,
        (rows, positions): (usize, usize),
        source: Shared<f32>,
        columns: Shared<f32>,
    ) {
        let (shape, s, lanes) = (self.shape, self.s, S::LANES);
        let channel = (self.first + block) * lanes;
        let count = rows * shape.output[1];
        for j in 0..images {
            let plane = (image + j) * shape.in_channels + channel;
            let from = x.entries[plane * window.height * window.width..].as_ptr();
            let channels = (shape.in_channels - channel).min(lanes);
            // SAFETY: the slice has these planes; the leases have room for the window and all taps.
            unsafe {
                window.fill(s, (from, x.channels(channel)), channels, source.at(0));
                for t in 0..self.taps {
                    let row = t / shape.kernel[1] * shape.dilation[0];
                    let place = row * window.columns + t % shape.kernel[1] * shape.dilation[1];
                    let from = source.at(place * lanes);
                    let steps = (shape.stride[0] * window.columns, shape.stride[1]);
                    let to = columns.at((t * positions + j * count) * lanes);
                    grid(s, from, steps, (rows, shape.output[1]), to);
                }
            }
        }
    }

    /// Copies sums `[block of outputs][block of inputs][tap][lane of input][lane of output]` to filters.
    fn write(&self, sums: *const f32, sum_rows: usize, dw: Shared<f32>) {
        let (shape, s, lanes, taps) = (self.shape, self.s, S::LANES, self.taps);
        let row = shape.in_channels * taps;
        for output in (0..shape.out_channels).step_by(lanes) {
            let outputs = (shape.out_channels - output).min(lanes);
            for block in 0..self.blocks {
                let input = (self.first + block) * lanes;
                let inputs = (shape.in_channels - input).min(lanes);
                let start =
                    sums.wrapping_add((output / lanes * sum_rows + block * taps * lanes) * lanes);
                let to = dw.at(output * row + input * taps);
                s.run(
                    #[inline(always)]
                    || {
                        let mut i = 0;
                        let from = || {
                            let place = i % taps * lanes + i / taps;
                            i += 1;
                            start.wrapping_add(place * lanes)
                        };
                        // SAFETY: the sums hold all taps of the block; these input channels are this task's own.
                        unsafe { from_blocked(s, from, row, outputs, inputs * taps, to) }
                    },
                );
            }
        }
    }
}
