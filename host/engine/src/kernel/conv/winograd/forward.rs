//! The forward pass, which is the input gradient too.

use super::filter::{self, Filters};
use super::transform::PRODUCTS;
use super::{GAP, Geometry, Task, tile};
use crate::kernel::conv::images::Images;
use crate::kernel::lanes::Lanes;
use crate::kernel::layout::{BlockedProduct, blocked_product, padded};
use crate::kernel::scratch::{KERNELS, Shared, TASKS, Unfilled};
use crate::kernel::tasks::each;

/// Panels of outputs that one pass over the tiles makes: 128 outputs of AVX-512.
const PASS_PANELS: usize = 4;
/// Inputs whose weights are transformed at a time where all tiles are one task.
const WEIGHT_INPUTS: usize = 256;
/// Tiles of a task: half as many as elsewhere, so that threads wait less for each other at the end of a kernel.
const TASK_TILES: usize = super::TASK_TILES / 2;
/// Fewer tasks than this are split by outputs instead.
const FEW_TASKS: usize = 8;

/// `y = conv(x, w)`; with `adjoint` g is the geometry of an input gradient, and w the filters of the convolution that it belongs to.
///
/// # Shapes
/// x (N, C, H, W), w (O, C, 3, 3), or (C, O, 3, 3) with `adjoint`, give (N, O, OH, OW).
pub(crate) fn forward<S: Lanes>(
    s: S,
    g: &Geometry,
    x: Images<'_, f32>,
    w: &[f32],
    adjoint: bool,
) -> Vec<f32> {
    let [plane_in, plane_out] = [g.input, g.output].map(|[h, w]| h * w);
    assert!(
        x.entries.len() == g.batch * g.inputs * plane_in && w.len() == g.inputs * g.outputs * 9,
        "the slices have the sizes of the geometry"
    );
    let mut y = Unfilled::new(g.batch * g.outputs * plane_out);
    let pass = Pass {
        s,
        g,
        filters: Filters {
            inputs: g.inputs,
            outputs: g.outputs,
            adjoint,
        },
        inputs: padded(g.inputs, S::LANES),
        panels: g.outputs.div_ceil(2 * S::LANES),
        x,
        w,
        y: y.shared(),
    };
    let tasks = g.tasks(TASK_TILES);
    if tasks.len() < FEW_TASKS {
        g.tasks(usize::MAX)
            .iter()
            .for_each(|all| pass.split_by_outputs(all));
    } else {
        pass.split_by_tiles(&tasks);
    }
    // SAFETY: the bands of all tasks cover every image, the panels every output.
    unsafe { y.filled() }
}

/// What all tasks share.
struct Pass<'a, S> {
    s: S,
    g: &'a Geometry,
    filters: Filters,
    inputs: usize,
    panels: usize,
    x: Images<'a, f32>,
    w: &'a [f32],
    y: Shared<f32>,
}

/// The 36 matrices of a task's transformed inputs or outputs.
#[derive(Clone, Copy)]
struct Products {
    start: Shared<f32>,
    /// Numbers between two of them.
    apart: usize,
}

