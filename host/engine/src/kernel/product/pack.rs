//! The factors of a product as the micro-kernel reads them: word by word of the depth, the rows of A or the columns of B side by side; or
//! the rows of A by tiles.

use super::words::Words;
use crate::kernel::fetch::fetch_ahead;
use crate::kernel::lanes::Lanes;
use crate::kernel::layout::{load, squares};
use crate::kernel::matrix::{Map, Matrix};

/// Rows of a tile, and words of each.
pub(in crate::kernel) const SIDE: usize = 16;

/// Groups of packed lines: `width` lines side by side, and `depth` places of `step` numbers for their words.
#[derive(Clone, Copy)]
pub(super) struct Groups {
    pub(super) width: usize,
    pub(super) step: usize,
    pub(super) depth: usize,
}

/// Numbers between two rows from which on what is packed next is mostly the rest of the same rows, not the rows after them.
const FAR: usize = 1024;
/// Words of the depth that are asked for ahead where a factor is read step by step.
const STEPS_AHEAD: usize = 2;

/// Writes `lines` rows of A from `(row, depth)` on, `count` steps deep: word k of a group to its place k, whole registers. Steps that the last
/// word lacks, and words up to a whole unit, are zeros.
///
/// B's columns are the rows of its transpose. The entries are read in the order in which they lie: a factor is mostly not in the caches, and
/// read in the order of the groups it came at a third of the speed.
///
/// # Safety
/// The matrix has these entries; `to` takes all groups. The code around is compiled for these instructions.
#[inline(always)]
pub(super) unsafe fn lines<S: Lanes, W: Words<S>>(
    (s, words): (S, W),
    from: &Matrix<'_, f32>,
    (row, depth): (usize, usize),
    (lines, count): (usize, usize),
    groups: Groups,
    to: *mut f32,
) {
    let start = row * from.row_stride + depth * from.col_stride;
    let start = from.data.as_ptr().wrapping_add(start);
    let Groups { width, step, depth } = groups;
    let filled = count.div_ceil(W::STEPS);
    // SAFETY: the caller's promise.
    unsafe {
        if from.row_stride == 1 {
            let from = (start, from.col_stride);
            side_by_side((s, words), from, (lines, count), groups, to);
        }
        for first in (0..lines).step_by(width) {
            let live = width.min(lines - first);
            let to = to.wrapping_add(first / width * depth * step);
            for part in (0..live).step_by(S::LANES) {
                let to = to.wrapping_add(part);
                if from.row_stride != 1 {
                    let here = start.wrapping_add((first + part) * from.row_stride);
                    let size = (S::LANES.min(live - part), count);
                    turned((s, words), (here, from.row_stride), size, to, step);
                }
                for word in filled..filled.next_multiple_of(W::UNIT) {
                    s.store(to.wrapping_add(word * step), s.splat(0.0));
                }
            }
        }
    }
}

/// Takes packed lines of f32, `count` steps deep, through the map of the lines, or of the steps.
///
/// # Safety
/// As [`lines`], which wrote them.
#[inline(always)]
pub(super) unsafe fn through<S: Lanes>(
    s: S,
    map: Map<'_, f32>,
    (lines, count): (usize, usize),
    groups: Groups,
    to: *mut f32,
) {
    let Groups { width, step, depth } = groups;
    for first in (0..lines).step_by(width) {
        let group = to.wrapping_add(first / width * depth * step);
        // SAFETY: the caller's promise: whole registers of each step.
        unsafe {
            if map.by_row {
                map.lines
                    .from(first)
                    .registers(s, group, (count, step / S::LANES));
                continue;
            }
            for k in 0..count {
                let entries = std::slice::from_raw_parts_mut(group.wrapping_add(k * step), step);
                map.lines.from(k).line(entries);
            }
        }
    }
}

