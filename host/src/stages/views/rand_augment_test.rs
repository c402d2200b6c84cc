//! Operations against torchvision's on Pillow's images.

use super::*;

/// Bytes of all sizes, other ones in each channel.
fn image(side: usize) -> Vec<u8> {
    let byte = |i: usize| {
        let channel = i / (side * side);
        let steps = 37 * i + 11 * (i / side).pow(2) + 90 * channel;
        (steps % (256 - 40 * channel)) as u8
    };
    (0..3 * side * side).map(byte).collect()
}

fn after(side: usize, kind: Kind, magnitude: i8) -> Vec<u8> {
    let mut image = image(side);
    apply(&mut image, side, Operation { kind, magnitude });
    image
}

fn digest(bytes: &[u8]) -> u32 {
    let step = |h: u32, &v: &u8| h.wrapping_mul(31).wrapping_add(u32::from(v));
    bytes.iter().fold(0, step)
}

// PyTorch 2.15, torchvision 0.29, Pillow 13.0:
//
// import numpy as np
// from PIL import Image
// from torchvision.transforms import InterpolationMode
// from torchvision.transforms.autoaugment import RandAugment, _apply_op
// def image(side):
//     i, n = np.arange(3 * side * side), side * side
//     bytes = (37 * i + 11 * (i // side) ** 2 + 90 * (i // n)) % (256 - 40 * (i // n))
//     return bytes.reshape(3, side, side).astype(np.uint8)
// def after(x, name, magnitude):
//     size, signed = RandAugment()._augmentation_space(31, x.shape[1:])[name]
//     amount = float(size[abs(magnitude)]) * (-1 if magnitude < 0 else 1) if size.ndim else 0.0
//     done = _apply_op(Image.fromarray(x.transpose(1, 2, 0)), name, amount, InterpolationMode.NEAREST, None)
//     return np.asarray(done).transpose(2, 0, 1).tobytes()
// def digest(data):
//     h = 0
//     for v in data: h = (31 * h + v) % 2**32
//     return h
// print(after(image(6), name, magnitude).hex())
#[test]
fn operations_are_torchvisions() {
    let cases = [
        (
            Kind::Identity,
            0,
            "00254a6f94b9e90e33587da2e80d32577ca1fd22476c91b6284d7297bce1698eb3d8fd225a7fa4c9163b173c6186abd0c20f\
         34597ea3abd01d42678caacf1c41668bbf0c31567ba01c41668b0025ad22476c9106a4193e6388ad01264b70950a24496e93082d5d82a71c4166",
        ),
        (
            Kind::ShearX,
            -20,
            "00254a6f94b9e90e33587da2e80d32577ca100fd22476c9100284d7297bc00698eb3d8fd5a7fa4c9163b173c6186abd0c20f\
         34597ea300abd01d426700aacf1c416600bf0c31567b1c41668b0025ad22476c9106a4193e6388ad0001264b70950024496e9308005d82a71c41",
        ),
        (
            Kind::ShearY,
            -20,
            "00254a000000e90e336f94b9e80d32587da2fd2247577ca1284d726c91b6698eb397bce15a7fa4000000173c61c9163bc20f\
         3486abd0abd01d597ea3aacf1c42678cbf0c3141668b1c4166000000ad22478b0025a4193e6c910601264b6388ad24496e70950a5d82a793082d",
        ),
        (
            Kind::TranslateX,
            -20,
            "254a6f94b9000e33587da2000d32577ca10022476c91b6004d7297bce1008eb3d8fd22007fa4c9163b003c6186abd0000f34\
         597ea300d01d42678c00cf1c41668b000c31567ba00041668b00250022476c910600193e6388ad00264b70950a00496e93082d0082a71c416600",
        ),
        (
            Kind::TranslateY,
            -20,
            "e90e33587da2e80d32577ca1fd22476c91b6284d7297bce1698eb3d8fd22000000000000173c6186abd0c20f34597ea3abd0\
         1d42678caacf1c41668bbf0c31567ba0000000000000ad22476c9106a4193e6388ad01264b70950a24496e93082d5d82a71c4166000000000000",
        ),
        (
            Kind::Rotate,
            -20,
            "00e9254a6f00e80d33335894fd2232577ca22822476c7ca18e72979791b600b3d8fde10000177fa4c900c20f61618616abd0\
         34597ed0aad01d427ea30c1c4141678c0031567b8b0000ad41668b00a41947476c0001263e63880624264b7088ad826e9393950a00a71c412d00",
        ),
        (
            Kind::Brightness,
            -20,
            "000e1d2c3b4a5d05142332405c0514223140650d1c2b3a48101e2d3c4b5a2a384756650d2432415008170918263544534d06\
         1423324144530b1a293844520b1a28374c04132231400b1a2837000e450d1c2b3a02410a18273645000f1e2c3b040e1d2c3a03122534420b1a28",
        ),
        (
            Kind::Color,
            -20,
            "21466b905d829b1f44698ea7d60e33587da2ce5f385d829b557a537891b6865f849dc253456a8fb42b504731567ba0b9c60f\
         34597ea3aea5274c718a89ae31566f94a82b50698e852c51769b224783274c719668ba13385d82a769613a5f845654795176496e815a7f52776e",
        ),
        (
            Kind::Contrast,
            -20,
            "4352606f7e8da04857667584a04857667483a8505f6e7d8c5362707f8e9d6d7c8a99a850677684934c5a4c5b6a7887969049\
         5866758487964e5d6c7b87964e5d6c7a8f48566574834e5d6c7a435288505f6e7d45844d5c6a7988435261707e4751606f7e46556877864e5d6c",
        ),
        (
            Kind::Sharpness,
            -20,
            "00254a6f94b9e928365b80a2e833355a7fa1fd3c4a6f94b6285c759ab3e1698eb3d8fd225a7fa4c9163b1749647e9ad0c230\
         415c81a3abab33456a8caaaa3244698bbf0c31567ba01c41668b0025ad354a677b06a42c41667aad01314e6b7f0a244c697d232d5d82a71c4166",
        ),
        (
            Kind::Posterize,
            26,
            "0020486890b8e808305878a0e808305078a0f820406890b028487090b8e06888b0d8f8205878a0c8103810386080a8d0c008\
         305878a0a8d018406088a8c818406088b808305078a0184060880020a82040689000a018386088a80020487090082048689008285880a0184060",
        ),
        (
            Kind::Solarize,
            26,
            "00dab5906b46160ecca7825d170dcda8835e02ddb8936e49d7b28d68431e96714c2702dda5805b3616c417c39e79542f3d0f\
         cba6815c542f1dbd987355301cbe9974400ccea9845f1cbe997400da52ddb8936e065b19c19c775201d9b48f6a0adbb6916c08d2a27d581cbe99",
        ),
        (
            Kind::AutoContrast,
            0,
            "00254a6f95baea0e33587da3e90d32577ca2ff22476c92b7284d7298bde2698fb4d9ff226595c5f50d3d0e3e6e9ecefeec03\
         346494c4cefe164676a6cdfd144475a5e800306090c0295f96cc0036ff32689fd508f1245b91c8ff01386ea5db0e356ba2d80b4289bff6295f96",
        ),
    ];
    for (kind, magnitude, expected) in cases {
        let got = after(6, kind, magnitude);
        let got: String = got.iter().map(|v| format!("{v:02x}")).collect();
        assert_eq!(got, expected, "{kind:?}");
    }
}

