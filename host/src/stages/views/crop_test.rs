//! Tests of crops: values of PyTorch, borders.

use super::*;

fn ramp(side: usize) -> Vec<u8> {
    (0..3 * side * side).map(|i| (i * 5 % 256) as u8).collect()
}

fn crop(top: i32, left: i32, height: i32, width: i32, flip: bool) -> Crop {
    Crop {
        image: 0,
        top,
        left,
        height,
        width,
        flip,
    }
}

#[test]
fn a_whole_crop_is_the_image_and_a_flip_its_mirror() {
    let image = ramp(4);
    let mut out = vec![0.; 48];
    render_crop(&image, WHITE, 4, &crop(0, 0, 4, 4, false), &mut out);
    assert!(
        out.iter()
            .zip(&image)
            .all(|(a, b)| (a * 255. - f32::from(*b)).abs() < 1e-4)
    );
    let mut mirrored = vec![0.; 48];
    render_crop(&image, WHITE, 4, &crop(0, 0, 4, 4, true), &mut mirrored);
    for (row, mirror) in out.chunks(4).zip(mirrored.chunks(4)) {
        assert!(row.iter().rev().eq(mirror));
    }
}

// torch.nn.functional.interpolate(torch.tensor([[[[0., 10.], [20., 30.]]]]), 4, mode="bilinear")[0, 0]
#[test]
fn resizing_is_torchs() {
    let mut image = vec![0u8; 48];
    for (i, value) in [(5, 0), (6, 10), (9, 20), (10, 30)] {
        image[i] = value;
    }
    let mut out = vec![0.; 48];
    render_crop(&image, WHITE, 4, &crop(1, 1, 2, 2, false), &mut out);
    let expected = [
        0., 2.5, 7.5, 10., 5., 7.5, 12.5, 15., 15., 17.5, 22.5, 25., 20., 22.5, 27.5, 30.,
    ];
    assert!(
        out.iter()
            .zip(expected)
            .all(|(a, b)| (a * 255. - b).abs() < 1e-4),
        "{out:?}"
    );
}

#[test]
fn padding_is_black() {
    let image = vec![255u8; 48];
    let mut out = vec![0.; 48];
    render_crop(&image, WHITE, 4, &crop(-1, 2, 4, 4, false), &mut out);
    let expected = [
        0., 0., 0., 0., 1., 1., 0., 0., 1., 1., 0., 0., 1., 1., 0., 0.,
    ];
    assert_eq!(out[..16], expected);
}
