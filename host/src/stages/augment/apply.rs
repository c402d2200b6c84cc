//! Changes made to images with engine operations, so that gradients of any order go through them.

use anyhow::{Result, ensure};

use crate::engine::{
    Tensor,
    ops::{affine_sample, flip_images, shift_images},
};

use super::Change;

/// Makes the changes, one after the other. The images are as the network sees them, normalised: 0 is the mean colour, and what
/// leaves the range of real pixels is not cut off.
///
/// With mean_c the mean over the channels of a pixel and mean that over the image:
///
/// - brightness: x + b
/// - saturation: (x - mean_c) s + mean_c
/// - contrast: (x - mean) c + mean
/// - crop, cutout and what lies outside of a scaled or turned image: 0
/// - scale and rotate: [`affine_sample`]
///
/// # Shapes
/// [N, C, H, W] -> [N, C, H, W]
///
/// # Errors
/// When changes were drawn for another number of images, or an operation fails.
pub fn apply(images_nchw: &Tensor, changes: &[Change]) -> Result<Tensor> {
    let [n, _, height, width] = images_nchw.dims4()?;
    let fits = |count: usize| {
        ensure!(
            count == 1 || count == n,
            "augment: drawn for {count} images, got {n}"
        );
        Ok(())
    };
    let mut x = images_nchw.clone();
    for change in changes {
        x = match change {
            Change::Brightness(added) => {
                fits(added.len())?;
                x.add(&by_image(&x, added.clone(), [1, 1])?)?
            }
            Change::Saturation(factors) => {
                fits(factors.len())?;
                spread(&x, &x.mean(&[1], true)?, factors)?
            }
            Change::Contrast(factors) => {
                fits(factors.len())?;
                spread(&x, &x.mean(&[1, 2, 3], true)?, factors)?
            }
            Change::Crop(offsets) => {
                fits(offsets.len())?;
                shift_images(&x, offsets)?
            }
            Change::Cutout(boxes) => {
                fits(boxes.len())?;
                let kept = boxes.iter().flat_map(|b| outside(*b, height, width));
                x.mul(&by_image(&x, kept.collect(), [height, width])?)?
            }
            Change::Flip(flags) => {
                fits(flags.len())?;
                let flags: Vec<bool> = flags.iter().copied().cycle().take(n).collect();
                flip_images(&x, &flags)?
            }
            Change::Affine(maps) => {
                fits(maps.len())?;
                affine_sample(&x, maps)?
            }
        };
    }
    Ok(x)
}

/// `(x - centre) factor + centre`.
fn spread(x: &Tensor, centre: &Tensor, factors: &[f64]) -> Result<Tensor> {
    let factors = by_image(x, factors.to_vec(), [1, 1])?;
    Ok(x.sub(centre)?.mul(&factors)?.add(centre)?)
}

/// Numbers as constants of the images' type, [count, 1, height, width].
fn by_image(x: &Tensor, numbers: Vec<f64>, [height, width]: [usize; 2]) -> Result<Tensor> {
    let count = numbers.len() / (height * width).max(1);
    let constant = Tensor::from_vec(numbers, &[count, 1, height, width], x.device())?;
    Ok(constant.to_dtype(x.dtype())?)
}

