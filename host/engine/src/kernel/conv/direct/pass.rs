//! Runs a plan: the forward pass or the input gradient.

use super::gather::grid;
use super::kernel::Kernel;
use super::plan::{Class, Plan, Tap};
use super::rows::Rows;
use crate::kernel::conv::images::Images;
use crate::kernel::conv::window::Window;
use crate::kernel::lanes::Lanes;
use crate::kernel::layout::{BlockedProduct, from_blocked};
use crate::kernel::scratch::{KERNELS, Shared, TASKS, Unfilled};
use crate::kernel::tasks::each;

/// Positions that one task works on, for each step of a word.
const TASK_POSITIONS: usize = 128;
/// Taps times blocks of channels that one product runs over.
const PRODUCT_TAPS: usize = 16;

/// Runs a plan.
///
/// # Shapes
/// x (N, source channels, H, W), w as the convolution has it, give (N, target channels, H', W').
pub(crate) fn run<S: Lanes, K: Kernel<S>>(
    (s, kernel): (S, K),
    plan: &Plan,
    x: Images<'_, f32>,
    w: &[f32],
) -> Vec<f32> {
    let ((sources, source), (targets, target)) = (plan.source, plan.target);
    assert!(
        x.entries.len() == plan.batch * sources * source[0] * source[1]
            && w.len() == sources * targets * plan.kernel,
        "the slices have the sizes of the plan"
    );
    let mut y = Unfilled::new(plan.batch * targets * target[0] * target[1]);
    let panels = targets.div_ceil(2 * S::LANES);
    let panel_len = plan.panel_len::<S, K>();
    let (_lease, [packed]) = KERNELS.lend([panels * panel_len]);
    each(panels, |n| {
        plan.pack((s, kernel), w, n, packed.at(n * panel_len));
    });
    let most = K::STEPS * TASK_POSITIONS;
    let [grid_h, grid_w] = [0, 1].map(|axis| target[axis].div_ceil(plan.write_step[axis]));
    let tasks = Rows::all(plan.batch, [grid_h, grid_w], most);
    let out = y.shared();
    each(tasks.len(), |i| {
        let task = &tasks[i];
        let work = Work {
            s,
            kernel,
            plan,
            task,
            panels,
            grid_w,
        };
        work.run(x, packed, out);
    });
    // SAFETY: the tasks cover all rows of the grid of every image, the classes all positions.
    unsafe { y.filled() }
}

struct Work<'a, S, K> {
    s: S,
    kernel: K,
    plan: &'a Plan,
    task: &'a Rows,
    panels: usize,
    grid_w: usize,
}

