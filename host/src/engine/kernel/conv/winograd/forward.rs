//! The forward pass, which is the input gradient too.

use rayon::prelude::*;

use super::filter::{self, Filters};
use super::transform::PRODUCTS;
use super::{GAP, Geometry, TASK_TILES, Task, tile};
use crate::engine::kernel::conv::lanes::Lanes;
use crate::engine::kernel::conv::layout::{Product, padded, product};
use crate::engine::kernel::scratch::{Lease, Shared, Unfilled};

/// Panels of outputs that one pass over the tiles makes: 128 outputs of AVX-512.
const PASS_PANELS: usize = 4;
/// Inputs whose weights are transformed at a time where that happens inside a task.
const WEIGHT_INPUTS: usize = 256;
/// Fewer tasks than this are split further, by channels.
const FEW_TASKS: usize = 4;

/// `y = conv(x, w)`; with `adjoint` g is the geometry of an input gradient, and w the filters of the convolution that it belongs to.
///
/// # Shapes
/// x (N, C, H, W), w (O, C, 3, 3), or (C, O, 3, 3) with `adjoint`, give (N, O, OH, OW).
pub(crate) fn forward<S: Lanes>(
    s: S,
    g: &Geometry,
    x: &[f32],
    w: &[f32],
    adjoint: bool,
) -> Vec<f32> {
    let [plane_in, plane_out] = [g.input, g.output].map(|[h, w]| h * w);
    assert!(
        x.len() == g.batch * g.inputs * plane_in && w.len() == g.inputs * g.outputs * 9,
        "the slices have the sizes of the geometry"
    );
    let mut y = Unfilled::new(g.batch * g.outputs * plane_out);
    let tasks = g.tasks(TASK_TILES);
    let filters = Filters {
        inputs: g.inputs,
        outputs: g.outputs,
        adjoint,
    };
    let inputs = padded(g.inputs, S::LANES);
    let panels = g.outputs.div_ceil(2 * S::LANES);
    // Weights that several tasks share are transformed once; else inside the task, part by part, without leaving the cache.
    let ready = (tasks.len() >= FEW_TASKS).then(|| {
        let apart = panels * inputs * 2 * S::LANES + GAP;
        let lease = Lease::new(PRODUCTS * apart);
        let start = Shared(lease.start());
        (0..panels).into_par_iter().for_each(|n| {
            let scratch = Lease::new(filter::scratch_len(inputs, S::LANES));
            let to = start.at(n * inputs * 2 * S::LANES);
            // SAFETY: the filters have these sizes; each panel has its own part of the lease.
            unsafe {
                filter::transform(
                    s,
                    &filters,
                    n,
                    (0, inputs),
                    w.as_ptr(),
                    to,
                    apart,
                    scratch.start(),
                )
            }
        });
        (lease, apart)
    });
    let pass = Pass {
        s,
        g,
        filters,
        inputs,
        panels,
        x,
        w,
        ready: ready
            .as_ref()
            .map(|(lease, apart)| (Shared(lease.start()), *apart)),
        y: y.shared(),
    };
    let inner = tasks.len() < FEW_TASKS;
    tasks.par_iter().for_each(|task| pass.run(task, inner));
    // SAFETY: the bands of all tasks cover every image, the passes every output.
    unsafe { y.filled() }
}

/// What all tasks share.
struct Pass<'a, S> {
    s: S,
    g: &'a Geometry,
    filters: Filters,
    inputs: usize,
    panels: usize,
    x: &'a [f32],
    w: &'a [f32],
    ready: Option<(Shared<f32>, usize)>,
    y: Shared<f32>,
}

/// Runs `f` for 0..count, on other threads too where `parallel`.
fn each(parallel: bool, count: usize, f: impl Fn(usize) + Send + Sync) {
    if parallel {
        (0..count).into_par_iter().for_each(f);
    } else {
        (0..count).for_each(f);
    }
}

