//! The unfolding of an image into the columns that turn a convolution into a matrix product, and its transpose.

use super::{Scalar, vectorised};

/// Sizes of a two-dimensional convolution; pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvShape {
    pub(crate) batch: usize,
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    pub(crate) groups: usize,
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
}

impl ConvShape {
    /// Entries of one channel of an input image.
    pub(crate) fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Entries of one channel of an output image.
    pub(crate) fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Entries of one channel of a filter.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether the unfolding is the image itself: a 1x1 kernel at stride 1 without padding.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0]
    }

    /// Whether a line of the output has the length and the step of a line of the input, so that a tap is a shift of the plane.
    fn keeps_lines(&self) -> bool {
        self.stride == [1, 1] && self.input[1] == self.output[1]
    }

    /// Outputs `lo..hi` along an axis whose tap `k` falls inside the input, and the input position of `lo`.
    fn valid(&self, axis: usize, k: usize) -> (usize, usize, usize) {
        let (stride, padding) = (self.stride[axis], self.padding[axis]);
        let shift = k * self.dilation[axis];
        let lo = padding.saturating_sub(shift).div_ceil(stride);
        let end = (self.input[axis] + padding).saturating_sub(shift);
        let hi = end.div_ceil(stride).min(self.output[axis]);
        if lo >= hi {
            return (0, 0, 0);
        }
        (lo, hi, lo * stride + shift - padding)
    }
}

/// Writes the unfolding of the channels in `image` (planes one after another) to rows of `columns`.
///
/// Row `(c taps + t)` starts at `(c taps + t) row_stride + offset` and holds one entry for each output position.
pub(crate) fn im2col<T: Scalar>(
    shape: &ConvShape,
    image: &[T],
    columns: &mut [T],
    row_stride: usize,
    offset: usize,
) {
    vectorised(Unfold {
        shape,
        image,
        columns,
        row_stride,
        offset,
    });
}

/// The work of [`im2col`].
struct Unfold<'a, T> {
    shape: &'a ConvShape,
    image: &'a [T],
    columns: &'a mut [T],
    row_stride: usize,
    offset: usize,
}

