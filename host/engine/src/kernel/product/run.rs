//! Runs a product part by part.

use super::block::Block;
use super::micro::Panel;
use super::pack::{self, Groups};
use super::{Product, Start};
use crate::kernel::fetch::fetch_ahead;
use crate::kernel::lanes::Lanes;
use crate::kernel::matrix::Matrix;
use crate::kernel::scratch::PRODUCTS;

/// Words of the depth that are packed at a time, a multiple of all units: a panel of B then fits the first-level cache.
const DEPTH: usize = 192;
/// Blocks of A and columns of B that are packed at a time: both fit the second-level cache.
const BLOCKS: usize = 14;
const COLUMNS: usize = 512;

/// Computes a product.
///
/// # Safety
/// The factors hold all entries and have a stride of 1 each, `start` has one for each column; `out` takes all rows, and nobody else reads or writes them.
pub(super) unsafe fn run<S: Lanes, W: Block<S>>(
    (s, words): (S, W),
    size: &Product,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
    start: Start<'_, f32>,
    out: *mut f32,
) {
    let lanes = S::LANES;
    let most = |all: usize, part: usize| all.min(part);
    let blocks = size.m.div_ceil(W::ROWS).min(BLOCKS);
    let panels = most(size.n, COLUMNS).div_ceil(2 * lanes);
    let words_of = |steps: usize| steps.div_ceil(W::STEPS).next_multiple_of(W::UNIT);
    let depth = most(words_of(size.k), DEPTH);
    let (_lease, [left, right]) =
        PRODUCTS.lend::<f32, 2>([blocks * depth * W::LINES, panels * depth * 2 * lanes]);
    let (left, right) = (left.at(0), right.at(0));
    let columns_of_b = b.transposed();
    if let Start::Row(row) = start {
        for i in 0..size.m {
            // SAFETY: the rows of the result are the caller's.
            let to = unsafe { std::slice::from_raw_parts_mut(out.add(i * size.stride), size.n) };
            to.copy_from_slice(&row[..size.n]);
        }
    }
    words.run(
        s,
        #[inline(always)]
        || {
            for column in (0..size.n).step_by(COLUMNS) {
                let columns = COLUMNS.min(size.n - column);
                for k in (0..size.k).step_by(DEPTH * W::STEPS) {
                    let steps = (DEPTH * W::STEPS).min(size.k - k);
                    let depth = words_of(steps);
                    let groups = Groups {
                        width: 2 * lanes,
                        step: 2 * lanes,
                        depth,
                    };
                    // SAFETY: columns of B; each panel has `depth` words of two registers.
                    unsafe {
                        let (from, size) = ((column, k), (columns, steps));
                        pack::lines((s, words), &columns_of_b, from, size, groups, right);
                        if let Some(map) = columns_of_b.map {
                            pack::through(s, map.from(column, k), size, groups, right);
                        }
                    }
                    for row in (0..size.m).step_by(BLOCKS * W::ROWS) {
                        let rows = (BLOCKS * W::ROWS).min(size.m - row);
                        // SAFETY: rows of A; each block has `depth` words of its lines.
                        unsafe { words.pack(s, &a, (row, k), (rows, steps), depth, left) };
                        for panel in (0..columns).step_by(2 * lanes) {
                            let b = right.wrapping_add(panel * depth);
                            let size = Panel {
                                depth,
                                columns: (2 * lanes).min(columns - panel),
                                stride: size.stride,
                                accumulate: k > 0 || !matches!(start, Start::Zeros),
                            };
                            for first in (0..rows).step_by(W::ROWS) {
                                let count = W::ROWS.min(rows - first);
                                let a = left.wrapping_add(first / W::ROWS * depth * W::LINES);
                                let c = (row + first) * size.stride + column + panel;
                                let c = out.wrapping_add(c);
                                // The result is mostly not in the caches, and rows of it are far apart.
                                for i in 0..count {
                                    let next = c.wrapping_add(i * size.stride + 2 * lanes);
                                    fetch_ahead(next, 0);
                                    fetch_ahead(next.wrapping_add(lanes), 0);
                                }
                                // SAFETY: packed above; the rows and columns of the result are the caller's.
                                unsafe {
                                    Block::multiply(words, s, count, &size, (a, b), c);
                                }
                            }
                        }
                    }
                }
            }
        },
    );
}
