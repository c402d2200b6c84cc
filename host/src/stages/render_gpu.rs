//! Views of a set whose pixels lie on a GPU, rendered there.

use anyhow::Result;
use plugin_api::view::View;

use crate::{
    data::Normalization,
    engine::{
        Value,
        gpu::{
            Gpu,
            views::{ViewNumbers, render},
        },
    },
};

/// The views, normalised; none where one has changed colours, which the CPU makes.
///
/// # Errors
/// When the device has no room.
pub(super) fn rendered(
    (gpu, images): (Gpu, &Value),
    views: &[View],
    normalization: &Normalization,
) -> Result<Option<Value>> {
    let colored = |v: &View| v.color.is_some() || v.partner_color.is_some();
    if views.iter().any(colored) {
        return Ok(None);
    }
    let views: Vec<ViewNumbers> = views.iter().map(View::to_row).collect();
    let scaling = [normalization.mean, normalization.std];
    Ok(Some(render(&gpu, images, &views, scaling)?))
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;
    use crate::{
        artifact::ImageSet,
        data::Inputs,
        engine::gpu::emulated,
        stages::render::{self, Images},
    };
    use candle_core::Device;
    use plugin_api::view::{Crop, Mix};

    #[test]
    fn views_are_those_of_the_cpu() {
        const SIDE: usize = 9;
        let pixels: Vec<u8> = (0..4 * 3 * SIDE * SIDE)
            .map(|i| (i * 37 % 251) as u8)
            .collect();
        let set = ImageSet::new(SIDE, pixels.clone(), vec![0; 4], vec!["one".to_owned()]);
        let crop = |image, top, left, height, width, flip| Crop {
            image,
            top,
            left,
            height,
            width,
            flip,
        };
        let plain = |crop| View {
            crop,
            ..View::whole(0, SIDE as u32)
        };
        let partner = crop(3, 2, 1, 5, 8, true);
        let boxed = Mix::CutMix {
            partner,
            top: 2,
            left: 0,
            bottom: 7,
            right: 5,
        };
        let shared = Mix::MixUp {
            partner,
            weight: 40_000,
        };
        let views = [
            View::whole(2, SIDE as u32),
            plain(crop(1, 1, 2, 4, 6, false)),
            plain(crop(1, -3, 2, 9, 9, true)),
            plain(crop(3, 4, -2, 9, 12, false)),
            View {
                mix: boxed,
                ..plain(crop(0, 0, 3, 7, 5, true))
            },
            View {
                mix: shared,
                ..plain(crop(1, 0, 0, 9, 9, false))
            },
        ];
        let normalization = Normalization {
            mean: [0.4, 0.5, 0.6],
            std: [0.2, 0.3, 0.25],
        };
        let inputs = Inputs::from(normalization);
        let expected = render::render(&set, &views, &inputs, &Device::Cpu).unwrap();
        let images = Value::from_vec(pixels, (set.count(), 3, SIDE, SIDE), &Device::Cpu).unwrap();
        let got = emulated(|| {
            let gpu = Gpu::at(&Device::Cpu).unwrap();
            rendered((gpu, &images), &views, &normalization).unwrap()
        });
        let flat = |v: &Value| v.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (got, expected) = (flat(&got.unwrap()), flat(&expected));
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));
        let far = emulated(|| {
            let gpu = Gpu::at(&Device::Cpu).unwrap();
            rendered(
                (gpu, &images),
                &[View::whole(4, SIDE as u32)],
                &normalization,
            )
        });
        assert!(far.unwrap_err().to_string().contains("outside of the 4"));
    }
}
