//! Two-dimensional transforms between planes of channels and the products of tiles.
//!
//! A band is a run of tile rows of one image. Transformed values lie as `[product][block of channels][tile][lane]`; the caller says
//! how far apart two products are.

use super::transform::{self, POINTS, TILE};
use super::{Band, Geometry};
use crate::engine::kernel::conv::lanes::Lanes;
use crate::engine::kernel::conv::layout::{every, from_blocked, to_blocked};

/// Numbers of scratch that [`input`], [`output_grad`] and [`output`] need.
pub(crate) fn scratch_len(g: &Geometry, lanes: usize) -> usize {
    let width = g.tiles_w * TILE + 2;
    let rows = g.band_rows * TILE + 2;
    (rows + POINTS) * width * lanes
}

/// `B^T d B` of every tile of one band and `channels` channels.
///
/// # Safety
/// `x` has `channels` planes of the image; `v` takes a block of the band's tiles for each product, `product` apart; `scratch` has
/// [`scratch_len`] numbers.
pub(crate) unsafe fn input<S: Lanes>(
    s: S,
    g: &Geometry,
    band: &Band,
    x: *const f32,
    channels: usize,
    v: *mut f32,
    product: usize,
    scratch: *mut f32,
) {
    s.run(
        #[inline(always)]
        || {
            let [height, width] = g.input;
            let [top, left] = g.padding;
            let padded_w = g.tiles_w * TILE + 2;
            let rows = band.tile_rows * TILE + 2;
            // Row r of the scratch is row first + r of the image.
            let first = (band.tile_row * TILE) as isize - top as isize;
            let begin = first.max(0) as usize;
            let end = ((first + rows as isize).max(0) as usize)
                .min(height)
                .max(begin);
            let at = |row: usize, column: usize| {
                scratch.wrapping_add((row * padded_w + column) * S::LANES)
            };
            let zero = s.splat(0.0);
            // SAFETY: rows and columns are inside the scratch, places in the planes inside the image.
            unsafe {
                let above = ((begin as isize - first) as usize).min(rows);
                let below = (above + end - begin).min(rows);
                for row in (0..above).chain(below..rows) {
                    for column in 0..padded_w {
                        s.store(at(row, column), zero);
                    }
                }
                for row in above..below {
                    for column in (0..left).chain(left + width..padded_w) {
                        s.store(at(row, column), zero);
                    }
                }
                let (mut row, mut column) = (above, 0);
                let mut next = || {
                    let here = at(row, left + column);
                    column += 1;
                    if column == width {
                        column = 0;
                        row += 1;
                    }
                    here
                };
                let from = x.wrapping_add(begin * width);
                let count = (end - begin) * width;
                to_blocked(s, from, height * width, channels, count, &mut next);
                let lines = scratch.wrapping_add(rows * padded_w * S::LANES);
                let line = |r: usize, column: usize| {
                    lines.wrapping_add((r * padded_w + column) * S::LANES)
                };
                for ty in 0..band.tile_rows {
                    for column in 0..padded_w {
                        let mut d = [zero; POINTS];
                        for (r, d) in d.iter_mut().enumerate() {
                            *d = s.load(at(ty * TILE + r, column));
                        }
                        for (r, d) in transform::input(s, d).into_iter().enumerate() {
                            s.store(line(r, column), d);
                        }
                    }
                    for tx in 0..g.tiles_w {
                        let tile = v.wrapping_add((ty * g.tiles_w + tx) * S::LANES);
                        for r in 0..POINTS {
                            let mut d = [zero; POINTS];
                            for (c, d) in d.iter_mut().enumerate() {
                                *d = s.load(line(r, tx * TILE + c));
                            }
                            for (c, d) in transform::input(s, d).into_iter().enumerate() {
                                s.store(tile.wrapping_add((r * POINTS + c) * product), d);
                            }
                        }
                    }
                }
            }
        },
    );
}