/// Writes rows that lie side by side, their steps `stride` apart.
///
/// # Safety
/// As [`lines`].
#[inline(always)]
unsafe fn side_by_side<S: Lanes, W: Words<S>>(
    (s, words): (S, W),
    (start, stride): (*const f32, usize),
    (lines, count): (usize, usize),
    groups: Groups,
    to: *mut f32,
) {
    let Groups { width, step, depth } = groups;
    let ahead = STEPS_AHEAD * W::STEPS * stride * size_of::<f32>();
    for word in 0..count.div_ceil(W::STEPS) {
        let has_second = count - word * W::STEPS > 1;
        let mut here = start.wrapping_add(word * W::STEPS * stride);
        let mut to = to.wrapping_add(word * step);
        for first in (0..lines).step_by(width) {
            let live = width.min(lines - first);
            for part in (0..live).step_by(S::LANES) {
                let live = S::LANES.min(live - part);
                let from = here.wrapping_add(part);
                fetch_ahead(from, ahead);
                // SAFETY: the caller's promise.
                unsafe {
                    let mut numbers = load(s, from, live);
                    if W::STEPS > 1 {
                        let second = from.wrapping_add(stride);
                        fetch_ahead(second, ahead);
                        let second = load(s, second, if has_second { live } else { 0 });
                        numbers = words.zipped(s, numbers, second);
                    }
                    s.store(to.wrapping_add(part), numbers);
                }
            }
            here = here.wrapping_add(width);
            to = to.wrapping_add(depth * step);
        }
    }
}

/// Writes `lines <= LANES` rows, `stride` apart, `count` steps deep: word k to `to[k step ..]`.
///
/// # Safety
/// As [`lines`].
#[inline(always)]
unsafe fn turned<S: Lanes, W: Words<S>>(
    (s, words): (S, W),
    (start, stride): (*const f32, usize),
    (lines, count): (usize, usize),
    to: *mut f32,
    step: usize,
) {
    let ahead = if stride < FAR { lines * stride } else { count };
    let ahead = ahead * size_of::<f32>();
    let mut next = to;
    // SAFETY: the caller's promise.
    unsafe {
        squares(
            s,
            (lines, count.div_ceil(W::STEPS)),
            #[inline(always)]
            |i, word, live| {
                let k = word * W::STEPS;
                let from = start.wrapping_add(i * stride + k);
                fetch_ahead(from, ahead);
                if W::STEPS == 1 {
                    return load(s, from, live);
                }
                // The last word may lack its second step.
                let steps = (W::STEPS * S::LANES).min(count - k);
                let (first, second) = (steps.min(S::LANES), steps.saturating_sub(S::LANES));
                let next = from.wrapping_add(S::LANES);
                fetch_ahead(next, ahead);
                words.joined(s, load(s, from, first), load(s, next, second))
            },
            #[inline(always)]
            || {
                next = next.wrapping_add(step);
                next.wrapping_sub(step)
            },
        );
    }
}

/// Writes `lines` rows of A from `(row, depth)` on, `count` steps deep, by tiles of the depth: each has place for two tiles of rows, row by row.
/// Steps that the last tile lacks are zeros, rows that it lacks stay.
///
/// # Safety
/// The matrix has these entries, `lines <= 2 SIDE`; words have two steps, registers `SIDE` words; `to` takes the tiles. The code around is
/// compiled for these instructions.
#[inline(always)]
pub(in crate::kernel) unsafe fn tiles<S: Lanes, W: Words<S>>(
    (s, words): (S, W),
    from: &Matrix<'_, f32>,
    (row, depth): (usize, usize),
    (lines, count): (usize, usize),
    to: *mut f32,
) {
    let start = row * from.row_stride + depth * from.col_stride;
    let start = from.data.as_ptr().wrapping_add(start);
    for k in (0..count).step_by(2 * SIDE) {
        let steps = (2 * SIDE).min(count - k);
        let here = start.wrapping_add(k * from.col_stride);
        let mut next = to.wrapping_add(k * SIDE);
        // SAFETY: the caller's promise.
        unsafe {
            if from.row_stride == 1 {
                squares(
                    s,
                    (SIDE, lines),
                    #[inline(always)]
                    |word, line, live| {
                        let first = here.wrapping_add(2 * word * from.col_stride + line);
                        let second = first.wrapping_add(from.col_stride);
                        let live = |step: usize| if step < steps { live } else { 0 };
                        let first = load(s, first, live(2 * word));
                        words.zipped(s, first, load(s, second, live(2 * word + 1)))
                    },
                    #[inline(always)]
                    || {
                        next = next.wrapping_add(SIDE);
                        next.wrapping_sub(SIDE)
                    },
                );
            } else {
                let (low, high) = (steps.min(SIDE), steps.saturating_sub(SIDE));
                for line in 0..lines {
                    let from = here.wrapping_add(line * from.row_stride);
                    let first = load(s, from, low);
                    let second = load(s, from.wrapping_add(SIDE), high);
                    s.store(next, words.joined(s, first, second));
                    next = next.wrapping_add(SIDE);
                }
            }
        }
    }
}
