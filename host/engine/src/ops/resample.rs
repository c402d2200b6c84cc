//! Bilinear crop-and-resize, horizontal flips and shifts of images.

use super::arrange::contiguous;
use super::mapped::{Maps, mapped};
use super::on_device;
use crate::error::{Result, ensure};
use crate::gpu;
use crate::kernel::resample::{bilinear, mirror};
use crate::kernel::separable::{Axis, Map};
use crate::kernel::{Host, to_value};
use crate::tensor::Tensor;

/// A rectangle of an image, in pixels from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropBox {
    /// Distance of the upper edge from the image's.
    pub top: f64,
    /// Distance of the left edge from the image's.
    pub left: f64,
    /// Height.
    pub height: f64,
    /// Width.
    pub width: f64,
}

/// Crops each image and resizes the crop bilinearly, as `torch.nn.functional.interpolate(mode="bilinear",
/// align_corners=False)` of the crop, without antialiasing; one box serves the whole batch.
///
/// # Shapes
/// x (N, C, H, W) and 1 or N boxes give (N, C, out_h, out_w).
///
/// # Errors
/// If the number of boxes does not fit, a box leaves the image or is empty, or a size is 0.
pub fn crop_resize(x: &Tensor, boxes: &[CropBox], out_h: usize, out_w: usize) -> Result<Tensor> {
    // A box computed in f64 may leave the image by rounding.
    const SLACK: f64 = 1e-6;
    let op = "crop_resize";
    let [batch, _, height, width] = x.dims_n(op)?;
    ensure!(
        boxes.len() == 1 || boxes.len() == batch,
        op,
        "expected 1 box or one for each of {batch} images, got {}",
        boxes.len()
    );
    ensure!(
        x.elem_count() > 0 && out_h > 0 && out_w > 0,
        op,
        "expected images and an output above 0, got {:?} and [{out_h}, {out_w}]",
        x.dims()
    );
    for (i, b) in boxes.iter().enumerate() {
        let inside = |start: f64, extent: f64, size: usize| {
            start >= -SLACK && extent > 0.0 && start + extent <= size as f64 + SLACK
        };
        ensure!(
            inside(b.top, b.height, height) && inside(b.left, b.width, width),
            op,
            "box {i} is empty or extends beyond the image of {height} x {width} pixels: {b:?}"
        );
    }
    let crop = |b: &CropBox| Map {
        rows: bilinear(height, b.top, b.height, out_h),
        cols: bilinear(width, b.left, b.width, out_w),
    };
    let maps = Maps::new(boxes.iter().map(crop).collect());
    mapped(op, x, &maps, false)
}

/// Moves the window of each image by whole rows and columns: `y[i, j] = x[i + rows, j + columns]`, and 0 where that lies outside;
/// one offset serves the whole batch.
///
/// # Shapes
/// x (N, C, H, W) and 1 or N offsets `[rows, columns]` give (N, C, H, W).
///
/// # Errors
/// If the number of offsets does not fit.
pub fn shift_images(x: &Tensor, offsets: &[[i64; 2]]) -> Result<Tensor> {
    let op = "shift_images";
    let [batch, _, height, width] = x.dims_n(op)?;
    ensure!(
        offsets.len() == 1 || offsets.len() == batch,
        op,
        "expected 1 offset or one for each of {batch} images, got {}",
        offsets.len()
    );
    if x.elem_count() == 0 || offsets.iter().all(|o| *o == [0, 0]) {
        return Ok(x.clone());
    }
    let axis = |size: usize, offset: i64| {
        let source = |i: usize| i.checked_add_signed(isize::try_from(offset).ok()?);
        let taps = |i: usize| source(i).filter(|&i| i < size).map(|i| (i, 1.0));
        Axis::new(size, (0..size).map(|i| Vec::from_iter(taps(i))))
    };
    let shift = |&[rows, columns]: &[i64; 2]| Map {
        rows: axis(height, rows),
        cols: axis(width, columns),
    };
    let maps = Maps::new(offsets.iter().map(shift).collect());
    mapped(op, x, &maps, false)
}

