//! The unfolding of an image into the columns that turn a convolution into a matrix product, and its transpose.

use super::{Scalar, vectorised};

/// Sizes of a two-dimensional convolution; pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
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

    /// Input and output channels of a group.
    pub(crate) fn group_channels(&self) -> [usize; 2] {
        [self.in_channels, self.out_channels].map(|channels| channels / self.groups)
    }

    /// Entries of one channel of a filter.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether a line of the output has the length and the step of a line of the input, so that a tap is a shift of the plane.
    fn keeps_lines(&self) -> bool {
        self.stride == [1, 1] && self.input[1] == self.output[1]
    }

    /// Where along an axis tap `k` falls inside the input.
    fn valid(&self, axis: usize, k: usize) -> Span {
        let (stride, padding) = (self.stride[axis], self.padding[axis]);
        let shift = k * self.dilation[axis];
        let lo = padding.saturating_sub(shift).div_ceil(stride);
        let end = (self.input[axis] + padding).saturating_sub(shift);
        let hi = end.div_ceil(stride).min(self.output[axis]);
        if lo >= hi {
            return Span::default();
        }
        Span {
            lo,
            hi,
            input: lo * stride + shift - padding,
        }
    }
}

/// Outputs `lo..hi` of an axis, and the input position of `lo`.
#[derive(Clone, Copy, Default)]
struct Span {
    lo: usize,
    hi: usize,
    input: usize,
}

impl Span {
    fn len(&self) -> usize {
        self.hi - self.lo
    }
}

/// One tap of one channel: which entries of a row of columns stand for which of the channel's plane.
struct Tap {
    channel: usize,
    /// Number of its row.
    row: usize,
    y: Span,
    x: Span,
}

/// The taps of `channels` channels.
#[inline(always)]
fn taps(shape: &ConvShape, channels: usize) -> impl Iterator<Item = Tap> {
    let at = |row: usize| {
        let t = row % shape.taps();
        Tap {
            channel: row / shape.taps(),
            row,
            y: shape.valid(0, t / shape.kernel[1]),
            x: shape.valid(1, t % shape.kernel[1]),
        }
    };
    (0..channels * shape.taps()).map(at)
}

impl Tap {
    fn is_empty(&self) -> bool {
        self.y.len() * self.x.len() == 0
    }

    /// Start in the row, start in the plane and length of all lines at once, where a tap is a shift of the plane. What lies
    /// between the lines' ends wraps around, and belongs to neither.
    fn shift(&self, shape: &ConvShape) -> Option<(usize, usize, usize)> {
        let width = shape.input[1];
        let len = (self.y.len() * width).checked_sub(width - self.x.len())?;
        (shape.keeps_lines() && !self.is_empty()).then_some((
            self.y.lo * width + self.x.lo,
            self.y.input * width + self.x.input,
            len,
        ))
    }

    /// Start in the row and in the plane of each line.
    #[inline(always)]
    fn lines(&self, shape: &ConvShape) -> impl Iterator<Item = (usize, usize)> {
        let ([_, width], [_, out_width]) = (shape.input, shape.output);
        let lines = if self.is_empty() { 0 } else { self.y.len() };
        let (row, plane) = (
            self.y.lo * out_width + self.x.lo,
            self.y.input * width + self.x.input,
        );
        let step = shape.stride[0] * width;
        (0..lines).map(move |i| (row + i * out_width, plane + i * step))
    }

    /// Clears the entries of a row that have no place in the plane.
    #[inline(always)]
    fn clear_outside<T: Scalar>(&self, shape: &ConvShape, row: &mut [T]) {
        let width = shape.output[1];
        if self.is_empty() {
            return row.fill(T::ZERO);
        }
        row[..self.y.lo * width].fill(T::ZERO);
        row[self.y.hi * width..].fill(T::ZERO);
        if self.x.len() == width {
            return;
        }
        for line in row[self.y.lo * width..self.y.hi * width].chunks_exact_mut(width) {
            line[..self.x.lo].fill(T::ZERO);
            line[self.x.hi..].fill(T::ZERO);
        }
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
    vectorised(
        #[inline(always)]
        move || {
            let plane = shape.input_plane();
            for tap in taps(shape, image.len() / plane) {
                let plane = &image[tap.channel * plane..][..plane];
                let row = &mut columns[tap.row * row_stride + offset..];
                let row = &mut row[..shape.output_plane()];
                if let Some((to, from, len)) = tap.shift(shape) {
                    row[to..to + len].copy_from_slice(&plane[from..from + len]);
                } else {
                    for (to, from) in tap.lines(shape) {
                        let to = &mut row[to..to + tap.x.len()];
                        if shape.stride[1] == 1 {
                            to.copy_from_slice(&plane[from..from + to.len()]);
                        } else {
                            let taken = plane[from..].iter().step_by(shape.stride[1]);
                            to.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
                        }
                    }
                }
                tap.clear_outside(shape, row);
            }
        },
    );
}

/// Adds the rows of `columns` back to the image positions they came from: the transpose of [`im2col`]. It may clear
/// entries of `columns` that have no place in the image.
pub(crate) fn col2im<T: Scalar>(
    shape: &ConvShape,
    image: &mut [T],
    columns: &mut [T],
    row_stride: usize,
    offset: usize,
) {
    vectorised(
        #[inline(always)]
        move || {
            let plane = shape.input_plane();
            for tap in taps(shape, image.len() / plane) {
                let plane = &mut image[tap.channel * plane..][..plane];
                let row = &mut columns[tap.row * row_stride + offset..];
                let row = &mut row[..shape.output_plane()];
                if let Some((from, to, len)) = tap.shift(shape) {
                    // What wraps around must not be added.
                    tap.clear_outside(shape, row);
                    add(&mut plane[to..to + len], &row[from..from + len]);
                    continue;
                }
                for (from, to) in tap.lines(shape) {
                    let from = &row[from..from + tap.x.len()];
                    if shape.stride[1] == 1 {
                        add(&mut plane[to..to + from.len()], from);
                    } else {
                        let places = plane[to..].iter_mut().step_by(shape.stride[1]);
                        places.zip(from).for_each(|(to, from)| *to += *from);
                    }
                }
            }
        },
    );
}

#[inline(always)]
fn add<T: Scalar>(to: &mut [T], from: &[T]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
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
