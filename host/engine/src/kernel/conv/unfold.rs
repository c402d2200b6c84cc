//! The portable way, for all types and shapes: unfolding in blocks of channels and `gemm`.
//!
//! A task is a chunk of whole images and a block of channels, both fixed by the shape. Small images are joined side by
//! side until a product has some 1,024 columns.

use crate::kernel::Disjoint;
use crate::kernel::elementary::Elementary;
use crate::kernel::gemm::{gemm, settle};
use crate::kernel::im2col::{ConvShape, col2im, im2col};
use crate::kernel::matrix::Matrix;
use crate::kernel::scratch::TASKS;
use crate::kernel::tasks::each;

/// Output positions that one product spans: enough to amortise packing, small enough for the unfolding to stay in cache.
const COLUMNS: usize = 1024;
/// Rows of the unfolding (channels times taps) made at a time: 32 channels of a 3x3 kernel.
const UNFOLDED_ROWS: usize = 288;
/// Channels that one task of an input gradient or of a forward pass covers.
const TASK_CHANNELS: usize = 128;
/// Tasks wanted for a weight gradient, reached by splitting the batch where channels alone give fewer.
const WEIGHT_TASKS: usize = 8;

/// Images joined in one product.
fn images_per_chunk(shape: &ConvShape) -> usize {
    let joined = COLUMNS / shape.output_plane().max(1);
    joined.clamp(1, shape.batch.div_ceil(4).max(1))
}

/// Input channels unfolded at a time.
fn channels_per_block(shape: &ConvShape) -> usize {
    (UNFOLDED_ROWS / shape.taps()).clamp(8, TASK_CHANNELS)
}

/// The channel blocks `(start, len)` of `total` channels.
fn blocks(total: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    let starts = (0..total).step_by(size.max(1));
    starts.map(move |start| (start, size.min(total - start)))
}

/// Copies `channels` planes of each of `images` images side by side: row c holds plane c of every image.
fn join<T: Elementary>(
    planes: impl Fn(usize) -> usize,
    data: &[T],
    images: usize,
    channels: usize,
    plane: usize,
    out: &mut [T],
) {
    for j in 0..images {
        let image = &data[planes(j)..][..channels * plane];
        for (c, from) in image.chunks_exact(plane).enumerate() {
            out[(c * images + j) * plane..][..plane].copy_from_slice(from);
        }
    }
}

/// `y[n, o] = sum over c of x[n, c] * w[o, c]`.
///
/// # Shapes
/// x (N, C, H, W), w (O, C / groups, KH, KW) give (N, O, OH, OW), all row-major.
pub(crate) fn forward<T: Elementary>(shape: &ConvShape, x: &[T], w: &[T]) -> Vec<T> {
    let (plane, taps, chunk) = (shape.output_plane(), shape.taps(), images_per_chunk(shape));
    let block = channels_per_block(shape);
    let [c_in, c_out] = shape.group_channels();
    let mut y = vec![T::ZERO; shape.batch * shape.out_channels * plane];
    if y.is_empty() {
        return y;
    }
    let parts = Disjoint::new(&mut y);
    let tasks: Vec<_> = blocks(shape.batch, chunk)
        .flat_map(|images| (0..shape.groups).map(move |group| (images, group)))
        .flat_map(|(images, group)| {
            blocks(c_out, 2 * TASK_CHANNELS).map(move |o| (images, group, o))
        })
        .collect();
    settle();
    each(tasks.len(), |task| {
        let ((first, images), group, (o, outputs)) = tasks[task];
        let row = images * plane;
        let channel = group * c_out + o;
        let weight = |c: usize| Matrix::rows(&w[(channel * c_in + c) * taps..], c_in * taps);
        let input = |j: usize, c: usize, channels: usize| {
            let start = ((first + j) * shape.in_channels + group * c_in + c) * shape.input_plane();
            &x[start..][..channels * shape.input_plane()]
        };
        // SAFETY: a task has its own images and output channels, and takes one image's part at a time.
        let output = |j: usize| unsafe {
            parts.part(
                ((first + j) * shape.out_channels + channel) * plane,
                outputs * plane,
            )
        };
        let joined = if images == 1 { 0 } else { outputs * row };
        let lens = [block.min(c_in) * taps * row, joined];
        TASKS.with(lens, |[columns, joined]: [&mut [T]; 2]| {
            let mut product = |out: &mut [T]| {
                for (c, channels) in blocks(c_in, block) {
                    for j in 0..images {
                        im2col(shape, input(j, c, channels), columns, row, j * plane);
                    }
                    let size = (outputs, row, channels * taps);
                    gemm(size, out, row, c > 0, weight(c), Matrix::rows(columns, row));
                }
            };
            if images == 1 {
                product(output(0));
                return;
            }
            product(joined);
            for j in 0..images {
                let planes = output(j).chunks_exact_mut(plane);
                for (c, to) in planes.enumerate() {
                    to.copy_from_slice(&joined[c * row + j * plane..][..plane]);
                }
            }
        });
    });
    y
}

