//! Brightness, contrast, saturation and hue of pixels in [0, 1], as torchvision's functions on float tensors change them.

use plugin_api::view::ColorJitter;

/// Shares of red, green and blue in grey.
const GREY: [f32; 3] = [0.2989, 0.587, 0.114];
const STEPS: f32 = 65_536.;

/// Changes the colours of an image in the drawn order. What would change nothing is not done.
///
/// With grey = 0.2989 r + 0.587 g + 0.114 b and every result cut to [0, 1]:
///
/// - brightness: f x
/// - contrast: f x + (1 - f) mean(grey)
/// - saturation: f x + (1 - f) grey
/// - hue: h + shift (mod 1) in HSV
///
/// # Shapes
/// `image` [3, H, W]
pub(super) fn jitter(image: &mut [f32], color: &ColorJitter) {
    let share = |steps: i32| steps as f32 / STEPS;
    for change in color.order {
        match change {
            0 => blend(image, share(color.brightness), |_| 0.),
            1 if share(color.contrast) != 1. => {
                let mean = mean_grey(image);
                blend(image, share(color.contrast), |_| mean);
            }
            2 => blend(image, share(color.saturation), grey),
            3 if color.hue != 0 => each_pixel(image, |rgb| shifted(rgb, share(color.hue))),
            _ => {}
        }
    }
}

/// `f` of every pixel and the rest of what `other` makes of it.
fn blend(image: &mut [f32], f: f32, other: impl Fn([f32; 3]) -> f32) {
    if f == 1. {
        return;
    }
    each_pixel(image, |rgb| {
        let rest = (1. - f) * other(rgb);
        rgb.map(|v| (f * v + rest).clamp(0., 1.))
    });
}

fn each_pixel(image: &mut [f32], change: impl Fn([f32; 3]) -> [f32; 3]) {
    let (red, rest) = image.split_at_mut(image.len() / 3);
    let (green, blue) = rest.split_at_mut(rest.len() / 2);
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        [*r, *g, *b] = change([*r, *g, *b]);
    }
}

fn grey(rgb: [f32; 3]) -> f32 {
    rgb.iter().zip(GREY).map(|(v, share)| v * share).sum()
}

fn mean_grey(image: &[f32]) -> f32 {
    let plane = image.len() / 3;
    let sum: f64 = (0..plane)
        .map(|i| f64::from(grey([image[i], image[plane + i], image[2 * plane + i]])))
        .sum();
    (sum / plane.max(1) as f64) as f32
}

fn shifted(rgb: [f32; 3], shift: f32) -> [f32; 3] {
    let [hue, saturation, value] = hsv(rgb);
    rgb_of([(hue + shift).rem_euclid(1.), saturation, value])
}

fn hsv([r, g, b]: [f32; 3]) -> [f32; 3] {
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    if high == low {
        return [0., 0., high];
    }
    let chroma = high - low;
    let [rc, gc, bc] = [r, g, b].map(|v| (high - v) / chroma);
    let sixths = if high == r {
        bc - gc
    } else if high == g {
        2. + rc - bc
    } else {
        4. + gc - rc
    };
    [(sixths / 6. + 1.) % 1., chroma / high, high]
}

