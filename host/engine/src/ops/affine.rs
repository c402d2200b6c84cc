//! Images turned, scaled and sheared by affine maps of their planes.

use std::sync::Arc;

use super::arrange::contiguous;
use super::on_device;
use crate::error::{Result, ensure};
use crate::gpu;
use crate::kernel::affine::sample;
use crate::kernel::{Host, to_value};
use crate::tensor::Tensor;

pub use crate::kernel::affine::Affine;

/// Samples each image bilinearly where its map leads: `F.grid_sample(x, F.affine_grid(theta, x.shape))` of PyTorch with its
/// defaults, `padding_mode="zeros"` and `align_corners=False`. One map serves the whole batch.
///
/// `y[i, j]` is read at `(u, v) = theta (x_j, y_i, 1)`, where pixel j of W lies at `x_j = (2 j + 1) / W - 1`, and rows likewise;
/// what lies outside is 0. The operation is linear in the images; maps are no tensors and have no gradient.
///
/// # Shapes
/// x (N, C, H, W) and 1 or N maps give (N, C, H, W).
///
/// # Errors
/// If the number of maps does not fit or an entry is not finite.
pub fn affine_sample(x: &Tensor, maps: &[Affine]) -> Result<Tensor> {
    let op = "affine_sample";
    let [batch, ..] = x.dims_n::<4>(op)?;
    ensure!(
        maps.len() == 1 || maps.len() == batch,
        op,
        "expected 1 map or one for each of {batch} images, got {}",
        maps.len()
    );
    for (i, map) in maps.iter().enumerate() {
        let finite = map.iter().flatten().all(|v| v.is_finite());
        ensure!(finite, op, "map {i} is not finite: {map:?}");
    }
    sampled(op, x, &Arc::from(maps), false)
}

/// The map or its transpose; each is the other's backward.
fn sampled(op: &'static str, x: &Tensor, maps: &Arc<[Affine]>, transposed: bool) -> Result<Tensor> {
    let [_, channels, height, width] = x.dims_n(op)?;
    let images = contiguous(x.value())?;
    let value = on_device!(op, &images,
        gpu => gpu::affine::sample(&gpu, op, &images, maps, transposed),
        T => {
            let data = Host::<T>::open(op, &images)?;
            let sampled = sample(&data, maps, [channels, height, width], transposed);
            to_value(sampled, x.dims(), &images)
        }
    )?;
    let maps = maps.clone();
    x.moved(op, Ok(value), move |_, g| {
        sampled(op, g, &maps, !transposed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, ramp};

    const TURNED: Affine = [[0.8, -0.6, 0.1], [0.5, 1.3, -0.2]];
    const LARGER: Affine = [[0.5, 0.0, 0.0], [0.0, 0.7, 0.0]];

    #[test]
    fn samples_agree_with_finite_differences() {
        let x = [ramp(&[2, 2, 3, 4], 0.37)];
        check("affine_sample", &x, |x| {
            affine_sample(&x[0].sqr()?, &[TURNED])
        });
        check("affine_sample, a map each", &x, |x| {
            affine_sample(&x[0], &[LARGER, TURNED])?.sqr()
        });
    }

    // PyTorch 2.15, in float64:
    //
    // x = torch.sin((torch.arange(24.) + 1) * 12.9898 + 0.37 * 78.233).reshape(2, 1, 3, 4)
    // t = torch.tensor([[[.8, -.6, .1], [.5, 1.3, -.2]], [[.5, 0, 0], [0, .7, 0]]])
    // F.grid_sample(x, F.affine_grid(t, x.shape, align_corners=False), align_corners=False)
    #[test]
    fn samples_are_pytorchs() {
        let x = ramp(&[2, 1, 3, 4], 0.37);
        let y = affine_sample(&x, &[TURNED, LARGER]).unwrap();
        let expected = [
            0.0,
            -0.193096957551543,
            -0.425097178406102,
            -0.202248997313356,
            -0.832948902090145,
            -0.378728442368782,
            0.347190799839577,
            0.703020181990949,
            0.162243857389822,
            0.768495477588878,
            0.756881975589784,
            0.343224604478615,
            -0.423456647105223,
            -0.533884755285834,
            -0.6226988008959,
            -0.682055189787714,
            -0.928651217685536,
            -0.841214218204744,
            -0.713818660390178,
            -0.557715456694416,
            0.0256750836384893,
            0.17355624813985,
            0.31693933237401,
            0.443161488785113,
        ];
        for (got, expected) in y.to_f64_vec().unwrap().iter().zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{got} {expected}");
        }
    }

    #[test]
    fn the_identity_is_nothing_and_f32_agrees_with_f64() {
        let x = ramp(&[1, 2, 3, 5], 0.3);
        let same = affine_sample(&x, &[[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]).unwrap();
        let single = x.to_dtype(candle_core::DType::F32).unwrap();
        let [wide, single] = [&x, &single].map(|x| {
            let y = affine_sample(x, &[TURNED]).unwrap();
            let y = y.to_dtype(candle_core::DType::F64).unwrap();
            y.to_f64_vec().unwrap()
        });
        let near = |a: &[f64], b: &[f64], by: f64| a.iter().zip(b).all(|(a, b)| (a - b).abs() < by);
        let [x, same] = [&x, &same].map(|t| t.to_f64_vec().unwrap());
        assert!(near(&x, &same, 1e-14) && near(&wide, &single, 1e-6));
    }

    #[test]
    fn maps_that_do_not_fit_are_told() {
        let x = ramp(&[2, 1, 3, 3], 0.3);
        assert!(affine_sample(&x, &[]).is_err());
        let text = affine_sample(&x, &[LARGER; 3]).unwrap_err().to_string();
        assert!(text.contains("each of 2 images, got 3"), "{text}");
        let broken = [[f64::NAN, 0.0, 0.0], [0.0, 1.0, 0.0]];
        let text = affine_sample(&x, &[broken]).unwrap_err().to_string();
        assert!(text.contains("map 0 is not finite"), "{text}");
    }
}