impl<S: Lanes, K: Kernel<S>> Work<'_, S, K> {
    /// Grid rows of a class in this task.
    fn rows(&self, class: &Class) -> usize {
        class
            .height
            .saturating_sub(self.task.row)
            .min(self.task.rows)
    }

    /// The window of the source that all taps of this task see, and where grid point (0, 0) of a tap of no offset lies in it.
    fn window(&self) -> (Window, [isize; 2]) {
        let (plan, (_, [height, width])) = (self.plan, self.plan.source);
        let taps = || plan.classes.iter().flat_map(|class| &class.taps);
        let least = |of: fn(&Tap) -> isize| taps().map(of).min().unwrap_or(0);
        let most = |of: fn(&Tap) -> isize| taps().map(of).max().unwrap_or(0);
        let (top, bottom) = (least(|t| t.row), most(|t| t.row));
        let (left, right) = (least(|t| t.column).min(0), most(|t| t.column));
        let [step_h, step_w] = plan.read_step.map(|n| n as isize);
        let first = self.task.row as isize * step_h + top;
        let last = (self.task.row + self.task.rows - 1) as isize * step_h + bottom;
        let reach = (self.grid_w as isize - 1) * step_w + right + 1;
        let window = Window {
            height,
            width,
            first,
            rows: (last - first + 1) as usize,
            left: -left as usize,
            columns: (reach.max(width as isize) - left) as usize,
        };
        (window, [-top, -left])
    }

    fn run(&self, x: Images<'_, f32>, weights: Shared<f32>, y: Shared<f32>) {
        let (plan, task, s, lanes) = (self.plan, self.task, self.s, S::LANES);
        let words = plan.words::<S, K>();
        let blocks = words / lanes;
        let (window, origin) = self.window();
        let positions = task.positions(self.grid_w);
        let most = plan
            .classes
            .iter()
            .map(|class| class.taps.len())
            .max()
            .unwrap_or(0);
        let group = (PRODUCT_TAPS / most.max(1)).clamp(1, blocks);
        let one = positions * self.panels * 2 * lanes;
        let halves = if K::STEPS > 1 { K::STEPS } else { 0 };
        let (_lease, [sums, source, halves, columns]) = TASKS.lend([
            plan.classes.len() * one,
            group * task.images * window.len(lanes),
            halves * window.len(lanes),
            (positions * group * most + K::BEYOND) * lanes,
        ]);
        for first in (0..blocks).step_by(group) {
            let count = group.min(blocks - first);
            let window_at =
                |b: usize, j: usize| source.at((b * task.images + j) * window.len(lanes));
            for (b, j) in (0..count).flat_map(|b| (0..task.images).map(move |j| (b, j))) {
                // SAFETY: the lease has room for each window, and for one of each step.
                unsafe { self.fill(&window, x, (first + b, j), halves.at(0), window_at(b, j)) }
            }
            let mut offset = 0;
            for (c, class) in plan.classes.iter().enumerate() {
                let (taps, rows) = (class.taps.len(), self.rows(class));
                let part = (rows, class.width);
                let of_class = task.images * rows * class.width;
                for (b, (t, tap)) in
                    (0..count).flat_map(|b| class.taps.iter().enumerate().map(move |tap| (b, tap)))
                {
                    let place =
                        (tap.row + origin[0]) * window.columns as isize + tap.column + origin[1];
                    let steps = (plan.read_step[0] * window.columns, plan.read_step[1]);
                    for j in 0..task.images {
                        let from = window_at(b, j).wrapping_add(place as usize * lanes);
                        let to = (b * taps + t) * of_class + j * rows * class.width;
                        // SAFETY: the window covers all taps of this task's rows.
                        unsafe { grid(s, from, steps, part, columns.at(to * lanes)) }
                    }
                }
                let size = BlockedProduct {
                    blocks: count * taps,
                    depth: lanes,
                    a_block: of_class * lanes,
                    b_step: 2 * lanes,
                    b_second: lanes,
                    c_row: lanes,
                    c_second: of_class * lanes,
                    accumulate: first > 0,
                };
                for n in 0..self.panels {
                    let panel = n * plan.panel_len::<S, K>() + offset;
                    let b = weights.at(panel + first * taps * lanes * 2 * lanes);
                    let to = sums.at(c * one + n * of_class * 2 * lanes);
                    // SAFETY: gathered above; the panel has `count` blocks of weights from here on; sums are this task's own.
                    unsafe { (self.kernel).product(s, &size, of_class, columns.at(0), b, to) }
                }
                offset += words * taps * 2 * lanes;
            }
        }
        self.write(sums.at(0), one, y);
    }

    /// Fills a window with a block of words of an image of the task.
    ///
    /// # Safety
    /// `to` takes the window; `halves` takes one for each step of a word, where that has several.
    unsafe fn fill(
        &self,
        window: &Window,
        x: Images<'_, f32>,
        (block, image): (usize, usize),
        halves: *mut f32,
        to: *mut f32,
    ) {
        let (s, lanes) = (self.s, S::LANES);
        let (sources, [height, width]) = self.plan.source;
        let len = window.len(lanes);
        for step in 0..K::STEPS {
            let channel = (block * K::STEPS + step) * lanes;
            let channels = sources.saturating_sub(channel).min(lanes);
            let to = if K::STEPS == 1 {
                to
            } else {
                halves.wrapping_add(step * len)
            };
            // SAFETY: the slice has these planes; the caller's promise.
            unsafe {
                if channels == 0 {
                    to.write_bytes(0, len);
                } else {
                    let plane = (self.task.image + image) * sources + channel;
                    let from = x.entries[plane * height * width..].as_ptr();
                    window.fill(s, (from, x.channels(channel)), channels, to);
                }
            }
        }
        if K::STEPS == 1 {
            return;
        }
        self.kernel.run(
            s,
            #[inline(always)]
            || {
                for place in (0..len).step_by(lanes) {
                    let first = halves.wrapping_add(place);
                    // SAFETY: filled above.
                    unsafe {
                        let second = s.load(first.wrapping_add(len));
                        let word = self.kernel.joined(s, s.load(first), second);
                        s.store(to.wrapping_add(place), word);
                    }
                }
            },
        );
    }

    /// Copies the sums of all classes to their places.
    fn write(&self, sums: *const f32, one: usize, y: Shared<f32>) {
        let (plan, task, s, lanes) = (self.plan, self.task, self.s, S::LANES);
        let (targets, [height, width]) = plan.target;
        let [step_h, step_w] = plan.write_step;
        let first = task.row * step_h;
        let rows = (task.rows * step_h).min(height - first);
        for block in 0..targets.div_ceil(lanes) {
            let channel = block * lanes;
            for j in 0..task.images {
                let to =
                    y.at(((task.image + j) * targets + channel) * height * width + first * width);
                s.run(
                    #[inline(always)]
                    || {
                        let (mut row, mut column) = (0, 0);
                        let from = || {
                            let c = row % step_h * step_w + column % step_w;
                            let class = &plan.classes[c];
                            let of_image = self.rows(class) * class.width;
                            let place = row / step_h * class.width + column / step_w;
                            let position = block * task.images * of_image + j * of_image + place;
                            column += 1;
                            if column == width {
                                column = 0;
                                row += 1;
                            }
                            sums.wrapping_add(c * one + position * lanes)
                        };
                        let channels = (targets - channel).min(lanes);
                        // SAFETY: every class has a sum for its positions; these rows and images are this task's own.
                        unsafe { from_blocked(s, from, height * width, channels, rows * width, to) }
                    },
                );
            }
        }
    }
}