/// Mirrors the images whose flag is set, left to right.
///
/// # Shapes
/// x (N, C, H, W) and N flags give (N, C, H, W).
///
/// # Errors
/// If the number of flags is not the number of images.
pub fn flip_images(x: &Tensor, flags: &[bool]) -> Result<Tensor> {
    let op = "flip_images";
    let [batch, channels, height, width] = x.dims_n(op)?;
    ensure!(
        flags.len() == batch,
        op,
        "expected a flag for each of {batch} images, got {}",
        flags.len()
    );
    if !flags.contains(&true) || x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let images = contiguous(x.value())?;
    let value = on_device!(op, &images,
        gpu => gpu::resample::mirror(&gpu, op, &images, flags),
        T => {
            let data = Host::<T>::open(op, &images)?;
            let mirrored = mirror(&data, channels * height * width, width, flags);
            to_value(mirrored, x.dims(), &images)
        }
    )?;
    let flags = flags.to_vec();
    x.moved(op, Ok(value), move |_, g| flip_images(g, &flags))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, ramp};

    fn crop(top: f64, left: f64, height: f64, width: f64) -> CropBox {
        CropBox {
            top,
            left,
            height,
            width,
        }
    }

    #[test]
    fn crops_and_flips_agree_with_finite_differences() {
        let x = [ramp(&[2, 2, 5, 6], 0.37)];
        let one = [crop(1.0, 0.0, 3.0, 5.0)];
        let each = [crop(0.0, 1.0, 5.0, 4.0), crop(1.3, 0.2, 2.5, 5.1)];
        for (h, w) in [(3, 5), (7, 4), (2, 9)] {
            check("one box", &x, |x| crop_resize(&x[0].sqr()?, &one, h, w));
            check("a box each", &x, |x| crop_resize(&x[0].sqr()?, &each, h, w));
        }
        check("flip_images", &x, |x| {
            flip_images(&x[0].sqr()?, &[false, true])
        });
    }

    #[test]
    fn shifts_move_rows_and_columns_and_agree_with_finite_differences() {
        let x = ramp(&[2, 2, 3, 4], 0.37);
        for offsets in [&[[1, -2]][..], &[[0, 3], [-2, 1]], &[[5, 0]]] {
            check("shift_images", std::slice::from_ref(&x), |x| {
                shift_images(&x[0].sqr()?, offsets)
            });
            let [before, after] =
                [&x, &shift_images(&x, offsets).unwrap()].map(|t| t.to_f64_vec().unwrap());
            for (at, got) in after.iter().enumerate() {
                let (plane, i, j) = (at / 12, (at / 4 % 3) as i64, (at % 4) as i64);
                let [rows, columns] = offsets[(plane / 2).min(offsets.len() - 1)];
                let (i, j) = (i + rows, j + columns);
                let inside = (0..3).contains(&i) && (0..4).contains(&j);
                let expected = match inside {
                    true => before[plane * 12 + (i * 4 + j) as usize],
                    false => 0.0,
                };
                assert_eq!(*got, expected);
            }
        }
        assert!(shift_images(&x, &[[0, 0]; 3]).is_err());
    }

    /// PyTorch's formula for one axis, written as its documentation states it.
    fn interpolate(line: &[f64], count: usize) -> Vec<f64> {
        let scale = line.len() as f64 / count as f64;
        let sample = |i: usize| {
            let source = (scale * (i as f64 + 0.5) - 0.5).max(0.0);
            let low = source as usize;
            let high = low + usize::from(low < line.len() - 1);
            let weight = source - low as f64;
            line[low] * (1.0 - weight) + line[high] * weight
        };
        (0..count).map(sample).collect()
    }

    #[test]
    fn a_crop_is_interpolated_as_by_pytorch() {
        let x = ramp(&[1, 1, 1, 9], 0.3);
        let line = x.to_f64_vec().unwrap();
        for (start, len, count) in [(0, 9, 4), (2, 5, 11), (3, 6, 6), (4, 1, 3)] {
            let y = crop_resize(&x, &[crop(0.0, start as f64, 1.0, len as f64)], 1, count).unwrap();
            let expected = interpolate(&line[start..start + len], count);
            for (got, expected) in y.to_f64_vec().unwrap().iter().zip(expected) {
                assert!((got - expected).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn boxes_that_do_not_fit_are_told() {
        let x = ramp(&[2, 1, 4, 4], 0.3);
        let text = crop_resize(&x, &[crop(1.0, 0.0, 4.0, 4.0)], 2, 2)
            .unwrap_err()
            .to_string();
        assert!(text.contains("box 0") && text.contains("4 x 4"), "{text}");
        assert!(crop_resize(&x, &[], 2, 2).is_err());
        assert!(crop_resize(&x, &[crop(0.0, 0.0, 0.0, 4.0)], 2, 2).is_err());
        assert!(crop_resize(&x, &[crop(f64::NAN, 0.0, 1.0, 4.0)], 2, 2).is_err());
        assert!(flip_images(&x, &[true]).is_err());
    }
}
