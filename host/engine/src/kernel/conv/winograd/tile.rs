//! Two-dimensional transforms between planes of channels and the products of tiles.
//!
//! A band is a run of tile rows of one image. Transformed values lie as `[product][block of channels][tile][lane]`; the caller says
//! how far apart two products are.

use super::transform::{self, POINTS, Six, TILE};
use super::{Band, Geometry};
use crate::kernel::batch_norm::Channels;
use crate::kernel::conv::window::Window;
use crate::kernel::lanes::Lanes;
use crate::kernel::layout::{every, from_blocked};

/// Numbers of scratch that [`transformed`] and [`output`] need.
pub(crate) fn scratch_len(g: &Geometry, lanes: usize) -> usize {
    let width = g.tiles_w * TILE + 2;
    let rows = g.band_rows * TILE + 2;
    (rows + POINTS) * width * lanes
}

/// What tiles are made of: a transform along one axis, from `IN` registers to six, and what a band of them sees.
pub(crate) trait Tiles<S: Lanes, const IN: usize> {
    fn transform(s: S, d: [S::V; IN]) -> Six<S>;
    fn window(g: &Geometry, band: &Band) -> Window;
}

/// `B^T d B` of planes of the input.
pub(crate) struct Input;

impl<S: Lanes> Tiles<S, POINTS> for Input {
    #[inline(always)]
    fn transform(s: S, d: Six<S>) -> Six<S> {
        transform::input(s, d)
    }

    fn window(g: &Geometry, band: &Band) -> Window {
        Window {
            height: g.input[0],
            width: g.input[1],
            first: (band.tile_row * TILE) as isize - g.padding[0] as isize,
            rows: band.tile_rows * TILE + 2,
            left: g.padding[1],
            columns: g.tiles_w * TILE + 2,
        }
    }
}

/// `A g A^T` of planes of the output's gradient.
pub(crate) struct Grad;

impl<S: Lanes> Tiles<S, TILE> for Grad {
    #[inline(always)]
    fn transform(s: S, d: [S::V; TILE]) -> Six<S> {
        transform::output_grad(s, d)
    }

    fn window(g: &Geometry, band: &Band) -> Window {
        Window {
            height: g.output[0],
            width: g.output[1],
            first: (band.tile_row * TILE) as isize,
            rows: band.tile_rows * TILE,
            left: 0,
            columns: g.tiles_w * TILE,
        }
    }
}

/// Transforms every tile of one band and `channels` channels along both axes: rows first, into a line of tiles behind the window, then
/// columns.
///
/// # Safety
/// `x` has `channels` planes of the image, and their map if there is one; `v` takes a block of the band's tiles for each product, `product` apart; `scratch` has
/// [`scratch_len`] numbers.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn transformed<T: Tiles<S, IN>, S: Lanes, const IN: usize>(
    s: S,
    g: &Geometry,
    band: &Band,
    x: (*const f32, Option<Channels<'_, f32>>),
    channels: usize,
    v: *mut f32,
    product: usize,
    scratch: *mut f32,
) {
    let window = T::window(g, band);
    // SAFETY: the caller's promise; the scratch holds the window and a line of tiles.
    unsafe { window.fill(s, x, channels, scratch) };
    s.run(
        #[inline(always)]
        || {
            let (zero, columns) = (s.splat(0.0), window.columns);
            let line = scratch.wrapping_add(window.len(S::LANES));
            for ty in 0..band.tile_rows {
                let rows = scratch.wrapping_add(ty * TILE * columns * S::LANES);
                // SAFETY: as above.
                unsafe {
                    for column in 0..columns {
                        let mut d = [zero; IN];
                        for (r, d) in d.iter_mut().enumerate() {
                            *d = s.load(rows.wrapping_add((r * columns + column) * S::LANES));
                        }
                        for (r, d) in T::transform(s, d).into_iter().enumerate() {
                            s.store(line.wrapping_add((r * columns + column) * S::LANES), d);
                        }
                    }
                    for tx in 0..g.tiles_w {
                        let tile = v.wrapping_add((ty * g.tiles_w + tx) * S::LANES);
                        for r in 0..POINTS {
                            let mut d = [zero; IN];
                            for (c, d) in d.iter_mut().enumerate() {
                                let place = r * columns + tx * TILE + c;
                                *d = s.load(line.wrapping_add(place * S::LANES));
                            }
                            for (c, d) in T::transform(s, d).into_iter().enumerate() {
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
#[allow(clippy::too_many_arguments)]
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
