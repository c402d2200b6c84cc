//! Views that a GPU renders against those of the CPU.

use crate::{
    artifact::ImageSet,
    data::{Inputs, Normalization},
    engine::gpu::emulated,
};
use candle_core::Device;
use plugin_api::view::{Before, ColorJitter, Crop, Mix, Operation, OperationKind, View};

use super::render::render;

const SIDE: usize = 9;

/// Images of all colours, one that is grey and one of a single colour.
fn set() -> ImageSet {
    let plane = SIDE * SIDE;
    let mut pixels: Vec<u8> = (0..4 * 3 * plane).map(|i| (i * 37 % 251) as u8).collect();
    let grey = pixels[..plane].to_vec();
    pixels.extend([grey.clone(), grey.clone(), grey].concat());
    pixels.extend([vec![255; plane], vec![0; plane], vec![17; plane]].concat());
    ImageSet::new(SIDE, pixels, vec![0; 6], vec!["one".to_owned()])
}

fn crop(image: u32, [top, left, height, width]: [i32; 4], flip: bool) -> Crop {
    Crop {
        image,
        top,
        left,
        height,
        width,
        flip,
    }
}

/// Whole, inside, over the border, mirrored, and mixed in both ways.
fn plain() -> Vec<View> {
    let alone = |crop| View::new(crop, Mix::None);
    let partner = crop(3, [2, 1, 5, 8], true);
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
    vec![
        View::whole(2, SIDE as u32),
        alone(crop(1, [1, 2, 4, 6], false)),
        alone(crop(1, [-3, 2, 9, 9], true)),
        alone(crop(3, [4, -2, 9, 12], false)),
        View::new(crop(0, [0, 3, 7, 5], true), boxed),
        View::new(crop(1, [0, 0, 9, 9], false), shared),
    ]
}

#[track_caller]
fn are_those_of_the_cpu(views: &[View]) {
    let inputs = Inputs::from(Normalization {
        mean: [0.4, 0.5, 0.6],
        std: [0.2, 0.3, 0.25],
    });
    let set = set();
    let of = || {
        let made = render(&set, views, &inputs, &Device::Cpu).unwrap();
        made.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let expected = of();
    let got = emulated(|| {
        assert!(set.on_gpu(&Device::Cpu).unwrap().is_some());
        of()
    });
    assert_eq!(got.len(), views.len() * 3 * SIDE * SIDE);
    for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
        let view = views[i / (3 * SIDE * SIDE)];
        assert!((got - expected).abs() < 1e-5, "{got} {expected}, {view:?}");
    }
}

#[test]
fn views_are_those_of_the_cpu() {
    are_those_of_the_cpu(&plain());
}

#[test]
fn each_change_of_colour_is_that_of_the_cpu() {
    let same = ColorJitter {
        order: [0, 1, 2, 3],
        brightness: 65_536,
        contrast: 65_536,
        saturation: 65_536,
        hue: 0,
    };
    let mut views = Vec::new();
    for factor in [0, 20_000, 120_000] {
        for change in 0..4 {
            let mut color = same;
            match change {
                0 => color.brightness = factor,
                1 => color.contrast = factor,
                2 => color.saturation = factor,
                _ => color.hue = factor / 4 - 10_000,
            }
            views.extend((0..6).map(|image| View {
                color: Some(color),
                ..View::whole(image, SIDE as u32)
            }));
        }
    }
    views.push(View {
        color: Some(same),
        ..View::whole(0, SIDE as u32)
    });
    are_those_of_the_cpu(&views);
}

#[test]
fn colours_in_any_order_and_of_partners_are_those_of_the_cpu() {
    let orders = (0..256u32).map(|i| [0, 2, 4, 6].map(|bits| (i >> bits & 3) as u8));
    let is_order = |order: &[u8; 4]| (0..4).all(|change| order.contains(&change));
    let colors: Vec<ColorJitter> = orders
        .filter(is_order)
        .enumerate()
        .map(|(i, order)| ColorJitter {
            order,
            brightness: 45_000 + 3_000 * (i as i32 % 11),
            contrast: 30_000 + 9_000 * (i as i32 % 7),
            saturation: 100_000 - 8_000 * (i as i32 % 9),
            hue: 2_600 * (i as i32 % 24 - 12),
        })
        .collect();
    assert_eq!(colors.len(), 24);
    let mut views = Vec::new();
    for (i, &color) in colors.iter().enumerate() {
        let other = colors[(i + 5) % colors.len()];
        let sides = [
            [Some(color), None],
            [None, Some(other)],
            [Some(color), Some(other)],
        ];
        for (view, [color, partner_color]) in plain().into_iter().zip(sides.iter().cycle()) {
            views.push(View {
                color: *color,
                partner_color: partner_color.filter(|_| view.mix != Mix::None),
                ..view
            });
        }
    }
    are_those_of_the_cpu(&views);
}

#[test]
fn changes_before_the_crop_are_those_of_the_cpu() {
    let mut views = plain();
    let turned = |magnitude| {
        let kind = OperationKind::Rotate;
        let operation = Some(Operation { kind, magnitude });
        Some(Before {
            operations: [operation, None, None, None],
            tiles: None,
        })
    };
    views[0].before = turned(30);
    views[4].partner_before = turned(-20);
    are_those_of_the_cpu(&views);
}

#[test]
fn views_of_other_images_are_refused() {
    let inputs = Inputs::from(Normalization {
        mean: [0.; 3],
        std: [1.; 3],
    });
    let views = [View::whole(6, SIDE as u32)];
    let far = emulated(|| render(&set(), &views, &inputs, &Device::Cpu));
    assert!(far.unwrap_err().to_string().contains("outside of the 6"));
}
