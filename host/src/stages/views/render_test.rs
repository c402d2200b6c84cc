//! Pixels of views against torchvision's, on float tensors, resized bilinearly with antialiasing.

use candle_core::Device;
use plugin_api::view::{Before, ColorJitter, Crop, Mix, Tiles, View};

use crate::{artifact::ImageSet, data::Normalization};

use super::render::render;

const SIDE: usize = 4;

/// `(a x + b y + c channel + 17 x y) % 256`
fn pattern([a, b, c]: [usize; 3]) -> Vec<u8> {
    let byte = |i: usize| {
        let (channel, y, x) = (i / (SIDE * SIDE), i / SIDE % SIDE, i % SIDE);
        ((a * x + b * y + c * channel + 17 * x * y) % 256) as u8
    };
    (0..3 * SIDE * SIDE).map(byte).collect()
}

#[track_caller]
fn shows(view: View, normalization: &Normalization, expected: [f32; 3 * SIDE * SIDE]) {
    let pixels = [pattern([37, 91, 53]), pattern([113, 59, 31])].concat();
    let set = ImageSet::new(SIDE, pixels, vec![0, 1], vec!["a".into(), "b".into()]);
    let got = render(&set, &[view], &(*normalization).into(), &Device::Cpu).unwrap();
    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() < 2e-4, "{i}: {got} {expected}");
    }
}

const PLAIN: Normalization = Normalization {
    mean: [0.; 3],
    std: [1.; 3],
};

const CROP: Crop = Crop {
    image: 0,
    top: 1,
    left: 0,
    height: 3,
    width: 2,
    flip: true,
};

const COLOR: ColorJitter = ColorJitter {
    order: [3, 2, 0, 1],
    brightness: 65_536,
    contrast: 65_536,
    saturation: 98_304,
    hue: 8_192,
};

const NORMALIZED: Normalization = Normalization {
    mean: [0.5, 0.4, 0.3],
    std: [0.2, 0.3, 0.4],
};

const COLORED: [f32; 3 * SIDE * SIDE] = [
    0.9266, 0.6618, 0.1324, -0.1323, 2.2454, 1.5962, -0.6287, -1.3043, 1.9513, 1.2395, -1.1103,
    -1.8485, 0.1422, -0.2892, -1.152, -1.5834, 0.4314, 0.255, -0.098, -0.2745, 0.2666, 0.8141,
    1.1544, 1.5618, 0.0705, 0.5763, 0.8333, 1.1991, -0.0915, -0.3791, -0.9543, -1.2419, 1.75, 1.75,
    1.7353, 1.603, 0.0492, 0.3128, 0.1305, 0.2339, -0.0979, 0.1345, -0.1103, -0.0382, 1.7402,
    1.5245, 1.0931, 0.8774,
];

// PyTorch 2.15, torchvision 0.29; the tests below, in the order of the `show`s:
//
// import torch, torchvision.transforms.functional as F
// from torchvision.transforms import v2
// def pattern(a, b, c, n=4):
//     t = torch.arange(n)
//     return (a * t[None, None] + b * t[None, :, None] + c * torch.arange(3)[:, None, None] + 17 * t[None, None] * t[None, :, None]) % 256 / 255
// x, z = pattern(37, 91, 53), pattern(113, 59, 31)
// show = lambda y: print([round(v, 4) for v in y.flatten().tolist()])
// crop = F.hflip(F.resized_crop(x, 1, 0, 3, 2, [4, 4], antialias=True))
// show(crop)
// show(F.crop(F.pad(x, 2), 0, 3, 4, 4))
// pair = torch.stack([x, z])
// labels = torch.tensor([0, 1])
// show(v2.MixUp(num_classes=2).transform(pair, dict(labels=labels, batch_size=2, lam=0.25))[0])
// show(v2.CutMix(num_classes=2).transform(pair, dict(labels=labels, batch_size=2, box=(1, 0, 3, 2), lam_adjusted=0.75))[0])
// show(F.normalize(F.adjust_saturation(F.adjust_hue(crop, 0.125), 1.5), [.5, .4, .3], [.2, .3, .4]))

#[test]
fn a_resized_and_mirrored_crop() {
    shows(
        View::new(CROP, Mix::None),
        &PLAIN,
        [
            0.5686, 0.5157, 0.4098, 0.3569, 0.8333, 0.77, 0.6433, 0.5799, 0.7745, 0.6987, 0.5469,
            0.4711, 0.4118, 0.3255, 0.1529, 0.0667, 0.7765, 0.7235, 0.6176, 0.5647, 0.4137, 0.5072,
            0.6942, 0.7877, 0.3549, 0.4359, 0.5979, 0.6789, 0.6196, 0.5333, 0.3608, 0.2745, 0.9843,
            0.9314, 0.8255, 0.7725, 0.6216, 0.5582, 0.4315, 0.3681, 0.5627, 0.4869, 0.3352, 0.2593,
            0.8275, 0.7412, 0.5686, 0.4824,
        ],
    );
}

#[test]
fn a_padded_crop() {
    let crop = Crop {
        top: -2,
        left: 1,
        ..Crop::whole(0, 4)
    };
    shows(
        View::new(crop, Mix::None),
        &PLAIN,
        [
            0., 0., 0., 0., 0., 0., 0., 0., 0.1451, 0.2902, 0.4353, 0., 0.5686, 0.7804, 0.9922, 0.,
            0., 0., 0., 0., 0., 0., 0., 0., 0.3529, 0.498, 0.6431, 0., 0.7765, 0.9882, 0.1961, 0.,
            0., 0., 0., 0., 0., 0., 0., 0., 0.5608, 0.7059, 0.851, 0., 0.9843, 0.1922, 0.4039, 0.,
        ],
    );
}

