//! Pooling of images: averages over strided or adaptive windows, and maxima.

use std::sync::Arc;

use super::arrange::arranged;
use super::mapped::{Maps, mapped};
use super::on_device;
use crate::error::{Result, ensure};
use crate::gpu;
use crate::gpu::layout::Order;
use crate::kernel::pool::{self as kernel, Windows};
use crate::kernel::separable::Map;
use crate::kernel::{Host, to_value};
use crate::tensor::Tensor;
use crate::value::Value;

/// Windows of rows and columns.
struct Plan {
    rows: Windows,
    cols: Windows,
}

impl Plan {
    fn average(&self, op: &'static str, x: &Tensor) -> Result<Tensor> {
        let map = Map {
            rows: self.rows.average(),
            cols: self.cols.average(),
        };
        mapped(op, x, &Maps::new(vec![map]), false)
    }
}

/// The entries of each plane of `x` at the places of the windows' maxima, or the transpose; each is the other's backward.
fn at_places(x: &Tensor, places: &Arc<Places>, transposed: bool) -> Result<Tensor> {
    let op = "max_pool2d";
    let [batch, channels, ..] = x.dims_n::<4>(op)?;
    let Plan { rows, cols } = &places.plan;
    let [input, output] = [[rows.size(), cols.size()], [rows.len(), cols.len()]];
    let [height, width] = if transposed { input } else { output };
    let images = arranged(places.order, x.value())?;
    let value = on_device!(op, &images,
        gpu => {
            let (values, windows) = ([&images, &places.indices], [rows, cols]);
            gpu::pool::at_places(&gpu, op, places.order, values, windows, transposed)
        },
        T => {
            let (data, at) = (Host::<T>::open(op, &images)?, Host::<u32>::open(op, &places.indices)?);
            let run = if transposed { kernel::put::<T> } else { kernel::pick::<T> };
            let entries = run(&data, input.iter().product(), &at, output.iter().product());
            to_value(entries, &[batch, channels, height, width], &images)
        }
    )?;
    let places = places.clone();
    x.moved(op, Ok(value), move |_, g| {
        Ok(at_places(g, &places, !transposed)?.made())
    })
}

/// The position of each window's maximum in its plane.
struct Places {
    plan: Plan,
    /// (N, C, OH, OW), u32.
    indices: Value,
    /// How they lie, and so do images and gradients.
    order: Order,
}

/// Checks the window sizes and lays the windows out.
fn strided(
    op: &'static str,
    x: &Tensor,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    count_padding: bool,
) -> Result<Plan> {
    let [_, _, height, width] = x.dims_n(op)?;
    let input = [height, width];
    for axis in 0..2 {
        ensure!(
            kernel[axis] > 0 && stride[axis] > 0 && 2 * padding[axis] <= kernel[axis],
            op,
            "expected kernel and stride above 0 and padding of at most half the kernel, got kernel {kernel:?}, \
             stride {stride:?}, padding {padding:?}"
        );
        ensure!(
            input[axis] > 0 && input[axis] + 2 * padding[axis] >= kernel[axis],
            op,
            "kernel {kernel:?} exceeds the padded input {:?} (padding {padding:?})",
            x.dims()
        );
    }
    let windows = |axis: usize| {
        Windows::strided(
            input[axis],
            kernel[axis],
            stride[axis],
            padding[axis],
            count_padding,
        )
    };
    Ok(Plan {
        rows: windows(0),
        cols: windows(1),
    })
}

impl Tensor {
    /// Mean over windows; with `count_include_pad` the zeros of the padding count (PyTorch's default).
    ///
    /// # Shapes
    /// (N, C, H, W) gives (N, C, OH, OW), `OH = (H + 2 padding - kernel) / stride + 1`.
    ///
    /// # Errors
    /// If a window does not fit the padded image or the padding exceeds half the kernel.
    pub fn avg_pool2d(
        &self,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        count_include_pad: bool,
    ) -> Result<Tensor> {
        let op = "avg_pool2d";
        let plan = strided(op, self, kernel, stride, padding, count_include_pad)?;
        plan.average(op, self)
    }

