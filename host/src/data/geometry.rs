//! Conversion of every image to a square: resizing as in PIL, cropping, and the channel-first layout.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use super::config::{Config, Interpolation, Resize};

/// From this resolution on, the shorter side is resized to 256/224 of it before the centre is cut out.
const ZOOM_FROM_PX: u32 = 96;

/// Bound on the image between resizing and cropping, which an extreme aspect ratio would blow up.
const MAX_RESIZED_PX: u64 = 1 << 26;

/// How an image becomes a square.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub resolution: u32,
    pub resize: Resize,
    pub interpolation: Interpolation,
}

impl Geometry {
    /// What the `[data]` table says.
    pub fn of(config: &Config) -> Self {
        Self {
            resolution: config.resolution,
            resize: config.resize,
            interpolation: config.interpolation,
        }
    }

    /// Brings an image to the square.
    ///
    /// # Shapes
    /// The result is (3, resolution, resolution).
    ///
    /// # Errors
    /// The image is far longer than wide.
    pub fn square(&self, image: RgbImage) -> Result<Vec<u8>, String> {
        Ok(chw_of(&self.fit(image)?))
    }

    /// Resizes both sides to the resolution.
    ///
    /// # Shapes
    /// The result is (3, resolution, resolution).
    ///
    /// # Errors
    /// The resizer refuses.
    pub fn stretched(&self, image: RgbImage) -> Result<Vec<u8>, String> {
        let side = self.resolution;
        Ok(chw_of(&self.resize_to(image, side, side)?))
    }

    /// Brings an image to the square.
    fn fit(&self, image: RgbImage) -> Result<RgbImage, String> {
        let side = self.resolution;
        let (width, height) = image.dimensions();
        if (width, height) == (side, side) {
            return Ok(image);
        }
        let (resized_width, resized_height) = match self.resize {
            Resize::Stretch => (side, side),
            Resize::ShorterCrop => shorter_side_to(width, height, shorter_target(side)),
        };
        if u64::from(resized_width) * u64::from(resized_height) > MAX_RESIZED_PX {
            return Err(format!(
                "{width}x{height} is too long for resize = \"shorter-crop\"; use \"stretch\""
            ));
        }
        let resized = self.resize_to(image, resized_width, resized_height)?;
        // torchvision's CenterCrop: Python's round, halves to even.
        let offset = |length: u32| (f64::from(length - side) / 2.).round_ties_even() as u32;
        let (left, top) = (offset(resized_width), offset(resized_height));
        Ok(image::imageops::crop_imm(&resized, left, top, side, side).to_image())
    }

    /// Resizes rows first, then columns, with bytes in between: Pillow's order. What is left is a rare difference of one,
    /// where Pillow's finer weights round the other way.
    fn resize_to(&self, image: RgbImage, width: u32, height: u32) -> Result<RgbImage, String> {
        let rows = image.height();
        let image = self.resize_pass(image, width, rows)?;
        self.resize_pass(image, width, height)
    }

    fn resize_pass(&self, image: RgbImage, width: u32, height: u32) -> Result<RgbImage, String> {
        if image.dimensions() == (width, height) {
            return Ok(image);
        }
        let filter = match self.interpolation {
            Interpolation::Bilinear => FilterType::Bilinear,
            Interpolation::Bicubic => FilterType::CatmullRom,
            Interpolation::Lanczos => FilterType::Lanczos3,
        };
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(filter))
            .use_alpha(false);
        // Of known type: the resizer for any type would be compiled for all of them.
        let refused = |e: &dyn std::fmt::Display| format!("cannot be resized: {e}");
        let bytes = image.as_raw();
        let source = TypedImageRef::<U8x3>::from_buffer(image.width(), image.height(), bytes)
            .map_err(|e| refused(&e))?;
        let mut resized = RgbImage::new(width, height);
        let mut target = TypedImage::<U8x3>::from_buffer(width, height, &mut resized)
            .map_err(|e| refused(&e))?;
        Resizer::new()
            .resize_typed(&source, &mut target, &options)
            .map_err(|e| refused(&e))?;
        drop(target);
        Ok(resized)
    }
}

/// Side to which the shorter side is resized: the resolution, or 256/224 of it where there is room to cut.
fn shorter_target(resolution: u32) -> u32 {
    match resolution >= ZOOM_FROM_PX {
        true => (f64::from(resolution) * 256. / 224.).round_ties_even() as u32,
        false => resolution,
    }
}

