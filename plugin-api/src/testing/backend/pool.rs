//! Pooling and bilinear crops: weighted sums of elements, and the largest of windows.

use std::ops::Range;

use super::{
    Array,
    network::{image_dims, windows},
    places::{NOWHERE, Places, flat, places, strides},
};
use crate::{Result, ensure};

/// Window, stride and padding along (rows, columns).
#[derive(Clone, Copy)]
pub(super) struct PoolShape {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 2],
}

impl PoolShape {
    /// The entries of an axis in each window, padding left out.
    fn axis(&self, axis: usize, size: usize) -> Result<Vec<Range<usize>>> {
        let (kernel, stride, padding) = (self.kernel[axis], self.stride[axis], self.padding[axis]);
        ensure!(
            2 * padding <= kernel,
            "the padding {padding} is more than half of the window {kernel}"
        );
        let count = windows(size, kernel, stride, padding)?;
        let range = |i: usize| {
            let start = i * stride;
            start.saturating_sub(padding)..(start + kernel).saturating_sub(padding).min(size)
        };
        Ok((0..count).map(range).collect())
    }
}

/// Elements of images that are added to each place of the result, with weights.
struct Mixture {
    out: [usize; 4],
    from: Vec<usize>,
    to: Vec<usize>,
    weights: Vec<f64>,
}

impl Mixture {
    fn of(self, x: &Array) -> Array {
        let count = self.from.len();
        let picked = x.take(self.from.into(), &[count], 0.);
        picked
            .mul(&x.like(&[count], self.weights))
            .put(self.to.into(), &self.out)
    }
}

impl Array {
    /// Mean of windows given by the rows and columns of each.
    fn window_means(
        &self,
        rows: &[Range<usize>],
        cols: &[Range<usize>],
        share: impl Fn(usize) -> f64,
    ) -> Result<Array> {
        let [n, c, h, w] = image_dims(self)?;
        let out = [n, c, rows.len(), cols.len()];
        let mut mixture = Mixture {
            out,
            from: Vec::new(),
            to: Vec::new(),
            weights: Vec::new(),
        };
        for plane in 0..n * c {
            for (oy, rows) in rows.iter().enumerate() {
                for (ox, columns) in cols.iter().enumerate() {
                    let to = (plane * out[2] + oy) * out[3] + ox;
                    let weight = share(rows.len() * columns.len());
                    for (y, x) in rows
                        .clone()
                        .flat_map(|y| columns.clone().map(move |x| (y, x)))
                    {
                        mixture.from.push((plane * h + y) * w + x);
                        mixture.to.push(to);
                        mixture.weights.push(weight);
                    }
                }
            }
        }
        Ok(mixture.of(self))
    }

    /// Mean of each window; padding counts as zeros when `count_padding`.
    ///
    /// # Errors
    /// When a window does not fit.
    pub(super) fn avg_pool2d(&self, shape: PoolShape, count_padding: bool) -> Result<Array> {
        let [_, _, h, w] = image_dims(self)?;
        let whole = shape.kernel[0] * shape.kernel[1];
        let share = |inside: usize| 1. / if count_padding { whole } else { inside } as f64;
        self.window_means(&shape.axis(0, h)?, &shape.axis(1, w)?, share)
    }

    /// Mean of `out` windows that share each axis: window i is `floor(i size / out)..ceil((i + 1) size / out)`.
    ///
    /// # Errors
    /// When a size is 0.
    pub(super) fn adaptive_avg_pool2d(&self, out_h: usize, out_w: usize) -> Result<Array> {
        let [_, _, h, w] = image_dims(self)?;
        ensure!(
            h * w * out_h * out_w > 0,
            "expected sizes above 0, got an output of [{out_h}, {out_w}]"
        );
        let axis = |size: usize, out: usize| -> Vec<Range<usize>> {
            (0..out)
                .map(|i| i * size / out..((i + 1) * size).div_ceil(out))
                .collect()
        };
        self.window_means(&axis(h, out_h), &axis(w, out_w), |inside| {
            1. / inside as f64
        })
    }

    /// Maximum of each window; a tie gives its gradient to the first.
    ///
    /// # Errors
    /// When a window does not fit.
    pub(super) fn max_pool2d(&self, shape: PoolShape) -> Result<Array> {
        let [n, c, h, w] = image_dims(self)?;
        let (rows, cols) = (shape.axis(0, h)?, shape.axis(1, w)?);
        let out = [n, c, rows.len(), cols.len()];
        let own = strides(self.dims());
        let values = self.values();
        let table: Places = places(&out, |at| {
            let plane = flat(&at[..2], &own);
            let window = rows[at[2]]
                .clone()
                .flat_map(|y| cols[at[3]].clone().map(move |x| plane + y * w + x));
            window.fold(NOWHERE, |best, i| {
                let better = best == NOWHERE
                    || values[i] > values[best]
                    || values[i].is_nan() && !values[best].is_nan();
                if better { i } else { best }
            })
        });
        Ok(self.take(table, &out, f64::NEG_INFINITY))
    }

    /// Bilinear crops, each box (top, left, height, width), one for all images or one for each: output i of an axis
    /// reads `start + (i + 1/2) extent / size - 1/2`, limited to the first and last entry of the crop.
    ///
    /// # Errors
    /// For another number of boxes, or a box that leaves the image.
    pub(super) fn crop_resize(
        &self,
        boxes: &[[f64; 4]],
        out_h: usize,
        out_w: usize,
    ) -> Result<Array> {
        let [n, c, h, w] = image_dims(self)?;
        ensure!(
            boxes.len() == 1 || boxes.len() == n,
            "{} boxes for {n} images; expected 1 or {n}",
            boxes.len()
        );
        let fits = |start: f64, extent: f64, size: usize| {
            start >= -1e-6 && extent > 0. && start + extent <= size as f64 + 1e-6
        };
        for b in boxes {
            ensure!(
                fits(b[0], b[2], h) && fits(b[1], b[3], w),
                "box {b:?} is empty or leaves the image of [{h}, {w}]"
            );
        }
        let out = [n, c, out_h, out_w];
        let mut mixture = Mixture {
            out,
            from: Vec::new(),
            to: Vec::new(),
            weights: Vec::new(),
        };
        places(&out, |at| {
            let b = boxes[if boxes.len() == 1 { 0 } else { at[0] }];
            let plane = (at[0] * c + at[1]) * h * w;
            for (y, wy) in corners(at[2], out_h, b[0], b[2], h) {
                for (x, wx) in corners(at[3], out_w, b[1], b[3], w) {
                    mixture.from.push(plane + y * w + x);
                    mixture.to.push(flat(at, &strides(&out)));
                    mixture.weights.push(wy * wx);
                }
            }
            0
        });
        Ok(mixture.of(self))
    }
}

/// The two entries that output `i` of an axis reads, with their weights.
fn corners(i: usize, count: usize, start: f64, extent: f64, size: usize) -> [(usize, f64); 2] {
    let inside = (i as f64 + 0.5) * extent / count as f64 - 0.5;
    let position = (start + inside.clamp(0., (extent - 1.).max(0.))).clamp(0., (size - 1) as f64);
    let (low, weight) = (position.floor() as usize, position - position.floor());
    [(low, 1. - weight), ((low + 1).min(size - 1), weight)]
}