/// 0 inside of a box and 1 elsewhere.
fn outside(
    [top, left, bottom, right]: [usize; 4],
    height: usize,
    width: usize,
) -> impl Iterator<Item = f64> {
    (0..height * width).map(move |i| {
        let inside = (top..bottom).contains(&(i / width)) && (left..right).contains(&(i % width));
        f64::from(u8::from(!inside))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Augment, Key, Mode, Sharing};
    use super::*;
    use crate::engine::gradcheck::{check, ramp};

    #[track_caller]
    fn gives(x: &Tensor, changes: &[Change], expected: &[f64]) {
        let got = apply(x, changes).unwrap().to_f64_vec().unwrap();
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!(
                (got - expected).abs() < 2e-6,
                "{changes:?}: {got} {expected}"
            );
        }
    }

    // PyTorch 2.15, one `show` for each `gives`; the formulas are those above, written out:
    //
    // import math, torch, torch.nn.functional as F
    // torch.set_default_dtype(torch.float64)
    // def ramp(*shape): return torch.sin((torch.arange(float(math.prod(shape))) + 1) * 12.9898 + 0.37 * 78.233).reshape(shape)
    // show = lambda y: print([round(v, 6) for v in y.flatten().tolist()])
    // x, u = ramp(2, 3, 1, 2), torch.tensor([[.25, .9], [.75, .1], [.5, .2]]).reshape(3, 2, 1, 1, 1)
    // x = x + (u[0] - .5) * 1.
    // x = (x - x.mean(1, keepdim=True)) * (u[1] * 2.) + x.mean(1, keepdim=True)
    // show((x - x.mean([1, 2, 3], keepdim=True)) * (u[2] + .5) + x.mean([1, 2, 3], keepdim=True))
    // x = ramp(1, 1, 4, 5)
    // show(F.pad(x, [1, 1, 1, 1])[:, :, 0:4, 2:7])
    // mask = torch.ones(4, 5); mask[1:3, 0:2] = 0
    // show(x * mask)
    // show(x.flip(3))
    // a = math.radians(-12)
    // for t in [[.9, 0, 0], [0, 1.15, 0]], [[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0]]:
    //     grid = F.affine_grid(torch.tensor([t]), x.shape, align_corners=False)
    //     show(F.grid_sample(x, grid, align_corners=False))
    #[test]
    fn changes_are_the_authors() {
        let color = [
            Change::Brightness(vec![-0.25, 0.4]),
            Change::Saturation(vec![1.5, 0.2]),
            Change::Contrast(vec![1., 0.7]),
        ];
        gives(
            &ramp(&[2, 3, 1, 2], 0.37),
            &color,
            &[
                -1.222567, -1.476589, -1.286713, -1.029265, -0.406931, 0.12758, 1.116205, 1.16425,
                1.186113, 1.190439, 1.163958, 1.123853,
            ],
        );
        let x = ramp(&[1, 1, 4, 5], 0.37);
        gives(
            &x,
            &[Change::Crop(vec![[-1, 1]])],
            &[
                0., 0., 0., 0., 0., -0.998645, -0.931832, -0.700429, -0.34531, 0., 0.474406,
                0.794217, 0.973746, 0.981283, 0., 0.505668, 0.106525, -0.311434, -0.674385, 0.,
            ],
        );
        gives(
            &x,
            &[Change::Cutout(vec![[1, 0, 3, 2]])],
            &[
                -0.889068, -0.998645, -0.931832, -0.700429, -0.34531, 0., 0., 0.794217, 0.973746,
                0.981283, 0., 0., 0.106525, -0.311434, -0.674385, -0.918219, -0.999869, -0.904912,
                -0.650121, -0.280499,
            ],
        );
        gives(
            &x,
            &[Change::Flip(vec![true])],
            &[
                -0.34531, -0.700429, -0.931832, -0.998645, -0.889068, 0.981283, 0.973746, 0.794217,
                0.474406, 0.0708, -0.674385, -0.311434, 0.106525, 0.505668, 0.815496, -0.280499,
                -0.650121, -0.904912, -0.999869, -0.918219,
            ],
        );
        let scale = [[0.9, 0., 0.], [0., 1.15, 0.]];
        gives(
            &x,
            &[Change::Affine(vec![scale])],
            &[
                -0.706012, -0.768772, -0.72217, -0.560766, -0.322659, 0.071834, 0.394011, 0.664764,
                0.829841, 0.875068, 0.626925, 0.356545, 0.030667, -0.300086, -0.583242, -0.724276,
                -0.767539, -0.701307, -0.523589, -0.274678,
            ],
        );
        let (sin, cos) = (-12f64).to_radians().sin_cos();
        let turn = [[cos, -sin, 0.], [sin, cos, 0.]];
        gives(
            &x,
            &[Change::Affine(vec![turn])],
            &[
                -0.351976, -0.702626, -0.904533, -0.689429, -0.349548, 0.298495, 0.44999, 0.746166,
                0.685099, 0.533747, 0.21665, 0.22277, 0.060575, -0.115763, -0.096422, -0.667647,
                -0.832464, -0.781029, -0.500346, -0.277529,
            ],
        );
    }

    fn key(iteration: u32) -> Key<'static> {
        let id = plugin_api::rng::StreamId {
            iteration,
            ..Default::default()
        };
        Key {
            seed: 0,
            stage: "test",
            id,
        }
    }

    #[test]
    fn all_changes_together_agree_with_finite_differences_to_the_second_order() {
        let augment = Augment::parse("color_crop_cutout_flip_scale_rotate").unwrap();
        let augment = Augment {
            mode: Mode::Multiple,
            ..augment
        };
        for (iteration, sharing) in [(0, Sharing::Siamese), (1, Sharing::Each(&[4, 9]))] {
            let changes = augment.draw(&key(iteration), sharing, [4, 5]);
            check("augment", &[ramp(&[2, 3, 4, 5], 0.37)], |x| {
                // Squares, so that there is a second derivative; the only error here is of the test's own making.
                let y = apply(&x[0].sqr()?, &changes).expect("changes for these images");
                y.sqr()
            });
        }
    }

    #[test]
    fn siamese_changes_do_not_look_at_the_batch() {
        let augment = Augment::parse("color_crop_cutout_flip_scale_rotate").unwrap();
        let batch = ramp(&[5, 3, 8, 8], 0.2);
        let one = batch.narrow(0, 3, 1).unwrap();
        for iteration in 0..20 {
            let changes = augment.draw(&key(iteration), Sharing::Siamese, [8, 8]);
            let of_batch = apply(&batch, &changes).unwrap().narrow(0, 3, 1).unwrap();
            let alone = apply(&one, &changes).unwrap();
            assert_eq!(of_batch.to_f64_vec().unwrap(), alone.to_f64_vec().unwrap());
        }
    }

    #[test]
    fn changes_for_other_images_are_told() {
        let x = ramp(&[3, 3, 4, 4], 0.2);
        let error = apply(&x, &[Change::Flip(vec![true, false])]).unwrap_err();
        assert_eq!(error.to_string(), "augment: drawn for 2 images, got 3");
        let none = x.narrow(0, 0, 1).unwrap();
        assert!(apply(&none, &[]).is_ok());
    }
}
