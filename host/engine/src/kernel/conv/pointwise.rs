//! Convolutions by 1x1 kernels without padding: products of the weight and the images as they lie, without unfolding.
//!
//! Small images are put side by side first, so that the columns of a product fill whole registers; with a stride the positions that are
//! read are gathered first.

use crate::kernel::batch_norm::Channels;
use crate::kernel::conv::{Direction, Images};
use crate::kernel::elementary::Elementary;
use crate::kernel::gemm::{batched, batched_onto, shifted, summed};
use crate::kernel::im2col::ConvShape;
use crate::kernel::matrix::Matrix;
use crate::kernel::product::Factors;
use crate::kernel::scratch::Unfilled;
use crate::kernel::tasks::{each, each_part};
use crate::kernel::vectorised;

/// Positions of an image from which on it is worth a product of its own.
const ALONE: usize = 128;

/// Whether a convolution goes this way.
pub(crate) fn applies(shape: &ConvShape) -> bool {
    shape.kernel == [1, 1] && shape.padding == [0, 0] && shape.groups == 1
}

/// One of the three operations, as in [`super::run`].
pub(crate) fn run<T: Elementary>(
    direction: Direction,
    shape: &ConvShape,
    factors: Factors,
    a: Images<'_, T>,
    b: &[T],
) -> Vec<T> {
    let (inputs, outputs) = (shape.in_channels, shape.out_channels);
    match direction {
        Direction::Forward => {
            let taken = gathered(shape, factors, a);
            let x = taken.as_ref().map_or(a, |taken| Images::plain(taken));
            let weight = Matrix::rows(b, inputs);
            mapped(shape, factors, weight, (outputs, inputs), x)
        }
        Direction::InputGrad => {
            let weight = Matrix::rows(b, inputs).transposed();
            let g = Images::plain(a.entries);
            spread(shape, mapped(shape, factors, weight, (inputs, outputs), g))
        }
        Direction::WeightGrad => {
            let taken = gathered(shape, factors, a);
            let x = taken.as_ref().map_or(a, |taken| Images::plain(taken));
            let plane = shape.output_plane();
            if plane < ALONE && shape.batch > 1 {
                let columns = shape.batch * plane;
                let g = swapped(Images::plain(b), [shape.batch, outputs], plane);
                let x = swapped(x, [shape.batch, inputs], plane);
                let (g, x) = (Matrix::rows(&g, columns), Matrix::rows(&x, columns));
                let size = (outputs, inputs, columns);
                return shifted(size, factors, g, x.transposed(), None);
            }
            let g = |i: usize| Matrix::rows(&b[i * outputs * plane..], plane);
            let x = |i: usize| image(x, i, (inputs, plane)).transposed();
            summed(shape.batch, (outputs, inputs, plane), factors, g, x)
        }
    }
}

/// Adds the input's gradient to what is there, where that is one product: whether it did.
pub(crate) fn input_grad_onto<T: Elementary>(
    shape: &ConvShape,
    factors: Factors,
    g: &[T],
    weight: &[T],
    to: &mut [T],
) -> bool {
    let (inputs, outputs, plane) = (shape.in_channels, shape.out_channels, shape.output_plane());
    let whole = plane >= ALONE || shape.batch == 1;
    if !applies(shape) || shape.stride != [1, 1] || !whole || to.is_empty() {
        return false;
    }
    let weight = Matrix::rows(weight, inputs).transposed();
    let image = |i: usize| Matrix::rows(&g[i * outputs * plane..], plane);
    batched_onto(to, (inputs, plane, outputs), factors, |_| weight, image);
    true
}

/// `y[n] = weight x[n]` for images of as many positions as the convolution's result has.
fn mapped<T: Elementary>(
    shape: &ConvShape,
    factors: Factors,
    weight: Matrix<'_, T>,
    (to, from): (usize, usize),
    x: Images<'_, T>,
) -> Vec<T> {
    let (batch, plane) = (shape.batch, shape.output_plane());
    if plane >= ALONE || batch == 1 {
        let image = |i: usize| image(x, i, (from, plane));
        return batched(batch, (to, plane, from), factors, |_| weight, image);
    }
    let joined = swapped(x, [batch, from], plane);
    let columns = batch * plane;
    let image = |_: usize| Matrix::rows(&joined, columns);
    let y = batched(1, (to, columns, from), factors, |_| weight, image);
    swapped(Images::plain(&y), [to, batch], plane)
}

/// Image i: a row of positions for each channel.
fn image<'a, T: Elementary>(
    x: Images<'a, T>,
    i: usize,
    (channels, plane): (usize, usize),
) -> Matrix<'a, T> {
    Matrix::rows(&x.entries[i * channels * plane..], plane).through(x.channels(0))
}

/// Lines of `line` entries with their two numbers in the other order; a map is that of the second.
fn swapped<T: Elementary>(from: Images<'_, T>, [outer, inner]: [usize; 2], line: usize) -> Vec<T> {
    let mut to = Unfilled::new(from.entries.len());
    let out = to.shared();
    each(inner, |j| {
        // SAFETY: each task has its own lines.
        let lines = unsafe { out.slice(j * outer * line, outer * line) };
        for (i, to) in lines.chunks_exact_mut(line.max(1)).enumerate() {
            to.copy_from_slice(&from.entries[(i * inner + j) * line..][..line]);
        }
        through(from.channels(j), lines);
    });
    // SAFETY: the tasks cover all lines.
    unsafe { to.filled() }
}

/// Takes entries of a channel through its map.
fn through<T: Elementary>(map: Option<Channels<'_, T>>, entries: &mut [T]) {
    let Some(map) = map else { return };
    vectorised(
        #[inline(always)]
        || map.line(entries),
    );
}

/// The positions that are read, where they do not lie as a product reads them: with a stride, or rounded behind a map.
fn gathered<T: Elementary>(
    shape: &ConvShape,
    factors: Factors,
    x: Images<'_, T>,
) -> Option<Vec<T>> {
    let (plane, width) = (shape.output_plane(), shape.output[1]);
    if shape.stride == [1, 1] {
        let map = x.map.filter(|_| factors == Factors::Bf16);
        return map.map(|map| x.mapped(map, shape.in_channels, plane));
    }
    let mut taken = vec![T::ZERO; shape.batch * shape.in_channels * plane];
    each_part(&mut taken, plane.max(1), |i, to| {
        let from = &x.entries[i * shape.input_plane()..][..shape.input_plane()];
        let lines = from.chunks(shape.input[1]).step_by(shape.stride[0]);
        for (to, from) in to.chunks_exact_mut(width).zip(lines) {
            let taken = from.iter().step_by(shape.stride[1]);
            to.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
        }
        through(x.channels(i % shape.in_channels), to);
    });
    Some(taken)
}

/// Entries at the positions that are read, zeros at all others.
fn spread<T: Elementary>(shape: &ConvShape, taken: Vec<T>) -> Vec<T> {
    if shape.stride == [1, 1] {
        return taken;
    }
    let (plane, width) = (shape.output_plane(), shape.output[1]);
    let mut x = vec![T::ZERO; shape.batch * shape.in_channels * shape.input_plane()];
    each_part(&mut x, shape.input_plane().max(1), |i, to| {
        let lines = to.chunks_mut(shape.input[1]).step_by(shape.stride[0]);
        for (to, from) in lines.zip(taken[i * plane..][..plane].chunks_exact(width)) {
            let places = to.iter_mut().step_by(shape.stride[1]);
            places.zip(from).for_each(|(to, from)| *to = *from);
        }
    });
    x
}