fn rgb_of([hue, saturation, v]: [f32; 3]) -> [f32; 3] {
    let sixths = hue * 6.;
    let f = sixths - sixths.floor();
    let part = |down: f32| (v * (1. - saturation * down)).clamp(0., 1.);
    let (p, q, t) = (part(1.), part(f), part(1. - f));
    match sixths as u32 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: ColorJitter = ColorJitter {
        order: [0, 1, 2, 3],
        brightness: 65_536,
        contrast: 65_536,
        saturation: 65_536,
        hue: 0,
    };

    fn of(share: f64) -> i32 {
        (share * 65_536.) as i32
    }

    fn with(change: impl Fn(&mut ColorJitter)) -> ColorJitter {
        let mut color = SAME;
        change(&mut color);
        color
    }

    fn image() -> Vec<f32> {
        let bytes = [
            200, 10, 30, 128, 255, 90, 40, 180, 60, 128, 0, 250, 70, 90, 220, 128, 0, 17u8,
        ];
        bytes.map(|b| f32::from(b) / 255.).to_vec()
    }

    // PyTorch 2.15, torchvision 0.29, one line of the table for each `show`:
    //
    // import torch, torchvision.transforms.functional as F
    // x = torch.tensor([[200, 10, 30, 128, 255, 90], [40, 180, 60, 128, 0, 250], [70, 90, 220, 128, 0, 17]]).reshape(3, 2, 3) / 255
    // show = lambda y: print([round(v, 4) for v in y.flatten().tolist()])
    // show(F.adjust_brightness(x, 1.5))
    // show(F.adjust_contrast(x, 0.5))
    // show(F.adjust_contrast(x, 1.75))
    // show(F.adjust_saturation(x, 0.25))
    // show(F.adjust_saturation(x, 2.0))
    // show(F.adjust_hue(x, -0.3125))
    // show(F.adjust_hue(x, 0.5))
    // show(F.adjust_brightness(F.adjust_contrast(F.adjust_hue(F.adjust_saturation(x, 1.5), 0.125), 1.25), 0.75))
    #[test]
    fn changes_are_torchvisions() {
        let all = ColorJitter {
            order: [2, 3, 1, 0],
            brightness: of(0.75),
            contrast: of(1.25),
            saturation: of(1.5),
            hue: of(0.125),
        };
        let cases = [
            (
                with(|c| c.brightness = of(1.5)),
                [
                    1., 0.0588, 0.1765, 0.7529, 1., 0.5294, 0.2353, 1., 0.3529, 0.7529, 0., 1.,
                    0.4118, 0.5294, 1., 0.7529, 0., 0.1,
                ],
            ),
            (
                with(|c| c.contrast = of(0.5)),
                [
                    0.6076, 0.235, 0.2743, 0.4664, 0.7154, 0.3919, 0.2939, 0.5684, 0.3331, 0.4664,
                    0.2154, 0.7056, 0.3527, 0.3919, 0.6468, 0.4664, 0.2154, 0.2488,
                ],
            ),
            (
                with(|c| c.contrast = of(1.75)),
                [
                    1., 0., 0., 0.5553, 1., 0.2945, 0., 0.9122, 0.0886, 0.5553, 0., 1., 0.1572,
                    0.2945, 1., 0.5553, 0., 0.,
                ],
            ),
            (
                with(|c| c.saturation = of(0.25)),
                [
                    0.4644, 0.3595, 0.2331, 0.5019, 0.4742, 0.6047, 0.3076, 0.5262, 0.2625, 0.5019,
                    0.2242, 0.7615, 0.337, 0.438, 0.4194, 0.5019, 0.2242, 0.5331,
                ],
            ),
            (
                with(|c| c.saturation = of(2.)),
                [
                    1., 0., 0., 0.502, 1., 0.0173, 0., 0.9455, 0.199, 0.502, 0., 1., 0.1912,
                    0.2396, 1., 0.502, 0., 0.,
                ],
            ),
            (
                with(|c| c.hue = of(-0.3125)),
                [
                    0.1569, 0.7059, 0.1422, 0.502, 0.125, 0.9804, 0.1961, 0.4363, 0.8627, 0.502,
                    0., 0.0667, 0.7843, 0.0392, 0.1176, 0.502, 1., 0.2387,
                ],
            ),
            (
                with(|c| c.hue = of(0.5)),
                [
                    0.1569, 0.7059, 0.8627, 0.502, 0., 0.6941, 0.7843, 0.0392, 0.7451, 0.502, 1.,
                    0.0667, 0.6667, 0.3922, 0.1176, 0.502, 1., 0.9804,
                ],
            ),
            (
                all,
                [
                    0.75, 0., 0.4416, 0.365, 0.75, 0., 0.4436, 0.5842, 0., 0.365, 0.5975, 0.75, 0.,
                    0.6685, 0.75, 0.365, 0., 0.424,
                ],
            ),
        ];
        for (color, expected) in cases {
            let mut got = image();
            jitter(&mut got, &color);
            for (got, expected) in got.iter().zip(expected) {
                assert!((got - expected).abs() < 2e-4, "{color:?}: {got} {expected}");
            }
        }
    }

    #[test]
    fn no_change_is_no_change_to_the_bit() {
        let mut got = image();
        jitter(&mut got, &SAME);
        assert_eq!(got, image());
    }
}
