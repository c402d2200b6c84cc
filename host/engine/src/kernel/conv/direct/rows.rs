//! What is worked on at a time: rows of a grid of positions, and the parts of the input that they see.

use crate::kernel::conv::window::Window;
use crate::kernel::im2col::ConvShape;

/// Rows of the grid of some images: some of one image, or all of several.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) image: usize,
    pub(super) images: usize,
    pub(super) row: usize,
    pub(super) rows: usize,
}

impl Rows {
    /// All rows of all images, about `most` positions at a time; the first part has as many as any.
    pub(super) fn all(batch: usize, [height, width]: [usize; 2], most: usize) -> Vec<Self> {
        let rows = (most / width.max(1)).clamp(1, height.max(1));
        let images = (most / (height * width).max(1)).clamp(1, batch.max(1));
        let starts = (0..batch).step_by(images);
        let starts =
            starts.flat_map(|image| (0..height).step_by(rows).map(move |row| (image, row)));
        let part = |(image, row)| Self {
            image,
            images: images.min(batch - image),
            row,
            rows: rows.min(height - row),
        };
        starts.map(part).collect()
    }

    pub(super) fn positions(&self, width: usize) -> usize {
        self.images * self.rows * width
    }
}

/// What the taps see for some rows of the output.
pub(super) fn window(shape: &ConvShape, row: usize, rows: usize) -> Window {
    let reach = |axis: usize, count: usize| {
        (count - 1) * shape.stride[axis] + (shape.kernel[axis] - 1) * shape.dilation[axis] + 1
    };
    Window {
        height: shape.input[0],
        width: shape.input[1],
        first: (row * shape.stride[0]) as isize - shape.padding[0] as isize,
        rows: reach(0, rows),
        left: shape.padding[1],
        columns: reach(1, shape.output[1]).max(shape.padding[1] + shape.input[1]),
    }
}

/// Fails unless the input and the output's gradient have the sizes of the shape.
pub(super) fn check_sizes(shape: &ConvShape, x: &[f32], grad: &[f32]) {
    let planes = [shape.input, shape.output].map(|[h, w]| h * w);
    assert!(
        x.len() == shape.batch * shape.in_channels * planes[0]
            && grad.len() == shape.batch * shape.out_channels * planes[1],
        "the slices have the sizes of the shape"
    );
}