impl<T: Scalar> pulp::NullaryFnOnce for Unfold<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Unfold {
            shape,
            image,
            columns,
            row_stride,
            offset,
        } = self;
        let ([_, width], [_, out_width]) = (shape.input, shape.output);
        for (c, plane) in image.chunks_exact(shape.input_plane()).enumerate() {
            for t in 0..shape.taps() {
                let (ky, kx) = (t / shape.kernel[1], t % shape.kernel[1]);
                let row = &mut columns[(c * shape.taps() + t) * row_stride + offset..];
                let row = &mut row[..shape.output_plane()];
                let (y_lo, y_hi, y_in) = shape.valid(0, ky);
                let (x_lo, x_hi, x_in) = shape.valid(1, kx);
                row[..y_lo * out_width].fill(T::ZERO);
                row[y_hi * out_width..].fill(T::ZERO);
                if shape.keeps_lines() && x_lo < x_hi && y_lo < y_hi {
                    // One copy of all lines, shifted; what wrapped around their ends is then cleared.
                    let len = (y_hi - y_lo) * width - (width - (x_hi - x_lo));
                    row[y_lo * width + x_lo..][..len]
                        .copy_from_slice(&plane[y_in * width + x_in..][..len]);
                    clear_ends(&mut row[y_lo * width..y_hi * width], width, x_lo, x_hi);
                    continue;
                }
                let lines = row[y_lo * out_width..y_hi * out_width].chunks_exact_mut(out_width);
                for (i, line) in lines.enumerate() {
                    let source = &plane[(y_in + i * shape.stride[0]) * width..][..width];
                    line[..x_lo].fill(T::ZERO);
                    line[x_hi..].fill(T::ZERO);
                    let inside = &mut line[x_lo..x_hi];
                    if shape.stride[1] == 1 {
                        inside.copy_from_slice(&source[x_in..x_in + inside.len()]);
                    } else {
                        let taken = source[x_in..].iter().step_by(shape.stride[1]);
                        inside
                            .iter_mut()
                            .zip(taken)
                            .for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }
}

/// Clears the columns before `x_lo` and from `x_hi` on of each line.
#[inline(always)]
fn clear_ends<T: Scalar>(lines: &mut [T], width: usize, x_lo: usize, x_hi: usize) {
    if x_lo == 0 && x_hi == width {
        return;
    }
    for line in lines.chunks_exact_mut(width) {
        line[..x_lo].fill(T::ZERO);
        line[x_hi..].fill(T::ZERO);
    }
}

/// Adds the rows of `columns` back to the image positions they came from: the transpose of [`im2col`]. It clears those
/// entries of `columns` that have no place in the image.
pub(crate) fn col2im<T: Scalar>(
    shape: &ConvShape,
    image: &mut [T],
    columns: &mut [T],
    row_stride: usize,
    offset: usize,
) {
    vectorised(Fold {
        shape,
        image,
        columns,
        row_stride,
        offset,
    });
}

/// The work of [`col2im`].
struct Fold<'a, T> {
    shape: &'a ConvShape,
    image: &'a mut [T],
    columns: &'a mut [T],
    row_stride: usize,
    offset: usize,
}

impl<T: Scalar> pulp::NullaryFnOnce for Fold<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Fold {
            shape,
            image,
            columns,
            row_stride,
            offset,
        } = self;
        let ([_, width], [_, out_width]) = (shape.input, shape.output);
        for (c, plane) in image.chunks_exact_mut(shape.input_plane()).enumerate() {
            for t in 0..shape.taps() {
                let (ky, kx) = (t / shape.kernel[1], t % shape.kernel[1]);
                let row = &mut columns[(c * shape.taps() + t) * row_stride + offset..];
                let (y_lo, y_hi, y_in) = shape.valid(0, ky);
                let (x_lo, x_hi, x_in) = shape.valid(1, kx);
                if shape.keeps_lines() && x_lo < x_hi && y_lo < y_hi {
                    // What has no place in the image is cleared; then one shifted sum takes all lines.
                    clear_ends(&mut row[y_lo * width..y_hi * width], width, x_lo, x_hi);
                    let len = (y_hi - y_lo) * width - (width - (x_hi - x_lo));
                    let target = &mut plane[y_in * width + x_in..][..len];
                    let from = &row[y_lo * width + x_lo..][..len];
                    target
                        .iter_mut()
                        .zip(from)
                        .for_each(|(to, from)| *to += *from);
                    continue;
                }
                for y in y_lo..y_hi {
                    let line = &row[y * out_width + x_lo..y * out_width + x_hi];
                    let start = (y_in + (y - y_lo) * shape.stride[0]) * width + x_in;
                    let target = &mut plane[start..];
                    if shape.stride[1] == 1 {
                        target
                            .iter_mut()
                            .zip(line)
                            .for_each(|(to, from)| *to += *from);
                    } else {
                        let places = target.iter_mut().step_by(shape.stride[1]);
                        places.zip(line).for_each(|(to, from)| *to += *from);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_directions_are_transposes() {
        let shape = ConvShape {
            batch: 1,
            in_channels: 2,
            out_channels: 1,
            groups: 1,
            input: [5, 4],
            output: [3, 3],
            kernel: [3, 2],
            stride: [2, 1],
            padding: [2, 0],
            dilation: [2, 1],
        };
        let image: Vec<f64> = (0..40).map(|i| f64::from(i).sin()).collect();
        let weights: Vec<f64> = (0..2 * 6 * 9).map(|i| f64::from(i).cos()).collect();
        let mut columns = vec![f64::NAN; 2 * 6 * 9];
        im2col(&shape, &image, &mut columns, 9, 0);
        let mut back = vec![0.0; 40];
        col2im(&shape, &mut back, &mut weights.clone(), 9, 0);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        assert!((dot(&columns, &weights) - dot(&image, &back)).abs() < 1e-12);
        // Channel 1, tap (1, 1), output (1, 2): input row 1 * 2 + 2 - 2, column 2 + 1.
        assert_eq!(columns[(6 + 3) * 9 + 5], image[20 + 2 * 4 + 3]);
        // Tap (0, 0) of output row 0 lies in the padding.
        assert_eq!(columns[..3], [0.0; 3]);
    }

    #[test]
    fn shifted_planes_are_transposes_too() {
        for (kernel, padding, dilation) in [
            ([3, 3], [1, 1], [1, 1]),
            ([2, 5], [0, 4], [1, 2]),
            ([5, 1], [3, 0], [2, 1]),
        ] {
            let height = 5 + 2 * padding[0] - dilation[0] * (kernel[0] - 1);
            let shape = ConvShape {
                batch: 1,
                in_channels: 2,
                out_channels: 1,
                groups: 1,
                input: [5, 4],
                output: [height, 4],
                kernel,
                stride: [1, 1],
                padding,
                dilation,
            };
            let (taps, positions) = (shape.taps(), shape.output_plane());
            let image: Vec<f64> = (0..40).map(|i| f64::from(i).sin()).collect();
            let mut columns = vec![f64::NAN; 2 * taps * positions];
            im2col(&shape, &image, &mut columns, positions, 0);
            for (at, &entry) in columns.iter().enumerate() {
                let (row, position) = (at / positions, at % positions);
                let (c, t) = (row / taps, row % taps);
                let y = (position / 4 + t / kernel[1] * dilation[0]).wrapping_sub(padding[0]);
                let x = (position % 4 + t % kernel[1] * dilation[1]).wrapping_sub(padding[1]);
                let expected = if y < 5 && x < 4 {
                    image[c * 20 + y * 4 + x]
                } else {
                    0.0
                };
                assert_eq!(
                    entry, expected,
                    "kernel {kernel:?} row {row} position {position}"
                );
            }
            let weights: Vec<f64> = (0..columns.len() as u32)
                .map(|i| f64::from(i).cos())
                .collect();
            let mut back = vec![0.0; 40];
            col2im(&shape, &mut back, &mut weights.clone(), positions, 0);
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            assert!((dot(&columns, &weights) - dot(&image, &back)).abs() < 1e-12);
        }
    }
}