    /// Mean over windows that share the image as evenly as they can.
    ///
    /// # Shapes
    /// (N, C, H, W) gives (N, C, out_h, out_w).
    ///
    /// # Errors
    /// If the image is empty or an output size is 0.
    pub fn adaptive_avg_pool2d(&self, out_h: usize, out_w: usize) -> Result<Tensor> {
        let op = "adaptive_avg_pool2d";
        let [_, _, height, width] = self.dims_n(op)?;
        ensure!(
            height * width > 0 && out_h * out_w > 0,
            op,
            "expected images and an output above 0, got {:?} and [{out_h}, {out_w}]",
            self.dims()
        );
        let plan = Plan {
            rows: Windows::adaptive(height, out_h),
            cols: Windows::adaptive(width, out_w),
        };
        plan.average(op, self)
    }

    /// Maximum over windows; the gradient goes to the first of equal entries.
    ///
    /// # Shapes
    /// As [`Tensor::avg_pool2d`].
    ///
    /// # Errors
    /// As [`Tensor::avg_pool2d`].
    pub fn max_pool2d(
        &self,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Result<Tensor> {
        let op = "max_pool2d";
        let plan = strided(op, self, kernel, stride, padding, false)?;
        let [batch, channels, ..] = self.dims_n::<4>(op)?;
        let order = Order::of(self.value());
        let images = arranged(order, self.value())?;
        let Plan { rows, cols } = &plan;
        let indices = on_device!(op, &images,
            gpu => gpu::pool::largest(&gpu, op, (order, &images), [rows, cols]),
            T => {
                let indices = kernel::largest::<T>(&Host::open(op, &images)?, rows, cols);
                to_value(indices, &[batch, channels, rows.len(), cols.len()], &images)
            }
        )?;
        let places = Places {
            plan,
            indices,
            order,
        };
        at_places(self, &Arc::new(places), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, ramp};

    #[test]
    fn pooling_agrees_with_finite_differences() {
        let x = [ramp(&[2, 2, 5, 7], 0.37)];
        for (kernel, stride, padding) in [
            ([2, 2], [2, 2], [0, 0]),
            ([3, 2], [1, 3], [1, 1]),
            ([3, 3], [2, 2], [1, 1]),
            ([1, 4], [3, 2], [0, 2]),
        ] {
            for counted in [true, false] {
                check("avg_pool2d", &x, |x| {
                    x[0].sqr()?.avg_pool2d(kernel, stride, padding, counted)
                });
            }
            check("max_pool2d", &x, |x| {
                x[0].sqr()?.max_pool2d(kernel, stride, padding)
            });
        }
        for (h, w) in [(1, 1), (3, 2), (6, 9)] {
            check("adaptive_avg_pool2d", &x, |x| {
                x[0].sqr()?.adaptive_avg_pool2d(h, w)
            });
        }
    }

    #[test]
    fn values_follow_the_definition() {
        let numbers: Vec<f64> = (0..16).map(f64::from).collect();
        let x = Tensor::from_vec(numbers, &[1, 1, 4, 4], &candle_core::Device::Cpu).unwrap();
        let flat = |t: Result<Tensor>| t.unwrap().to_f64_vec().unwrap();
        assert_eq!(
            flat(x.avg_pool2d([2, 2], [2, 2], [0, 0], true)),
            [2.5, 4.5, 10.5, 12.5]
        );
        assert_eq!(
            flat(x.max_pool2d([3, 3], [2, 2], [1, 1])),
            [5.0, 7.0, 13.0, 15.0]
        );
        let corner = |counted| flat(x.avg_pool2d([3, 3], [2, 2], [1, 1], counted))[0];
        assert_eq!(corner(false), 2.5);
        assert!((corner(true) - 10.0 / 9.0).abs() < 1e-15);
        assert_eq!(
            flat(x.neg().unwrap().max_pool2d([3, 3], [2, 2], [1, 1]))[0],
            0.0
        );
        assert_eq!(flat(x.adaptive_avg_pool2d(1, 1)), [7.5]);
    }

    #[test]
    fn windows_that_do_not_fit_are_told() {
        let x = ramp(&[1, 1, 2, 2], 0.3);
        assert!(x.avg_pool2d([3, 3], [1, 1], [0, 0], true).is_err());
        assert!(x.max_pool2d([2, 2], [1, 1], [2, 2]).is_err());
        assert!(x.max_pool2d([2, 2], [0, 1], [0, 0]).is_err());
        assert!(x.adaptive_avg_pool2d(0, 1).is_err());
    }
}
