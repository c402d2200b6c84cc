//! The weight gradient: the transpose of the algorithm, summed over tiles.

use super::transform::PRODUCTS;
use super::{GAP, Geometry, TASK_TILES, Task, filter, tile};
use crate::kernel::conv::images::Images;
use crate::kernel::lanes::Lanes;
use crate::kernel::layout::{BlockedProduct, padded, turned_product};
use crate::kernel::scratch::{KERNELS, Shared, TASKS, Unfilled};
use crate::kernel::sums::add_in_order;
use crate::kernel::tasks::each;

/// Up to so many filters (inputs times outputs) the transformed gradient of all fits the cache: work is split by images.
const FEW_FILTERS: usize = 160 * 160;
/// Partial sums that the images are split into there.
const PARTS: usize = 4;
/// Tiles transformed at a time where work is split by filters.
const MANY_TILES: usize = 512;
/// Tiles that one product runs over.
const DEPTH: usize = 128;
/// Inputs and panels of outputs of one task where work is split by filters.
const TASK_INPUTS: usize = 64;
const TASK_PANELS: usize = 2;

/// `dw`, given the input and the gradient of the output.
///
/// # Shapes
/// x (N, C, H, W), grad (N, O, OH, OW) give (O, C, 3, 3).
pub(crate) fn weight_grad<S: Lanes>(
    s: S,
    g: &Geometry,
    x: Images<'_, f32>,
    grad: &[f32],
) -> Vec<f32> {
    let [plane_in, plane_out] = [g.input, g.output].map(|[h, w]| h * w);
    assert!(
        x.entries.len() == g.batch * g.inputs * plane_in
            && grad.len() == g.batch * g.outputs * plane_out,
        "the slices have the sizes of the geometry"
    );
    let mut dw = Unfilled::new(g.outputs * g.inputs * 9);
    let gradient = Gradient {
        s,
        g,
        inputs: padded(g.inputs, S::LANES),
        outputs: padded(g.outputs, 2 * S::LANES),
        x,
        grad,
        dw: dw.shared(),
    };
    if gradient.inputs * gradient.outputs <= FEW_FILTERS {
        gradient.split_by_images();
    } else {
        gradient.split_by_filters();
    }
    // SAFETY: both ways write every filter.
    unsafe { dw.filled() }
}

struct Gradient<'a, S> {
    s: S,
    g: &'a Geometry,
    /// Channels, padded to whole blocks and panels.
    inputs: usize,
    outputs: usize,
    x: Images<'a, f32>,
    grad: &'a [f32],
    dw: Shared<f32>,
}

/// Where the transformed inputs and output gradients of a task lie.
#[derive(Clone, Copy)]
struct Transformed {
    input: Shared<f32>,
    grad: Shared<f32>,
    tiles: usize,
}

/// Filters from an input on and from a panel of outputs on.
#[derive(Clone, Copy)]
struct Part {
    input: usize,
    inputs: usize,
    panel: usize,
    panels: usize,
}

