//! The weight gradient by tiles of bf16: a word has two positions. As in f32, a task has input channels of its own and runs over all
//! positions.

use std::ops::Range;

use super::rows::{Rows, check_sizes, window};
use crate::kernel::conv::images::Images;
use crate::kernel::im2col::ConvShape;
use crate::kernel::lanes::Lanes;
use crate::kernel::layout::{every, from_blocked, padded};
use crate::kernel::matrix::Matrix;
use crate::kernel::product::pack::{self, SIDE};
use crate::kernel::product::tiling::{Depth, Sums, Tiling};
use crate::kernel::product::words::Words;
use crate::kernel::scratch::{KERNELS, Shared, TASKS, Unfilled};
use crate::kernel::tasks::each;

/// Positions that are multiplied at a time.
const DEPTH: usize = 512;
/// Positions of a tile, of two to a word.
const TILE: usize = 2 * SIDE;
/// Rows of two tiles: output channels of a panel.
const PANEL: usize = 2 * SIDE;
/// Tasks that the blocks of input channels are split into.
const SPLITS: usize = 8;

/// `dw`, given the input and the gradient of the output, by registers of `SIDE` words.
///
/// # Shapes
/// x (N, C, H, W), grad (N, O, OH, OW) give (O, C, KH, KW).
pub(crate) fn weight_grad_tiled<S: Lanes, W: Tiling + Words<S>>(
    (s, words): (S, W),
    shape: &ConvShape,
    x: Images<'_, f32>,
    grad: &[f32],
) -> Vec<f32> {
    check_sizes(shape, x.entries, grad);
    let taps = shape.kernel[0] * shape.kernel[1];
    let mut dw = Unfilled::new(shape.out_channels * shape.in_channels * taps);
    let out = dw.shared();
    let blocks = padded(shape.in_channels, SIDE) / SIDE;
    let parts = Rows::all(shape.batch, shape.output, DEPTH);
    let most = parts
        .first()
        .map_or(0, |part| part.positions(shape.output[1]));
    let work = Work {
        s,
        words,
        shape,
        taps,
        panels: shape.out_channels.div_ceil(PANEL),
        most: most.next_multiple_of(TILE),
        parts: &parts,
    };
    let (_lease, [packed]) = KERNELS.lend([parts.len() * work.panels * work.panel()]);
    each(parts.len() * work.panels, |i| {
        let to = packed.at(i * work.panel());
        work.pack(grad, &parts[i / work.panels], i % work.panels, to);
    });
    let tasks = blocks.min(SPLITS);
    each(tasks, |task| {
        let own = blocks * task / tasks..blocks * (task + 1) / tasks;
        work.run(x, packed, own, out);
    });
    // SAFETY: the tasks cover all input channels.
    unsafe { dw.filled() }
}

struct Work<'a, S, W> {
    s: S,
    words: W,
    shape: &'a ConvShape,
    taps: usize,
    panels: usize,
    /// Positions of a part at most, whole tiles.
    most: usize,
    parts: &'a [Rows],
}

