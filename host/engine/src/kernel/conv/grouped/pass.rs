//! The forward pass and the input gradient: each plane of the result from the planes of its group.

use super::planes::Planes;
use super::sums::{Extent, shifted};
use super::{group, groups_per_task};
use crate::kernel::batch_norm::Channels;
use crate::kernel::conv::direct::{Class, Plan};
use crate::kernel::conv::images::Images;
use crate::kernel::im2col::ConvShape;
use crate::kernel::lanes::Lanes;
use crate::kernel::scratch::{KERNELS, Shared, TASKS, Unfilled};
use crate::kernel::tasks::each;

/// `y = conv(x, w)`.
///
/// # Shapes
/// x (N, C, H, W), w (O, C / groups, KH, KW) give (N, O, OH, OW).
pub(crate) fn forward<S: Lanes>(
    s: S,
    shape: &ConvShape,
    x: Images<'_, f32>,
    w: &[f32],
) -> Vec<f32> {
    run(s, shape, &Plan::forward(&group(shape)), false, x, w)
}

/// The gradient of x.
///
/// # Shapes
/// g (N, O, OH, OW), w (O, C / groups, KH, KW) give (N, C, H, W).
pub(crate) fn input_grad<S: Lanes>(s: S, shape: &ConvShape, g: &[f32], w: &[f32]) -> Vec<f32> {
    let g = Images::plain(g);
    run(s, shape, &Plan::input_grad(&group(shape)), true, g, w)
}

fn run<S: Lanes>(
    s: S,
    shape: &ConvShape,
    plan: &Plan,
    adjoint: bool,
    x: Images<'_, f32>,
    w: &[f32],
) -> Vec<f32> {
    let ((sources, source), (targets, target)) = (plan.source, plan.target);
    let groups = shape.groups;
    let [source_plane, target_plane] = [source, target].map(|[h, w]| h * w);
    assert!(
        x.entries.len() == shape.batch * groups * sources * source_plane
            && w.len() == groups * sources * targets * plan.kernel,
        "the slices have the sizes of the shape"
    );
    let planes = Planes::of(plan);
    let len = planes.len();
    let offsets: Vec<Vec<usize>> = (plan.classes.iter())
        .map(|class| {
            let own: Vec<usize> = planes.offsets(class).collect();
            let sources = (0..sources).flat_map(|i| own.iter().map(move |o| i * len + o));
            sources.collect()
        })
        .collect();
    let per_result: usize = offsets.iter().map(Vec::len).sum();
    let (_lease, [packed]) = KERNELS.lend([groups * targets * per_result]);
    let weights = Weights {
        plan,
        sources,
        targets,
        adjoint,
    };
    let mut y = Unfilled::new(shape.batch * groups * targets * target_plane);
    let out = y.shared();
    let per_task = groups_per_task(groups, sources * source_plane);
    let parts = groups.div_ceil(per_task);
    each(parts, |part| {
        for result in part * per_task * targets..((part + 1) * per_task).min(groups) * targets {
            // SAFETY: each result has its own place.
            weights.pack(w, result, unsafe {
                packed.slice(result * per_result, per_result)
            });
        }
    });
    let work = Work {
        s,
        plan,
        planes: &planes,
        offsets: &offsets,
    };
    let lens = work.scratch_lens();
    // Scratch for a task, not for a group: groups of small planes take less time than threads take to agree on who gets which.
    each(shape.batch * parts, |task| {
        let (_lease, [copies, dense]) = TASKS.lend(lens);
        // SAFETY: lent to this task.
        let mut scratch = unsafe { [copies.slice(0, lens[0]), dense.slice(0, lens[1])] };
        let (image, part) = (task / parts, task % parts);
        for group in part * per_task..((part + 1) * per_task).min(groups) {
            let group_of_image = image * groups + group;
            let from = &x.entries[group_of_image * sources * source_plane..];
            let from = (&from[..sources * source_plane], x.channels(group * sources));
            let weights = packed.at(group * targets * per_result);
            let to = group_of_image * targets * target_plane;
            work.group(from, weights, Shared(out.at(to)), &mut scratch);
        }
    });
    // SAFETY: the tasks cover all groups of all images, the classes all positions.
    unsafe { y.filled() }
}