impl<S: Lanes> Gradient<'_, S> {
    /// Numbers that the transformed inputs and output gradients of tasks take.
    fn transformed(&self, tasks: &[Task]) -> [usize; 2] {
        let tiles = tasks.iter().map(|task| task.tiles).max().unwrap_or(0);
        [self.inputs, self.outputs].map(|channels| PRODUCTS * (tiles * channels + GAP))
    }

    /// Blocks of channels that [`Self::transform`] can be asked for.
    fn blocks(&self) -> usize {
        (self.inputs + self.outputs) / S::LANES
    }

    /// Transforms one block of channels of a task's tiles: inputs first, then output gradients.
    fn transform(&self, task: &Task, block: usize, to: Transformed, scratch: Shared<f32>) {
        let (g, lanes, tiles) = (self.g, S::LANES, task.tiles);
        let of_input = block < self.inputs / lanes;
        let channel = if of_input {
            block * lanes
        } else {
            block * lanes - self.inputs
        };
        for band in &task.bands {
            let place = (channel / lanes * tiles + band.first) * lanes;
            // SAFETY: channels past the last are not read; each block has its own part of the leases.
            unsafe {
                if of_input {
                    let channels = (g.inputs - channel).min(lanes);
                    let plane = band.image * g.inputs + channel;
                    let x = self.x.entries[plane * g.input[0] * g.input[1]..].as_ptr();
                    let apart = tiles * self.inputs + GAP;
                    tile::transformed::<tile::Input, _, _>(
                        self.s,
                        g,
                        band,
                        (x, self.x.channels(channel)),
                        channels,
                        to.input.at(place),
                        apart,
                        scratch.at(0),
                    );
                } else {
                    let channels = g.outputs.saturating_sub(channel).min(lanes);
                    let plane = band.image * g.outputs + channel.min(g.outputs);
                    let from = self.grad[plane * g.output[0] * g.output[1]..].as_ptr();
                    let apart = tiles * self.outputs + GAP;
                    tile::transformed::<tile::Grad, _, _>(
                        self.s,
                        g,
                        band,
                        (from, None),
                        channels,
                        to.grad.at(place),
                        apart,
                        scratch.at(0),
                    );
                }
            }
        }
    }

    /// Adds a task's products to `sum[product][input of the part][output of the part]`, `apart` numbers between two products.
    fn multiply(
        &self,
        of: Transformed,
        part: Part,
        sum: *mut f32,
        apart: usize,
        mut accumulate: bool,
    ) {
        let (lanes, tiles) = (S::LANES, of.tiles);
        let columns = part.panels * 2 * lanes;
        for k in (0..tiles).step_by(DEPTH) {
            let size = BlockedProduct {
                blocks: 1,
                depth: DEPTH.min(tiles - k),
                a_block: 0,
                b_step: lanes,
                b_second: tiles * lanes,
                c_row: columns,
                c_second: lanes,
                accumulate,
            };
            for i in 0..PRODUCTS {
                let v = of.input.at(i * (tiles * self.inputs + GAP) + k * lanes);
                let w = of.grad.at(i * (tiles * self.outputs + GAP) + k * lanes);
                for n in 0..part.panels {
                    let b = w.wrapping_add((part.panel + n) * 2 * lanes * tiles);
                    for c in (0..part.inputs).step_by(lanes) {
                        let a = v.wrapping_add((part.input + c) * tiles);
                        let to = sum.wrapping_add(i * apart + c * columns + n * 2 * lanes);
                        // SAFETY: both leases hold all channels of all tiles; the sum holds the whole part.
                        unsafe { turned_product(self.s, &size, a, b, to) }
                    }
                }
            }
            accumulate = true;
        }
    }

    /// Transforms the summed products of a part, in rows of `columns` numbers, to gradients of filters.
    fn finish(
        &self,
        part: Part,
        sum: *const f32,
        columns: usize,
        apart: usize,
        scratch: Shared<f32>,
    ) {
        let (g, lanes) = (self.g, S::LANES);
        for block in 0..part.panels * 2 {
            let output = part.panel * 2 * lanes + block * lanes;
            if output >= g.outputs {
                break;
            }
            for c in (0..part.inputs).step_by(lanes) {
                let input = part.input + c;
                let size = (
                    (g.outputs - output).min(lanes),
                    (g.inputs - input).min(lanes),
                );
                let from = sum.wrapping_add(c * columns + block * lanes);
                let to = self.dw.at((output * g.inputs + input) * 9);
                // SAFETY: the sum holds the part; its filters are written by this call alone.
                unsafe {
                    filter::gradient(
                        self.s,
                        from,
                        apart,
                        columns,
                        size,
                        to,
                        g.inputs * 9,
                        scratch.at(0),
                    );
                }
            }
        }
    }

    /// Each part of the images has a sum of its own; they are added in order.
    fn split_by_images(&self) {
        let tasks = self.g.tasks(TASK_TILES);
        let parts = tasks.len().min(PARTS);
        let whole = Part {
            input: 0,
            inputs: self.inputs,
            panel: 0,
            panels: self.outputs / (2 * S::LANES),
        };
        let apart = self.inputs * self.outputs;
        let len = PRODUCTS * apart;
        let (_lease, [start]) = KERNELS.lend([parts * len]);
        each(parts, |part| {
            let own = tasks.len() * part / parts..tasks.len() * (part + 1) / parts;
            let [input, grad] = self.transformed(&tasks[own.clone()]);
            let lens = [input, grad, tile::scratch_len(self.g, S::LANES)];
            let (_lease, [input, grad, scratch]) = TASKS.lend(lens);
            for (i, task) in tasks[own].iter().enumerate() {
                let tiles = task.tiles;
                let to = Transformed { input, grad, tiles };
                for block in 0..self.blocks() {
                    self.transform(task, block, to, scratch);
                }
                self.multiply(to, whole, start.at(part * len), apart, i > 0);
            }
        });
        // SAFETY: every part has at least one task, so all entries were written, and all tasks are done.
        let sums = unsafe { std::slice::from_raw_parts_mut(start.at(0), parts * len) };
        let (total, rest) = sums.split_at_mut(len);
        add_in_order(total, rest);
        each(whole.panels, |panel| {
            let part = Part {
                panel,
                panels: 1,
                ..whole
            };
            let (_lease, [scratch]) = TASKS.lend([filter::scratch_len(S::LANES, S::LANES)]);
            let sum = start.at(panel * 2 * S::LANES);
            self.finish(part, sum, self.outputs, apart, scratch);
        });
    }

    /// Each task has filters of its own and runs over all tiles.
    fn split_by_filters(&self) {
        let tasks = self.g.tasks(MANY_TILES);
        let panels = self.outputs / (2 * S::LANES);
        let parts: Vec<Part> = (0..self.inputs)
            .step_by(TASK_INPUTS)
            .flat_map(|input| {
                (0..panels)
                    .step_by(TASK_PANELS)
                    .map(move |panel| (input, panel))
            })
            .map(|(input, panel)| Part {
                input,
                inputs: TASK_INPUTS.min(self.inputs - input),
                panel,
                panels: TASK_PANELS.min(panels - panel),
            })
            .collect();
        let apart = TASK_INPUTS * TASK_PANELS * 2 * S::LANES;
        let len = PRODUCTS * apart;
        // With several tasks the sums stay between them.
        let keep = tasks.len() > 1;
        let [input, grad] = self.transformed(&tasks);
        let lens = [input, grad, if keep { parts.len() * len } else { 0 }];
        let (_lease, [input, grad, kept]) = KERNELS.lend(lens);
        for (i, task) in tasks.iter().enumerate() {
            let tiles = task.tiles;
            let transformed = Transformed { input, grad, tiles };
            each(self.blocks(), |block| {
                let (_lease, [scratch]) = TASKS.lend([tile::scratch_len(self.g, S::LANES)]);
                self.transform(task, block, transformed, scratch);
            });
            each(parts.len(), |j| {
                let part = parts[j];
                let lens = [
                    filter::scratch_len(S::LANES, S::LANES),
                    if keep { 0 } else { len },
                ];
                let (_lease, [scratch, own]) = TASKS.lend(lens);
                let sum = if keep { kept.at(j * len) } else { own.at(0) };
                self.multiply(transformed, part, sum, apart, i > 0);
                if i + 1 == tasks.len() {
                    let columns = part.panels * 2 * S::LANES;
                    self.finish(part, sum, columns, apart, scratch);
                }
            });
        }
    }
}