impl<S: Lanes> Pass<'_, S> {
    /// Weights are transformed once; a task takes its tiles through all steps without leaving the cache.
    fn split_by_tiles(&self, tasks: &[Task]) {
        let (lanes, panel) = (S::LANES, self.inputs * 2 * S::LANES);
        let apart = self.panels * panel + GAP;
        let (_lease, [start]) = KERNELS.lend([PRODUCTS * apart]);
        let weights = Products { start, apart };
        each(self.panels, |n| {
            let (_lease, [scratch]) = TASKS.lend([filter::scratch_len(self.inputs, lanes)]);
            let to = Products {
                start: Shared(start.at(n * panel)),
                apart,
            };
            self.transform_weights(n, (0, self.inputs), to, scratch);
        });
        let most = PASS_PANELS.min(self.panels);
        each(tasks.len(), |i| {
            let task = &tasks[i];
            let aparts = [self.inputs, most * 2 * lanes].map(|n| task.tiles * n + GAP);
            let [v, m] = aparts.map(|apart| PRODUCTS * apart);
            let (_lease, [v, m, scratch]) = TASKS.lend([v, m, tile::scratch_len(self.g, lanes)]);
            let [v, m] =
                [(v, aparts[0]), (m, aparts[1])].map(|(start, apart)| Products { start, apart });
            for block in 0..self.inputs / lanes {
                self.transform_input(task, block, v, scratch);
            }
            for first in (0..self.panels).step_by(PASS_PANELS) {
                let panels = PASS_PANELS.min(self.panels - first);
                for i in 0..PRODUCTS {
                    for n in 0..panels {
                        let u = weights.start.at(i * apart + (first + n) * panel);
                        self.multiply(task.tiles, i, (0, self.inputs), v, u, (m, n));
                    }
                }
                self.transform_output(task, (first, panels), m, scratch);
            }
        });
    }

    /// For few tiles: all of them are transformed first; a task takes one panel of outputs, whose weights it transforms part by part.
    fn split_by_outputs(&self, all: &Task) {
        let lanes = S::LANES;
        let apart = all.tiles * self.inputs + GAP;
        let (_lease, [start]) = KERNELS.lend([PRODUCTS * apart]);
        let v = Products { start, apart };
        let tile_scratch = tile::scratch_len(self.g, lanes);
        each(self.inputs / lanes, |block| {
            let (_lease, [scratch]) = TASKS.lend([tile_scratch]);
            self.transform_input(all, block, v, scratch);
        });
        let most = WEIGHT_INPUTS.min(self.inputs);
        each(self.panels, |n| {
            let aparts = [most, all.tiles].map(|rows| rows * 2 * lanes + GAP);
            let [u, m] = aparts.map(|apart| PRODUCTS * apart);
            let scratch = tile_scratch.max(filter::scratch_len(most, lanes));
            let (_lease, [u, m, scratch]) = TASKS.lend([u, m, scratch]);
            let [u, m] =
                [(u, aparts[0]), (m, aparts[1])].map(|(start, apart)| Products { start, apart });
            for k in (0..self.inputs).step_by(most) {
                let part = (k, most.min(self.inputs - k));
                self.transform_weights(n, part, u, scratch);
                for i in 0..PRODUCTS {
                    let u = u.start.at(i * u.apart);
                    self.multiply(all.tiles, i, part, v, u, (m, 0));
                }
            }
            self.transform_output(all, (n, 1), m, scratch);
        });
    }

    /// Weights of a panel of outputs and of some inputs.
    fn transform_weights(
        &self,
        panel: usize,
        inputs: (usize, usize),
        to: Products,
        scratch: Shared<f32>,
    ) {
        // SAFETY: the filters have these sizes; the caller's leases have room, and are its own.
        unsafe {
            filter::transform(
                self.s,
                &self.filters,
                panel,
                inputs,
                self.w.as_ptr(),
                to.start.at(0),
                to.apart,
                scratch.at(0),
            );
        }
    }

    /// All tiles of a block of channels.
    fn transform_input(&self, task: &Task, block: usize, v: Products, scratch: Shared<f32>) {
        let (g, lanes) = (self.g, S::LANES);
        let channels = (g.inputs - block * lanes).min(lanes);
        for band in &task.bands {
            let plane = band.image * g.inputs + block * lanes;
            let x = self.x.entries[plane * g.input[0] * g.input[1]..].as_ptr();
            let x = (x, self.x.channels(block * lanes));
            let to = v.start.at((block * task.tiles + band.first) * lanes);
            // SAFETY: the slice has all planes from here on; each block has its own part of v.
            unsafe {
                let scratch = scratch.at(0);
                tile::transformed::<tile::Input, _, _>(
                    self.s, g, band, x, channels, to, v.apart, scratch,
                );
            }
        }
    }

    /// Product `i` of all tiles with the weights of one panel, over `count` inputs from `k` on; the n-th panel of m takes it.
    fn multiply(
        &self,
        tiles: usize,
        i: usize,
        (k, count): (usize, usize),
        v: Products,
        weights: *const f32,
        (m, n): (Products, usize),
    ) {
        let lanes = S::LANES;
        let size = BlockedProduct {
            blocks: count / lanes,
            depth: lanes,
            a_block: tiles * lanes,
            b_step: 2 * lanes,
            b_second: lanes,
            c_row: lanes,
            c_second: tiles * lanes,
            accumulate: k > 0,
        };
        let a = v.start.at(i * v.apart + k * tiles);
        let c = m.start.at(i * m.apart + n * tiles * 2 * lanes);
        // SAFETY: v has `count` inputs of all tiles from a on, the weights as many rows; m is the task's own.
        unsafe { blocked_product(self.s, &size, tiles, a, weights, c) }
    }

    /// Writes the outputs of some panels.
    fn transform_output(
        &self,
        task: &Task,
        (first, panels): (usize, usize),
        m: Products,
        scratch: Shared<f32>,
    ) {
        let (g, lanes) = (self.g, S::LANES);
        let blocks = (2 * panels).min(g.outputs.div_ceil(lanes) - 2 * first);
        for block in 0..blocks {
            let channel = (2 * first + block) * lanes;
            let channels = (g.outputs - channel).min(lanes);
            for band in &task.bands {
                let from = m.start.at((block * task.tiles + band.first) * lanes);
                let plane = band.image * g.outputs + channel;
                let y = self.y.at(plane * g.output[0] * g.output[1]);
                // SAFETY: m was written; this band and these channels are this task's own.
                unsafe { tile::output(self.s, g, band, from, m.apart, channels, y, scratch.at(0)) }
            }
        }
    }
}