/// `A g A^T` of every tile of one band and `channels` channels of an output's gradient.
///
/// # Safety
/// As [`input`], for planes of the output.
pub(crate) unsafe fn output_grad<S: Lanes>(
    s: S,
    g: &Geometry,
    band: &Band,
    grad: *const f32,
    channels: usize,
    v: *mut f32,
    product: usize,
    scratch: *mut f32,
) {
    s.run(
        #[inline(always)]
        || {
            let [height, width] = g.output;
            let padded_w = g.tiles_w * TILE;
            let begin = band.tile_row * TILE;
            let rows = (height - begin).min(band.tile_rows * TILE);
            let at = |row: usize, column: usize| {
                scratch.wrapping_add((row * padded_w + column) * S::LANES)
            };
            let zero = s.splat(0.0);
            // SAFETY: as in `input`.
            unsafe {
                for row in 0..band.tile_rows * TILE {
                    let from = if row < rows { width } else { 0 };
                    for column in from..padded_w {
                        s.store(at(row, column), zero);
                    }
                }
                let (mut row, mut column) = (0, 0);
                let from = grad.wrapping_add(begin * width);
                to_blocked(s, from, height * width, channels, rows * width, || {
                    let here = at(row, column);
                    column += 1;
                    if column == width {
                        column = 0;
                        row += 1;
                    }
                    here
                });
                let lines = scratch.wrapping_add(band.tile_rows * TILE * padded_w * S::LANES);
                let line = |r: usize, column: usize| {
                    lines.wrapping_add((r * padded_w + column) * S::LANES)
                };
                for ty in 0..band.tile_rows {
                    for column in 0..padded_w {
                        let mut d = [zero; TILE];
                        for (r, d) in d.iter_mut().enumerate() {
                            *d = s.load(at(ty * TILE + r, column));
                        }
                        for (r, d) in transform::output_grad(s, d).into_iter().enumerate() {
                            s.store(line(r, column), d);
                        }
                    }
                    for tx in 0..g.tiles_w {
                        let tile = v.wrapping_add((ty * g.tiles_w + tx) * S::LANES);
                        for r in 0..POINTS {
                            let mut d = [zero; TILE];
                            for (c, d) in d.iter_mut().enumerate() {
                                *d = s.load(line(r, tx * TILE + c));
                            }
                            for (c, d) in transform::output_grad(s, d).into_iter().enumerate() {
                                s.store(tile.wrapping_add((r * POINTS + c) * product), d);
                            }
                        }
                    }
                }
            }
        },
    );
}

/// `A^T m A` of every tile of one band and `channels` channels, written to planes of the output.
///
/// # Safety
/// `m` has a block of the band's tiles for each product, `product` apart; `y` has `channels` planes of the image; `scratch` has
/// [`scratch_len`] numbers.
pub(crate) unsafe fn output<S: Lanes>(
    s: S,
    g: &Geometry,
    band: &Band,
    m: *const f32,
    product: usize,
    channels: usize,
    y: *mut f32,
    scratch: *mut f32,
) {
    s.run(
        #[inline(always)]
        || {
            let [height, width] = g.output;
            let zero = s.splat(0.0);
            let mut pending = 0;
            for ty in 0..band.tile_rows {
                let top = (band.tile_row + ty) * TILE;
                let rows = TILE.min(height - top);
                // SAFETY: products of the band's tiles; the scratch holds all rows of the band.
                unsafe {
                    for tx in 0..g.tiles_w {
                        let tile = m.wrapping_add((ty * g.tiles_w + tx) * S::LANES);
                        let mut half = [[zero; POINTS]; TILE];
                        for c in 0..POINTS {
                            let mut d = [zero; POINTS];
                            for (r, d) in d.iter_mut().enumerate() {
                                *d = s.load(tile.wrapping_add((r * POINTS + c) * product));
                            }
                            for (half, d) in half.iter_mut().zip(transform::output(s, d)) {
                                half[c] = d;
                            }
                        }
                        let columns = TILE.min(width - tx * TILE);
                        for (r, half) in half.into_iter().enumerate().take(rows) {
                            let row = scratch
                                .wrapping_add(((pending + r) * width + tx * TILE) * S::LANES);
                            let out = transform::output(s, half);
                            for (c, v) in out.into_iter().enumerate().take(columns) {
                                s.store(row.wrapping_add(c * S::LANES), v);
                            }
                        }
                    }
                    pending += rows;
                    // Whole registers of positions go back while they are in cache; the rest waits for the next row.
                    if (pending * width) % S::LANES == 0 || ty + 1 == band.tile_rows {
                        let first = top + rows - pending;
                        let to = y.wrapping_add(first * width);
                        let from = every(scratch, S::LANES);
                        from_blocked(s, from, height * width, channels, pending * width, to);
                        pending = 0;
                    }
                }
            }
        },
    );
}
