//! The weight gradient: each task has groups of its own and runs over all images, so there are no partial sums.

use super::planes::Planes;
use super::sums::{Extent, SHIFTS, dots};
use super::{group, groups_per_task};
use crate::kernel::conv::direct::Plan;
use crate::kernel::conv::images::Images;
use crate::kernel::im2col::ConvShape;
use crate::kernel::lanes::Lanes;
use crate::kernel::scratch::{TASKS, Unfilled};
use crate::kernel::tasks::each;

/// `dw`, given the input and the gradient of the output.
///
/// # Shapes
/// x (N, C, H, W), grad (N, O, OH, OW) give (O, C / groups, KH, KW).
pub(crate) fn weight_grad<S: Lanes>(
    s: S,
    shape: &ConvShape,
    x: Images<'_, f32>,
    grad: &[f32],
) -> Vec<f32> {
    let groups = shape.groups;
    let [inputs, outputs] = shape.group_channels();
    let [input_plane, output_plane] = [shape.input_plane(), shape.output_plane()];
    assert!(
        x.entries.len() == shape.batch * shape.in_channels * input_plane
            && grad.len() == shape.batch * shape.out_channels * output_plane,
        "the slices have the sizes of the shape"
    );
    let plan = Plan::forward(&group(shape));
    let planes = Planes::of(&plan);
    let (class, taps) = (&plan.classes[0], shape.taps());
    let offsets: Vec<usize> = (0..inputs)
        .flat_map(|input| planes.offsets(class).map(move |offset| (input, offset)))
        .map(|(input, offset)| input * planes.len() + offset)
        .collect();
    let extent = Extent {
        pitch: shape.output[1],
        rows: class.height,
        columns: class.width,
    };
    let mut dw = Unfilled::new(shape.out_channels * inputs * taps);
    let out = dw.shared();
    let per_task = groups_per_task(groups, shape.batch * inputs * input_plane);
    each(groups.div_ceil(per_task), |task| {
        let own = task * per_task..((task + 1) * per_task).min(groups);
        let (_lease, [copies]) = TASKS.lend::<f32, 1>([inputs * planes.len() + S::LANES]);
        // SAFETY: lent to this task; the last register of the last row may reach beyond the planes.
        let copies = unsafe { copies.slice(0, inputs * planes.len() + S::LANES) };
        copies[inputs * planes.len()..].fill(0.0);
        let mut sums = vec![0.0; outputs * offsets.len()];
        for group in own {
            sums.fill(0.0);
            for image in 0..shape.batch {
                let from = (image * groups + group) * inputs * input_plane;
                for (input, to) in copies
                    .chunks_exact_mut(planes.len())
                    .take(inputs)
                    .enumerate()
                {
                    let from = &x.entries[from + input * input_plane..][..input_plane];
                    planes.fill(from, x.channels(group * inputs + input), to);
                }
                let source = (copies.as_ptr(), planes.pitch());
                for (output, sums) in sums.chunks_exact_mut(offsets.len()).enumerate() {
                    let plane = (image * groups + group) * outputs + output;
                    let g = grad[plane * output_plane..][..output_plane].as_ptr();
                    let parts = offsets.chunks(SHIFTS).zip(sums.chunks_mut(SHIFTS));
                    for (offsets, sums) in parts {
                        // SAFETY: the copies hold what all taps read, and a register more.
                        unsafe { dots(s, (g, extent), source, offsets, sums) };
                    }
                }
            }
            // SAFETY: each group is one task's.
            let filters = unsafe { out.slice(group * sums.len(), sums.len()) };
            filters
                .iter_mut()
                .zip(&sums)
                .for_each(|(to, sum)| *to = *sum as f32);
        }
    });
    // SAFETY: the tasks cover all groups.
    unsafe { dw.filled() }
}