impl<S: Lanes, W: Tiling + Words<S>> Work<'_, S, W> {
    /// Words of a packed panel of the gradient.
    fn panel(&self) -> usize {
        self.most / TILE * PANEL * SIDE
    }

    /// Packs a panel of output channels of the gradient: a row of words of positions for each.
    fn pack(&self, grad: &[f32], part: &Rows, panel: usize, to: *mut f32) {
        let (shape, s) = (self.shape, self.s);
        let [height, width] = shape.output;
        let (positions, count) = (part.positions(width), part.rows * width);
        let channel = panel * PANEL;
        let channels = (shape.out_channels - channel).min(PANEL);
        let plane = |image: usize, c: usize| {
            let plane = (image * shape.out_channels + channel + c) * height + part.row;
            &grad[plane * width..]
        };
        let pack = |from: Matrix<'_, f32>| {
            self.words.run(
                s,
                #[inline(always)]
                || {
                    // SAFETY: the matrix has these rows and positions; the lease has room for the panel.
                    unsafe {
                        pack::tiles((s, self.words), &from, (0, 0), (channels, positions), to)
                    }
                },
            );
        };
        if part.images == 1 {
            return pack(Matrix::rows(plane(part.image, 0), height * width));
        }
        // The planes of several images side by side.
        TASKS.with([channels * positions], |[lines]: [&mut [f32]; 1]| {
            for (c, line) in lines.chunks_exact_mut(positions).enumerate() {
                for (j, to) in line.chunks_exact_mut(count).enumerate() {
                    to.copy_from_slice(&plane(part.image + j, c)[..count]);
                }
            }
            pack(Matrix::rows(lines, positions));
        });
    }

    /// The gradient of some blocks of input channels.
    fn run(&self, x: Images<'_, f32>, packed: Shared<f32>, own: Range<usize>, dw: Shared<f32>) {
        let shape = self.shape;
        let pairs = self.taps.div_ceil(2);
        let stride = own.len() * 2 * pairs * SIDE;
        let len = |part: &Rows| part.images * window(shape, part.row, part.rows).len(SIDE);
        let windows = self.parts.iter().map(len).max().unwrap_or(0);
        let (_lease, [source, columns, sums]) =
            TASKS.lend([windows, self.most * SIDE, self.panels * PANEL * stride]);
        for (p, part) in self.parts.iter().enumerate() {
            let depth = Depth {
                tiles: part.positions(shape.output[1]).div_ceil(TILE),
                step: PANEL * SIDE,
                accumulate: p > 0,
            };
            for (b, block) in own.clone().enumerate() {
                self.fill(x, part, block, source.at(0));
                for pair in 0..pairs {
                    for tap in (2 * pair..self.taps).take(2) {
                        let to = columns.at(tap % 2 * SIDE);
                        self.gather(part, tap, source.at(0), to);
                    }
                    let place = (b * pairs + pair) * 2 * SIDE;
                    let a = packed.at(p * self.panels * self.panel());
                    self.multiply(&depth, (a, columns.at(0)), sums.at(place), stride);
                }
            }
        }
        self.write(sums.at(0), (stride, pairs), own, dw);
    }

    /// The sums of all panels of the gradient and what two taps see.
    fn multiply(
        &self,
        depth: &Depth,
        (a, b): (*const f32, *const f32),
        sums: *mut f32,
        stride: usize,
    ) {
        let (outputs, panel) = (self.shape.out_channels, self.panel());
        self.words.run(
            self.s,
            #[inline(always)]
            || {
                for n in 0..self.panels {
                    let left = sums.wrapping_add(n * PANEL * stride);
                    let right = left.wrapping_add(SIDE);
                    let sums = Sums {
                        left,
                        right,
                        stride,
                    };
                    let size = ((outputs - n * PANEL).min(PANEL), 2 * SIDE);
                    let a = a.wrapping_add(n * panel);
                    // SAFETY: both factors are packed; the sums are this task's own.
                    unsafe { self.words.multiply_part(depth, size, a, b, sums) };
                }
            },
        );
    }

    /// The windows of a block of input channels in the images of a part.
    fn fill(&self, x: Images<'_, f32>, part: &Rows, block: usize, to: *mut f32) {
        let shape = self.shape;
        let window = window(shape, part.row, part.rows);
        let channel = block * SIDE;
        let channels = (shape.in_channels - channel).min(SIDE);
        for j in 0..part.images {
            let plane = (part.image + j) * shape.in_channels + channel;
            let from = x.entries[plane * window.height * window.width..].as_ptr();
            let to = to.wrapping_add(j * window.len(SIDE));
            // SAFETY: the slice has these planes; the lease has room for all windows.
            unsafe { window.fill(self.s, (from, x.channels(channel)), channels, to) };
        }
    }

    /// What a tap sees, as words of two positions `[word][lane]`, two tiles apart.
    fn gather(&self, part: &Rows, tap: usize, source: *const f32, to: *mut f32) {
        let (shape, s) = (self.shape, self.s);
        let window = window(shape, part.row, part.rows);
        let [kernel_row, kernel_column] = [tap / shape.kernel[1], tap % shape.kernel[1]];
        let place =
            kernel_row * shape.dilation[0] * window.columns + kernel_column * shape.dilation[1];
        let start = source.wrapping_add(place * SIDE);
        let steps = [shape.stride[0] * window.columns, shape.stride[1]].map(|n| n * SIDE);
        let width = shape.output[1];
        let positions = part.positions(shape.output[1]);
        self.words.run(
            s,
            #[inline(always)]
            || {
                let (mut image, mut row, mut column) = (0, 0, 0);
                let mut next = || {
                    let place = image * window.len(SIDE) + row * steps[0] + column * steps[1];
                    column += 1;
                    if column == width {
                        (row, column) = (row + 1, 0);
                    }
                    if row == part.rows {
                        (image, row) = (image + 1, 0);
                    }
                    start.wrapping_add(place)
                };
                for word in 0..positions.next_multiple_of(TILE) / 2 {
                    let mut of = |step: usize| match 2 * word + step < positions {
                        // SAFETY: the windows cover all that a tap sees of these rows.
                        true => unsafe { s.load(next()) },
                        false => s.splat(0.0),
                    };
                    let (first, second) = (of(0), of(1));
                    let both = self.words.zipped(s, first, second);
                    // SAFETY: the lease has room for two tiles of each word.
                    unsafe { s.store(to.wrapping_add(word * 2 * SIDE), both) };
                }
            },
        );
    }

    /// Copies sums `[output][block of inputs][tap][lane]` to filters.
    fn write(
        &self,
        sums: *const f32,
        (stride, pairs): (usize, usize),
        own: Range<usize>,
        dw: Shared<f32>,
    ) {
        let (shape, s, taps) = (self.shape, self.s, self.taps);
        s.run(
            #[inline(always)]
            || {
                for output in 0..shape.out_channels {
                    for (b, block) in own.clone().enumerate() {
                        let input = block * SIDE;
                        let inputs = (shape.in_channels - input).min(SIDE);
                        let from = sums.wrapping_add(output * stride + b * 2 * pairs * SIDE);
                        let to = dw.at((output * shape.in_channels + input) * taps);
                        // SAFETY: the sums hold all taps of the block; these input channels are this task's own.
                        unsafe { from_blocked(s, every(from, SIDE), taps, inputs, taps, to) }
                    }
                }
            },
        );
    }
}