#[test]
fn a_mixup() {
    let mix = Mix::MixUp {
        partner: Crop::whole(1, 4),
        weight: 16_384,
    };
    shows(
        View::new(Crop::whole(0, 4), mix),
        &PLAIN,
        [
            0., 0.3686, 0.7373, 0.3529, 0.2627, 0.698, 0.3804, 0.8157, 0.5255, 0.2745, 0.5255,
            0.2745, 0.5373, 0.3529, 0.9216, 0.4863, 0.1431, 0.5118, 0.1275, 0.4961, 0.4059, 0.8412,
            0.52353, 0.7078, 0.6686, 0.1667, 0.6686, 0.4176, 0.6804, 0.4961, 0.3118, 0.6294,
            0.2863, 0.6549, 0.2706, 0.6392, 0.549, 0.9843, 0.4157, 0.851, 0.5608, 0.3098, 0.8118,
            0.5608, 0.8235, 0.6392, 0.2039, 0.7725,
        ],
    );
}

#[test]
fn a_cutmix() {
    let mix = Mix::CutMix {
        partner: Crop::whole(1, 4),
        top: 0,
        left: 1,
        bottom: 2,
        right: 3,
    };
    shows(
        View::new(Crop::whole(0, 4), mix),
        &PLAIN,
        [
            0., 0.4431, 0.8863, 0.4353, 0.3569, 0.7412, 0.2471, 0.9922, 0.7137, 0.9922, 0.2667,
            0.5451, 0.0667, 0.4118, 0.7569, 0.098, 0.2078, 0.5647, 0.0039, 0.6431, 0.5647, 0.8627,
            0.3686, 0.1961, 0.9216, 0.1961, 0.4745, 0.7529, 0.2745, 0.6196, 0.9647, 0.3059, 0.4157,
            0.6863, 0.1255, 0.851, 0.7725, 0.9843, 0.4902, 0.4039, 0.1255, 0.4039, 0.6824, 0.9608,
            0.4824, 0.8275, 0.1686, 0.5137,
        ],
    );
}

#[test]
fn colours_come_after_the_crop_and_before_the_normalisation() {
    let view = View {
        color: Some(COLOR),
        ..View::new(CROP, Mix::None)
    };
    shows(view, &NORMALIZED, COLORED);
}

/// All of the partner's pixels, in colours of its own.
#[test]
fn a_partner_has_its_own_colours() {
    let mix = Mix::MixUp {
        partner: CROP,
        weight: 0,
    };
    let view = View {
        partner_color: Some(COLOR),
        ..View::new(Crop::whole(1, 4), mix)
    };
    shows(view, &NORMALIZED, COLORED);
}

/// A view of tiles put where they were is the plain one; the partner's are its own.
#[test]
fn tiles_are_shuffled_before_the_crop() {
    let side = |columns, rows| {
        Some(Before {
            tiles: Some(Tiles {
                count: 2,
                columns,
                rows,
            }),
            ..Before::default()
        })
    };
    let swapped = [1, 0, 0, 0];
    let pixels: Vec<u8> = (0..48).map(|i| 5 * i).collect();
    let set = ImageSet::new(SIDE, pixels, vec![0], vec!["a".into()]);
    let of = |view: View| {
        let got = render(&set, &[view], &PLAIN.into(), &Device::Cpu).unwrap();
        got.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let corner = |top, left| Crop {
        top,
        left,
        height: 2,
        width: 2,
        ..Crop::whole(0, 4)
    };
    let lower_right = of(View::new(corner(2, 2), Mix::None));
    let moved = View {
        before: side(swapped, swapped),
        ..View::new(corner(0, 0), Mix::None)
    };
    assert_eq!(of(moved), lower_right);
    let partner = Mix::MixUp {
        partner: corner(0, 2),
        weight: 0,
    };
    let mixed = View {
        partner_before: side([0, 1, 0, 0], swapped),
        ..View::new(corner(0, 0), partner)
    };
    assert_eq!(of(mixed), lower_right);
}

#[test]
fn mixes_take_the_box_and_the_weight() {
    let pixels = [vec![0u8; 48], vec![255u8; 48]].concat();
    let set = ImageSet::new(4, pixels, vec![0, 1], vec!["a".into(), "b".into()]);
    let plain = Normalization {
        mean: [0.; 3],
        std: [1.; 3],
    };
    let (one, partner) = (Crop::whole(0, 4), Crop::whole(1, 4));
    let cutmix = Mix::CutMix {
        partner,
        top: 1,
        left: 0,
        bottom: 3,
        right: 2,
    };
    let mixup = Mix::MixUp {
        partner,
        weight: 49_152,
    };
    let [cutmix, mixup] = [cutmix, mixup].map(|mix| View::new(one, mix));
    let out = render(&set, &[cutmix, mixup], &plain.into(), &Device::Cpu).unwrap();
    let out = out.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(
        out[..16],
        [
            0., 0., 0., 0., 1., 1., 0., 0., 1., 1., 0., 0., 0., 0., 0., 0.
        ]
    );
    assert!(out[48..].iter().all(|v| (v - 0.25).abs() < 1e-6));
}