impl<S: Lanes> Pass<'_, S> {
    fn run(&self, task: &Task, inner: bool) {
        let (g, lanes) = (self.g, S::LANES);
        let apart = task.tiles * self.inputs + GAP;
        let lease = Lease::new(PRODUCTS * apart);
        let v = Shared(lease.start());
        each(inner, self.inputs / lanes, |block| {
            let scratch = Lease::new(tile::scratch_len(g, lanes));
            let channels = (g.inputs - block * lanes).min(lanes);
            for band in &task.bands {
                let plane = band.image * g.inputs + block * lanes;
                let x = self.x[plane * g.input[0] * g.input[1]..].as_ptr();
                let to = v.at((block * task.tiles + band.first) * lanes);
                // SAFETY: the slice has all planes from here on; each block has its own part of v.
                unsafe { tile::input(self.s, g, band, x, channels, to, apart, scratch.start()) }
            }
        });
        let passes = self.panels.div_ceil(PASS_PANELS);
        each(inner, passes, |pass| {
            let first = pass * PASS_PANELS;
            let panels = PASS_PANELS.min(self.panels - first);
            self.multiply(task, v, apart, (first, panels));
        });
    }

    /// Products and output transform of some panels.
    fn multiply(
        &self,
        task: &Task,
        v: Shared<f32>,
        v_apart: usize,
        (first, panels): (usize, usize),
    ) {
        let (g, s, lanes, tiles) = (self.g, self.s, S::LANES, task.tiles);
        let m_apart = tiles * panels * 2 * lanes + GAP;
        let lease = Lease::new(PRODUCTS * m_apart);
        let m = lease.start();
        let multiply = |n: usize, i: usize, (k, count): (usize, usize), weights: *const f32| {
            let size = Product {
                blocks: count / lanes,
                depth: lanes,
                a_block: tiles * lanes,
                b_step: 2 * lanes,
                b_second: lanes,
                c_row: lanes,
                c_second: tiles * lanes,
                accumulate: k > 0,
            };
            let a = v.at(i * v_apart + k * tiles);
            let c = m.wrapping_add(i * m_apart + n * tiles * 2 * lanes);
            // SAFETY: v has `count` inputs of all tiles from a on, the weights as many rows; m is this pass's own.
            unsafe { product(s, &size, tiles, a, weights, c) }
        };
        if let Some((u, apart)) = self.ready {
            for i in 0..PRODUCTS {
                for n in 0..panels {
                    let weights = u.at(i * apart + (first + n) * self.inputs * 2 * lanes);
                    multiply(n, i, (0, self.inputs), weights);
                }
            }
        } else {
            let most = WEIGHT_INPUTS.min(self.inputs);
            let apart = most * 2 * lanes + GAP;
            let (u, scratch) = (
                Lease::new(PRODUCTS * apart),
                Lease::new(filter::scratch_len(most, lanes)),
            );
            for n in 0..panels {
                for k in (0..self.inputs).step_by(most) {
                    let part = (k, most.min(self.inputs - k));
                    let w = self.w.as_ptr();
                    // SAFETY: the filters have these sizes; the leases are this pass's own.
                    unsafe {
                        filter::transform(
                            s,
                            &self.filters,
                            first + n,
                            part,
                            w,
                            u.start(),
                            apart,
                            scratch.start(),
                        );
                    }
                    for i in 0..PRODUCTS {
                        multiply(n, i, part, u.start().wrapping_add(i * apart));
                    }
                }
            }
        }
        let scratch = Lease::new(tile::scratch_len(g, lanes));
        let blocks = (2 * panels).min(g.outputs.div_ceil(lanes) - 2 * first);
        for block in 0..blocks {
            let channel = (2 * first + block) * lanes;
            let channels = (g.outputs - channel).min(lanes);
            for band in &task.bands {
                let m = m.wrapping_add((block * tiles + band.first) * lanes);
                let y = self
                    .y
                    .at((band.image * g.outputs + channel) * g.output[0] * g.output[1]);
                // SAFETY: m was written above; this band and these channels are this pass's own.
                unsafe { tile::output(s, g, band, m, m_apart, channels, y, scratch.start()) }
            }
        }
    }
}