/// torchvision's `Resize(target)`: the longer side follows, its fraction cut off.
fn shorter_side_to(width: u32, height: u32, target: u32) -> (u32, u32) {
    let longer = |long: u32, short: u32| {
        let length = u64::from(target) * u64::from(long) / u64::from(short);
        u32::try_from(length).unwrap_or(u32::MAX)
    };
    match width <= height {
        true => (target, longer(height, width)),
        false => (longer(width, height), target),
    }
}

/// From interleaved pixels to one plane a channel.
fn chw_of(image: &RgbImage) -> Vec<u8> {
    let plane = (image.width() * image.height()) as usize;
    let mut chw = vec![0; 3 * plane];
    let (red, rest) = chw.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    for (i, rgb) in image.as_raw().chunks_exact(3).enumerate() {
        (red[i], green[i], blue[i]) = (rgb[0], rgb[1], rgb[2]);
    }
    chw
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn geometry(resolution: u32, resize: Resize) -> Geometry {
        Geometry {
            resolution,
            resize,
            interpolation: Interpolation::Bilinear,
        }
    }

    /// The image behind the constants: `(37 x + 91 y + 53 c + 17 x y) % 256`.
    fn pattern(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([0, 1, 2].map(|c| ((x * 37 + y * 91 + c * 53 + x * y * 17) % 256) as u8))
        })
    }

    #[test]
    fn bilinear_by_hand() {
        // From 4 to 2 pixels the triangle is 4 wide: weights 3, 3, 1 over 7 at the edge, 1, 3, 3 over 7 at the other.
        let row = RgbImage::from_fn(4, 1, |x, _| image::Rgb([70 * x as u8; 3]));
        let resized = chw_of(&geometry(2, Resize::Stretch).fit(row).unwrap());
        assert_eq!(resized[..4], [50, 160, 50, 160]); // (3*70 + 140)/7 = 50, (70 + 3*140 + 3*210)/7 = 160
        assert_eq!(resized[4..8], resized[..4]);
    }

    /// `np.asarray(Image.fromarray(pattern).resize((W, H), filter)).transpose(2, 0, 1).reshape(-1)`, Pillow 13.0
    #[test]
    fn resizing_agrees_with_pillow() {
        let reduced = [
            (
                Interpolation::Bilinear,
                [78, 134, 169, 159, 126, 148, 152, 114, 157, 179, 132, 146],
            ),
            (
                Interpolation::Bicubic,
                [70, 137, 174, 159, 124, 152, 160, 108, 157, 181, 131, 142],
            ),
            (
                Interpolation::Lanczos,
                [69, 139, 178, 161, 124, 155, 167, 104, 157, 180, 133, 140],
            ),
        ];
        for (interpolation, expected) in reduced {
            let geometry = Geometry {
                interpolation,
                ..geometry(2, Resize::Stretch)
            };
            let got = chw_of(&geometry.fit(pattern(5, 3)).unwrap());
            assert_eq!(got, expected, "{interpolation:?}");
        }
        let enlarged = chw_of(&geometry(4, Resize::Stretch).fit(pattern(2, 2)).unwrap());
        let expected = [
            0, 9, 28, 37, 23, 33, 54, 64, 68, 81, 106, 118, 91, 105, 132, 145,
        ];
        assert_eq!(enlarged[..16], expected);
    }

    /// As above after `Resize(s)` and `CenterCrop(r)` in torchvision's arithmetic; one byte may differ by one.
    #[test]
    fn shorter_crop_agrees_with_torchvision() {
        let small = chw_of(&geometry(4, Resize::ShorterCrop).fit(pattern(9, 5)).unwrap());
        let expected = [
            132, 134, 180, 124, 183, 124, 94, 166, 97, 137, 103, 104, 118, 70, 154, 128,
        ];
        let off: u32 = small
            .iter()
            .zip(expected)
            .map(|(got, expected)| u32::from(got.abs_diff(expected)))
            .sum();
        assert!(off <= 1, "{:?}", &small[..16]);
        let large = geometry(96, Resize::ShorterCrop)
            .fit(pattern(150, 131))
            .unwrap();
        let corners = [
            (0, 0, [128, 96, 121]),
            (95, 95, [142, 185, 127]),
            (17, 40, [187, 110, 50]),
        ];
        for (x, y, expected) in corners {
            let got = large.get_pixel(x, y).0;
            assert!(
                (0..3).all(|c| got[c].abs_diff(expected[c]) <= 1),
                "({x}, {y}): {got:?}"
            );
        }
        let mut sums = [0u64; 3];
        large
            .pixels()
            .for_each(|p| (0..3).for_each(|c| sums[c] += u64::from(p.0[c])));
        for (sum, expected) in sums.iter().zip([1160436, 1178696, 1191547u64]) {
            assert!(
                sum.abs_diff(expected) < 96 * 96 / 20,
                "{sum} against {expected}"
            );
        }
    }

    // torchvision 0.29 on byte tensors, which rounds between the passes as Pillow does:
    //
    // F.center_crop(F.resize(pattern, 4, antialias=True), 4).flatten()
    // y = F.center_crop(F.resize(pattern, 110, antialias=True), 96); [y[:, b, a] for a, b in [(0, 0), (95, 95), (17, 40)]]
    #[test]
    fn shorter_crop_agrees_with_torchvision_on_tensors() {
        let small = chw_of(&geometry(4, Resize::ShorterCrop).fit(pattern(9, 5)).unwrap());
        let expected = [
            131, 134, 180, 124, 183, 124, 94, 166, 97, 137, 103, 103, 118, 70, 154, 128, 144, 177,
            163, 55, 141, 80, 147, 138, 150, 116, 156, 156, 171, 123, 138, 94, 173, 200, 71, 79,
            140, 133, 146, 65, 149, 146, 114, 151, 79, 136, 150, 147,
        ];
        let near = |got: &u8, expected: u8| got.abs_diff(expected) <= 1;
        assert!(
            small.iter().zip(expected).all(|(g, e)| near(g, e)),
            "{small:?}"
        );
        let large = geometry(96, Resize::ShorterCrop)
            .fit(pattern(150, 131))
            .unwrap();
        for (x, y, expected) in [
            (0, 0, [128, 96, 121]),
            (95, 95, [141, 185, 127]),
            (17, 40, [187, 110, 51]),
        ] {
            let got = large.get_pixel(x, y).0;
            assert!(
                (0..3).all(|c| near(&got[c], expected[c])),
                "({x}, {y}): {got:?}"
            );
        }
    }

    #[test]
    fn the_protocol_of_imagenet() {
        assert_eq!(shorter_target(224), 256);
        assert_eq!((shorter_target(64), shorter_target(96)), (64, 110));
        assert_eq!(shorter_side_to(500, 375, 256), (341, 256));
        assert_eq!(shorter_side_to(375, 500, 256), (256, 341));
    }

    #[test]
    fn an_image_of_the_size_is_taken_as_it_is() {
        let image = pattern(100, 100);
        assert_eq!(
            geometry(100, Resize::ShorterCrop)
                .fit(image.clone())
                .unwrap(),
            image
        );
    }

    // Image.fromarray(pattern).crop((2, 1, 7, 4)).resize((4, 4), Image.BILINEAR), channel by channel
    #[test]
    fn a_box_is_resized_as_pillow_does() {
        let part = image::imageops::crop_imm(&pattern(9, 5), 2, 1, 5, 3).to_image();
        let got = geometry(4, Resize::ShorterCrop).stretched(part).unwrap();
        let expected = [
            213, 169, 82, 146, 134, 169, 95, 104, 110, 129, 125, 77, 151, 62, 164, 75, 202, 73,
            135, 199, 163, 99, 81, 157, 163, 115, 111, 130, 204, 115, 217, 128, 63, 126, 188, 60,
            144, 152, 134, 138, 144, 168, 109, 159, 65, 168, 121, 117,
        ];
        let near = |(got, e): (&u8, u8)| got.abs_diff(e) <= 1;
        assert!(got.iter().zip(expected).all(near), "{got:?}");
    }

    #[test]
    fn planes_are_apart() {
        let chw = geometry(2, Resize::Stretch)
            .square(RgbImage::from_pixel(2, 2, Rgb([10, 20, 30])))
            .unwrap();
        assert_eq!(chw, [10, 10, 10, 10, 20, 20, 20, 20, 30, 30, 30, 30]);
    }

    #[test]
    fn absurd_proportions_are_an_error() {
        let geometry = geometry(96, Resize::ShorterCrop);
        let error = geometry.square(RgbImage::new(1, 20_000)).unwrap_err();
        assert!(error.starts_with("1x20000 is too long"), "{error}");
    }
}
