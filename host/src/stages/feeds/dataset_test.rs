use std::sync::Mutex;

use plugin_api::view::{Mix, View};

use super::*;

/// Pictures of 8 rows and 12 columns in a set of side 4; remembers each crop that was drawn.
#[derive(Default)]
struct OwnSizes(Mutex<Vec<Crop>>);

impl Images for OwnSizes {
    fn resolution(&self) -> usize {
        4
    }

    fn labels(&self) -> &[u32] {
        &[0; 30]
    }

    fn pixels(&self, _index: usize) -> Result<Pixels<'_>> {
        anyhow::bail!("the square image was asked for")
    }

    fn own_sizes(&self) -> bool {
        true
    }

    fn original(&self, _index: usize, draw: &dyn Fn([u32; 2]) -> Crop) -> Result<(Crop, Vec<u8>)> {
        let drawn = draw([8, 12]);
        self.0.lock().unwrap().push(drawn);
        // Dark on the left, light on the right.
        let row = [0, 0, 255, 255];
        Ok((drawn, row.repeat(3 * 4)))
    }
}

#[test]
fn a_crop_of_an_image_of_its_own_size_is_drawn_once() {
    let images = OwnSizes::default();
    let rule = ViewRule {
        crop: CropRule::random_resized(),
        flip: 0.5,
        ..whole(30)
    };
    let mut feed = DatasetFeed::new(&images, rule, 3, "squeeze", &candle_core::Device::Cpu);
    let views = feed.views(2).unwrap();
    let undrawn = |view: &View| View {
        color: None,
        ..View::new(Crop::whole(view.crop.image, 4), Mix::None)
    };
    assert!(views.iter().all(|view| *view == undrawn(view)), "{views:?}");
    let mut flips = 0;
    for view in &views {
        let mut out = [0.; 3 * 4 * 4];
        feed.crop(&view.crop, &mut out).unwrap();
        let drawn = images.0.lock().unwrap().pop().expect("one crop");
        assert!(images.0.lock().unwrap().is_empty(), "drawn again");
        let source = ViewSource {
            images: 30,
            resolution: 4,
            seed: 3,
        };
        let expected = source.crop(&rule, "squeeze", 2, view.crop.image, [8, 12]);
        assert_eq!(drawn, expected);
        assert_eq!(out[0] > out[3], drawn.flip, "{out:?}");
        flips += usize::from(drawn.flip);
    }
    assert!((5..25).contains(&flips), "{flips} of 30 flipped");
}