/// How filters become the weights of shifted planes.
struct Weights<'a> {
    plan: &'a Plan,
    sources: usize,
    targets: usize,
    adjoint: bool,
}

impl Weights<'_> {
    /// The weights of plane `result` of an image: those of a class after those of another, source by source.
    fn pack(&self, w: &[f32], result: usize, to: &mut [f32]) {
        let (group, target) = (result / self.targets, result % self.targets);
        let filters = &w[group * self.sources * self.targets * self.plan.kernel..];
        let taps = self.plan.classes.iter().flat_map(|class| {
            (0..self.sources)
                .flat_map(move |source| class.taps.iter().map(move |tap| (source, tap)))
        });
        for (to, (source, tap)) in to.iter_mut().zip(taps) {
            let filter = if self.adjoint {
                source * self.targets + target
            } else {
                target * self.sources + source
            };
            *to = filters[filter * self.plan.kernel + tap.weight];
        }
    }
}

struct Work<'a, S> {
    s: S,
    plan: &'a Plan,
    planes: &'a Planes,
    /// Where each weight of a class finds its numbers.
    offsets: &'a [Vec<usize>],
}

impl<S: Lanes> Work<'_, S> {
    fn is_scattered(&self) -> bool {
        self.plan.write_step != [1, 1]
    }

    /// Numbers for the copies of a group's planes, and for a class's positions where they are scattered.
    fn scratch_lens(&self) -> [usize; 2] {
        let class_len = |class: &Class| class.height * class.width;
        let most = self.plan.classes.iter().map(class_len).max().unwrap_or(0);
        let copies = self.plan.source.0 * self.planes.len() + S::LANES;
        [copies, if self.is_scattered() { most } else { 0 }]
    }

    /// All planes of a group of one image.
    fn group(
        &self,
        (x, map): (&[f32], Option<Channels<'_, f32>>),
        weights: *const f32,
        out: Shared<f32>,
        [copies, dense]: &mut [&mut [f32]; 2],
    ) {
        let (_, [height, width]) = self.plan.source;
        let (targets, target) = self.plan.target;
        let scattered = self.is_scattered();
        let parts = copies.chunks_exact_mut(self.planes.len().max(1));
        let planes = x.chunks_exact((height * width).max(1)).zip(parts);
        for (source, (from, to)) in planes.enumerate() {
            self.planes.fill(from, map.map(|map| map.from(source)), to);
        }
        let from = (copies.as_ptr(), self.planes.pitch());
        let mut weights = weights;
        for t in 0..targets {
            let plane = target[0] * target[1];
            let out = Shared(out.at(t * plane));
            for (i, (class, offsets)) in self.plan.classes.iter().zip(self.offsets).enumerate() {
                let extent = Extent {
                    pitch: if scattered { class.width } else { target[1] },
                    rows: class.height,
                    columns: class.width,
                };
                let to = if scattered {
                    dense.as_mut_ptr()
                } else {
                    out.at(0)
                };
                // SAFETY: the copies hold what all taps read, and a register more; the group's planes are this task's own.
                unsafe { shifted(self.s, from, offsets, weights, (to, extent)) };
                if scattered {
                    // SAFETY: the group's planes are this task's own.
                    let plane = unsafe { out.slice(0, plane) };
                    self.scatter(i, class, dense, plane);
                }
                weights = weights.wrapping_add(offsets.len());
            }
        }
    }

    /// Copies the positions of class `i` to their places.
    fn scatter(&self, i: usize, class: &Class, from: &[f32], to: &mut [f32]) {
        let [step_h, step_w] = self.plan.write_step;
        let width = self.plan.target.1[1];
        let (row, column) = (i / step_w, i % step_w);
        let lines = to.chunks_exact_mut(width.max(1)).skip(row).step_by(step_h);
        for (line, from) in lines
            .zip(from.chunks_exact(class.width.max(1)))
            .take(class.height)
        {
            let places = line[column.min(width)..].iter_mut().step_by(step_w);
            places.zip(from).for_each(|(to, from)| *to = *from);
        }
    }
}
