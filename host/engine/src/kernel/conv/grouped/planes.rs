//! Copies of an image's planes with zeros around, split by position modulo the step at which they are read.

use crate::kernel::batch_norm::Channels;
use crate::kernel::conv::direct::{Class, Plan};
use crate::kernel::vectorised;

/// Where a plan reads: plane `(r, c)` of a channel holds the rows `first + r`, `first + r + step`, .. and columns likewise.
pub(super) struct Planes {
    source: [usize; 2],
    first: [isize; 2],
    step: [usize; 2],
    /// Rows and columns of each plane.
    size: [usize; 2],
}

impl Planes {
    /// All that a plan's taps read.
    pub(super) fn of(plan: &Plan) -> Self {
        let reach = |axis: usize| {
            let places = || {
                let taps = plan.classes.iter().flat_map(|class| &class.taps);
                taps.map(move |tap| [tap.row, tap.column][axis])
            };
            let extents = plan
                .classes
                .iter()
                .map(|class| [class.height, class.width][axis]);
            let step = plan.read_step[axis];
            let first = places().min().unwrap_or(0);
            let last = places().max().unwrap_or(0);
            let shifts = (last - first) as usize / step;
            (first, shifts + extents.max().unwrap_or(0))
        };
        let [(top, rows), (left, columns)] = [reach(0), reach(1)];
        Self {
            source: plan.source.1,
            first: [top, left],
            step: plan.read_step,
            size: [rows, columns],
        }
    }

    /// Distance of two rows of a plane.
    pub(super) fn pitch(&self) -> usize {
        self.size[1]
    }

    /// Numbers of all planes of a channel.
    pub(super) fn len(&self) -> usize {
        self.size[0] * self.size[1] * self.step[0] * self.step[1]
    }

    /// Where each tap of a class finds what the class's first position reads, in the planes of a channel.
    pub(super) fn offsets<'a>(&'a self, class: &'a Class) -> impl Iterator<Item = usize> + 'a {
        class.taps.iter().map(|tap| {
            let place = [tap.row, tap.column];
            let place = [0, 1].map(|axis| (place[axis] - self.first[axis]) as usize);
            let [phase, shift] = [
                [0, 1].map(|axis| place[axis] % self.step[axis]),
                [0, 1].map(|axis| place[axis] / self.step[axis]),
            ];
            let plane = phase[0] * self.step[1] + phase[1];
            (plane * self.size[0] + shift[0]) * self.size[1] + shift[1]
        })
    }

    /// Copies a plane of the image to the planes of a channel, which take [`Self::len`] numbers; `map` is that of the channel, if entries
    /// go through one. Zeros around stay zeros.
    pub(super) fn fill(&self, from: &[f32], map: Option<Channels<'_, f32>>, to: &mut [f32]) {
        vectorised(
            #[inline(always)]
            move || self.copy(from, map, to),
        );
    }

    #[inline(always)]
    fn copy(&self, from: &[f32], map: Option<Channels<'_, f32>>, to: &mut [f32]) {
        let width = self.source[1];
        let [rows, columns] = self.size;
        // Positions i whose place `first + phase + i step` lies in the image, and the place of the first.
        let live = |axis: usize, phase: usize| {
            let (start, step) = (self.first[axis] + phase as isize, self.step[axis]);
            let before = |place: isize| (place - start).max(0) as usize;
            let begin = before(0).div_ceil(step).min(self.size[axis]);
            let end = before(self.source[axis] as isize).div_ceil(step);
            let end = end.clamp(begin, self.size[axis]);
            (begin, end, (start + (begin * step) as isize) as usize)
        };
        let mut planes = to.chunks_exact_mut((rows * columns).max(1));
        for (r, c) in (0..self.step[0]).flat_map(|r| (0..self.step[1]).map(move |c| (r, c))) {
            let plane = planes.next().expect("a plane for each phase");
            let (top, bottom, mut row) = live(0, r);
            let (left, right, column) = live(1, c);
            if top >= bottom || left >= right {
                plane.fill(0.0);
                continue;
            }
            plane[..top * columns].fill(0.0);
            plane[bottom * columns..].fill(0.0);
            for line in plane[top * columns..bottom * columns].chunks_exact_mut(columns) {
                line[..left].fill(0.0);
                line[right..].fill(0.0);
                let from = &from[row * width..(row + 1) * width][column..];
                let line = &mut line[left..right];
                match self.step[1] {
                    1 => line.copy_from_slice(&from[..line.len()]),
                    2 => every_second(line, from),
                    step => {
                        let taken = from.iter().step_by(step);
                        line.iter_mut()
                            .zip(taken)
                            .for_each(|(to, from)| *to = *from);
                    }
                }
                row += self.step[0];
            }
            // All rows at once: single ones are short.
            if let Some(map) = map {
                let rows = &mut plane[top * columns..bottom * columns];
                map.line(rows);
                for line in rows.chunks_exact_mut(columns) {
                    line[..left].fill(0.0);
                    line[right..].fill(0.0);
                }
            }
        }
    }
}

/// Every second number; in pairs, which the compiler turns into vectors.
#[inline(always)]
fn every_second(to: &mut [f32], from: &[f32]) {
    let (pairs, rest) = from.as_chunks::<2>();
    let whole = to.len().min(pairs.len());
    let (firsts, last) = to.split_at_mut(whole);
    for (to, [first, _]) in firsts.iter_mut().zip(pairs) {
        *to = *first;
    }
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
}
