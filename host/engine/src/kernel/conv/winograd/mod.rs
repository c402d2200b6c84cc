//! Convolution by 3x3 filters at stride 1 through Winograd's minimal filtering, F(4x4, 3x3) (Lavin and Gray, 2016): 36 instead of 144
//! products for 16 outputs.
//!
//! A task transforms the inputs of 32 or 64 tiles, multiplies tiles by weights once for each of the 36 products, and
//! transforms the result, all within the second-level cache. Against f64 the error is some 3e-6 of the output's root mean square.
//! The input gradient is the same with the filters turned; the weight gradient is the transpose of the algorithm.

mod filter;
mod forward;
mod tile;
mod transform;
mod weight_grad;

pub(crate) use forward::forward;
pub(crate) use weight_grad::weight_grad;

use crate::kernel::im2col::ConvShape;
use transform::TILE;

/// Tiles that one task works on at most.
const TASK_TILES: usize = 64;
/// Numbers between the matrices of two products beside their own: without it they would all start in one set of the cache.
const GAP: usize = 80;

/// One convolution at stride 1.
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) tiles_h: usize,
    pub(crate) tiles_w: usize,
    /// Most rows of tiles in a band.
    pub(crate) band_rows: usize,
}

/// Rows of tiles of one image.
#[derive(Clone, Copy)]
pub(crate) struct Band {
    pub(crate) image: usize,
    pub(crate) tile_row: usize,
    pub(crate) tile_rows: usize,
    /// The first of its tiles among those of its task.
    pub(crate) first: usize,
}

/// Bands that are worked on together, and their tiles.
pub(crate) struct Task {
    pub(crate) bands: Vec<Band>,
    pub(crate) tiles: usize,
}

impl Geometry {
    /// Whether a convolution can go this way: 3x3, stride 1, one group, and enough channels and outputs to fill blocks and tiles.
    pub(crate) fn applies(shape: &ConvShape) -> bool {
        const FEWEST: usize = 8;
        shape.kernel == [3, 3]
            && shape.stride == [1, 1]
            && shape.dilation == [1, 1]
            && shape.groups == 1
            && shape.padding.iter().all(|&p| p <= 2)
            && shape.in_channels >= FEWEST
            && shape.out_channels >= FEWEST
            && shape.output.iter().chain(&shape.input).all(|&n| n > 2)
    }

    /// The forward pass of a convolution.
    pub(crate) fn new(shape: &ConvShape) -> Self {
        let [tiles_h, tiles_w] = shape.output.map(|n| n.div_ceil(TILE));
        Self {
            batch: shape.batch,
            inputs: shape.in_channels,
            outputs: shape.out_channels,
            input: shape.input,
            output: shape.output,
            padding: shape.padding,
            tiles_h,
            tiles_w,
            band_rows: (TASK_TILES / tiles_w).clamp(1, tiles_h),
        }
    }

    /// The input gradient as a convolution of its own.
    pub(crate) fn adjoint(shape: &ConvShape) -> Self {
        Self::new(&ConvShape {
            in_channels: shape.out_channels,
            out_channels: shape.in_channels,
            input: shape.output,
            output: shape.input,
            padding: shape.padding.map(|p| 2 - p),
            ..*shape
        })
    }

    /// Tasks of at most `tiles` tiles, or one band; the shape alone decides.
    fn tasks(&self, tiles: usize) -> Vec<Task> {
        let band_rows = self.band_rows.min((tiles / self.tiles_w).max(1));
        let mut tasks: Vec<Task> = Vec::new();
        for image in 0..self.batch {
            for tile_row in (0..self.tiles_h).step_by(band_rows) {
                let tile_rows = band_rows.min(self.tiles_h - tile_row);
                let count = tile_rows * self.tiles_w;
                if tasks.last().is_none_or(|task| task.tiles + count > tiles) {
                    tasks.push(Task {
                        bands: Vec::new(),
                        tiles: 0,
                    });
                }
                let task = tasks.last_mut().expect("pushed above");
                task.bands.push(Band {
                    image,
                    tile_row,
                    tile_rows,
                    first: task.tiles,
                });
                task.tiles += count;
            }
        }
        tasks
    }
}