// print(digest(after(image(20), name, magnitude)))
#[test]
fn operations_of_any_magnitude_are_torchvisions() {
    let cases: [(Kind, &[(i8, u32)]); 14] = [
        (Kind::Identity, &[(0, 374_910_832)]),
        (
            Kind::ShearX,
            &[
                (9, 3_469_032_256),
                (-9, 951_171_813),
                (20, 2_759_090_934),
                (-30, 3_560_873_280),
            ],
        ),
        (
            Kind::ShearY,
            &[
                (9, 2_134_745_734),
                (-9, 3_561_523_959),
                (20, 599_065_750),
                (-30, 3_708_718_748),
            ],
        ),
        (
            Kind::TranslateX,
            &[
                (9, 624_106_924),
                (-9, 1_221_024_332),
                (20, 2_746_332_812),
                (-30, 1_865_462_818),
            ],
        ),
        (
            Kind::TranslateY,
            &[
                (9, 55_995_004),
                (-9, 2_338_106_452),
                (20, 2_469_799_716),
                (-30, 3_828_134_106),
            ],
        ),
        (
            Kind::Rotate,
            &[
                (9, 2_064_264_648),
                (-9, 2_244_057_232),
                (20, 2_219_128_456),
                (-30, 1_064_862_686),
            ],
        ),
        (
            Kind::Brightness,
            &[
                (9, 2_404_356_512),
                (-9, 1_174_404_116),
                (20, 3_176_417_688),
                (-30, 83_227_910),
            ],
        ),
        (
            Kind::Color,
            &[
                (9, 2_310_444_572),
                (-9, 2_368_170_723),
                (20, 2_235_207_875),
                (-30, 118_177_616),
            ],
        ),
        (
            Kind::Contrast,
            &[
                (9, 925_463_008),
                (-9, 2_047_656_467),
                (20, 2_790_593_452),
                (-30, 791_539_904),
            ],
        ),
        (
            Kind::Sharpness,
            &[
                (9, 3_226_999_540),
                (-9, 3_987_624_107),
                (20, 1_853_559_220),
                (-30, 1_097_250_081),
            ],
        ),
        (
            Kind::Posterize,
            &[(9, 2_903_508_976), (20, 2_550_474_952), (30, 3_348_767_184)],
        ),
        (
            Kind::Solarize,
            &[(9, 2_383_899_588), (20, 2_983_045_187), (30, 3_103_237_520)],
        ),
        (Kind::AutoContrast, &[(0, 1_772_129_875)]),
        (Kind::Equalize, &[(0, 3_155_942_636)]),
    ];
    for (kind, expected) in cases {
        for &(magnitude, expected) in expected {
            let got = digest(&after(20, kind, magnitude));
            assert_eq!(got, expected, "{kind:?} {magnitude}");
        }
    }
}

#[test]
fn images_of_one_colour_and_of_one_pixel_stay_whole() {
    for (kind, magnitude) in Kind::ALL.map(|kind| (kind, *kind.magnitudes().end())) {
        let mut pixel = [7, 200, 90];
        apply(&mut pixel, 1, Operation { kind, magnitude });
        if matches!(kind, Kind::Sharpness | Kind::AutoContrast | Kind::Equalize) {
            assert_eq!(pixel, [7, 200, 90], "{kind:?}");
        }
    }
    let mut plain = vec![17; 3 * 400];
    for kind in [Kind::AutoContrast, Kind::Equalize] {
        let operation = Operation { kind, magnitude: 0 };
        apply(&mut plain, 20, operation);
        assert!(plain.iter().all(|&v| v == 17), "{kind:?}");
    }
}