/// The gradient of the input: the transpose of [`forward`] in x.
///
/// # Shapes
/// g (N, O, OH, OW), w (O, C / groups, KH, KW) give (N, C, H, W).
pub(crate) fn input_grad<T: Elementary>(shape: &ConvShape, g: &[T], w: &[T]) -> Vec<T> {
    let (plane, taps, chunk) = (shape.output_plane(), shape.taps(), images_per_chunk(shape));
    let block = channels_per_block(shape);
    let [c_in, c_out] = shape.group_channels();
    let input_plane = shape.input_plane();
    let mut dx = vec![T::ZERO; shape.batch * shape.in_channels * input_plane];
    if dx.is_empty() || g.is_empty() {
        return dx;
    }
    let parts = Disjoint::new(&mut dx);
    let tasks: Vec<_> = blocks(shape.batch, chunk)
        .flat_map(|images| (0..shape.groups).map(move |group| (images, group)))
        .flat_map(|(images, group)| blocks(c_in, TASK_CHANNELS).map(move |c| (images, group, c)))
        .collect();
    settle();
    each(tasks.len(), |task| {
        let ((first, images), group, (start, span)) = tasks[task];
        let row = images * plane;
        let cotangent = |j: usize| ((first + j) * shape.out_channels + group * c_out) * plane;
        let weight = |c: usize| {
            Matrix::rows(&w[(group * c_out * c_in + c) * taps..], c_in * taps).transposed()
        };
        // SAFETY: a task has its own images and input channels, and takes one block's part at a time.
        let output = |j: usize, c: usize, channels: usize| unsafe {
            let channel = (first + j) * shape.in_channels + group * c_in + c;
            parts.part(channel * input_plane, channels * input_plane)
        };
        let spread = |rows: &[T], columns: &mut [T]| {
            for (c, channels) in blocks(span, block) {
                let size = (channels * taps, row, c_out);
                gemm(
                    size,
                    columns,
                    row,
                    false,
                    weight(start + c),
                    Matrix::rows(rows, row),
                );
                for j in 0..images {
                    col2im(
                        shape,
                        output(j, start + c, channels),
                        columns,
                        row,
                        j * plane,
                    );
                }
            }
        };
        let joined = if images == 1 { 0 } else { c_out * row };
        let lens = [block.min(span) * taps * row, joined];
        TASKS.with(lens, |[columns, joined]: [&mut [T]; 2]| {
            if images == 1 {
                spread(&g[cotangent(0)..][..c_out * plane], columns);
            } else {
                join(cotangent, g, images, c_out, plane, joined);
                spread(joined, columns);
            }
        });
    });
    dx
}

/// The gradient of the weight: partial sums over fixed parts of the batch, added in their order.
///
/// # Shapes
/// x (N, C, H, W), g (N, O, OH, OW) give (O, C / groups, KH, KW).
pub(crate) fn weight_grad<T: Elementary>(shape: &ConvShape, x: &[T], g: &[T]) -> Vec<T> {
    let (plane, taps, chunk) = (shape.output_plane(), shape.taps(), images_per_chunk(shape));
    let block = channels_per_block(shape);
    let [c_in, c_out] = shape.group_channels();
    let count = shape.out_channels * c_in * taps;
    let chunks: Vec<_> = blocks(shape.batch, chunk).collect();
    if count == 0 || chunks.is_empty() || plane == 0 {
        return vec![T::ZERO; count];
    }
    let channel_tasks = shape.groups * c_in.div_ceil(block);
    let splits = WEIGHT_TASKS.div_ceil(channel_tasks).min(chunks.len());
    let mut partial = vec![T::ZERO; splits * count];
    let parts = Disjoint::new(&mut partial);
    let tasks: Vec<_> = (0..splits)
        .flat_map(|split| (0..shape.groups).map(move |group| (split, group)))
        .flat_map(|(split, group)| blocks(c_in, block).map(move |c| (split, group, c)))
        .collect();
    settle();
    each(tasks.len(), |task| {
        let (split, group, (c, channels)) = tasks[task];
        let mine = &chunks[split * chunks.len() / splits..(split + 1) * chunks.len() / splits];
        let width = channels * taps;
        // Both factors run along the positions; the narrower one is the cheaper to turn while packing.
        let turned = c_out < width;
        let row_max = chunk * plane;
        let lens = [c_out * width, width * row_max, c_out * row_max];
        TASKS.with(lens, |[sum, columns, joined]: [&mut [T]; 3]| {
            for (k, &(first, images)) in mine.iter().enumerate() {
                let row = images * plane;
                let cotangent =
                    |j: usize| ((first + j) * shape.out_channels + group * c_out) * plane;
                let input = |j: usize| {
                    let channel = (first + j) * shape.in_channels + group * c_in + c;
                    &x[channel * shape.input_plane()..][..channels * shape.input_plane()]
                };
                for j in 0..images {
                    im2col(shape, input(j), columns, row, j * plane);
                }
                let rows = if images == 1 {
                    &g[cotangent(0)..][..c_out * plane]
                } else {
                    join(cotangent, g, images, c_out, plane, joined);
                    &*joined
                };
                let (left, right) = (Matrix::rows(rows, row), Matrix::rows(columns, row));
                if turned {
                    let size = (width, c_out, row);
                    gemm(size, sum, c_out, k > 0, right, left.transposed());
                } else {
                    let size = (c_out, width, row);
                    gemm(size, sum, width, k > 0, left, right.transposed());
                }
            }
            for o in 0..c_out {
                let start = split * count + ((group * c_out + o) * c_in + c) * taps;
                // SAFETY: a task has its own split, group and input channels; each row is taken once.
                let filter = unsafe { parts.part(start, width) };
                if turned {
                    let column = sum[o..].iter().step_by(c_out);
                    filter
                        .iter_mut()
                        .zip(column)
                        .for_each(|(to, from)| *to = *from);
                } else {
                    filter.copy_from_slice(&sum[o * width..][..width]);
                }
            }
        });
    });
    let (sum, rest) = partial.split_at_mut(count);
    for part in rest.chunks_exact(count) {
        sum.iter_mut().zip(part).for_each(|(a, b)| *a += *b);
    }
    partial.truncate(count);
    partial
}
