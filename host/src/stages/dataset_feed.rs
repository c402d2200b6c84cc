//! Images with class labels, as a training reads them.

use std::ops::Range;

use anyhow::Result;
use plugin_api::{
    Ctx,
    loss::Targets,
    view::{Crop, CropRule, View, ViewRule, ViewSource, draw_crop_in, draw_views},
};

use super::{
    render::{Images, Pixels, render_crop},
    targets::hard_targets,
    train::Feed,
};

/// Labelled images with views drawn from the counter-based generator.
pub struct DatasetFeed<'a> {
    /// The images.
    pub images: &'a dyn Images,
    /// How views are drawn.
    pub rule: ViewRule,
    /// Seed of the experiment, or of one of several trainings.
    pub seed: u64,
    /// The stage that the random numbers belong to.
    pub stage: &'static str,
    /// Where targets live.
    pub device: candle_core::Device,
    /// The epoch whose views were asked for.
    pub epoch: u32,
}

impl DatasetFeed<'_> {
    fn source(&self) -> ViewSource {
        ViewSource {
            images: self.images.count() as u32,
            resolution: self.images.resolution() as u32,
            seed: self.seed,
        }
    }
}

/// Images that have another size than the set's are cropped as they are: the box is drawn again for their own rows and columns.
impl Images for DatasetFeed<'_> {
    fn count(&self) -> usize {
        self.images.count()
    }

    fn resolution(&self) -> usize {
        self.images.resolution()
    }

    fn labels(&self) -> &[u32] {
        self.images.labels()
    }

    fn pixels(&self, index: usize) -> Result<Pixels<'_>> {
        self.images.pixels(index)
    }

    fn crop(&self, crop: &Crop, out: &mut [f32]) -> Result<()> {
        let rule = &self.rule.crop;
        let random_resized = matches!(rule, CropRule::RandomResized { .. });
        let draw = |size| {
            let mut rng = self.source().view_rng(self.stage, self.epoch, crop.image);
            draw_crop_in(rule, size, &mut rng)
        };
        let original = match random_resized {
            true => self.images.original(crop.image as usize, &draw)?,
            false => None,
        };
        match original {
            None => self.images.crop(crop, out),
            Some(pixels) => {
                let side = self.resolution();
                let whole = Crop {
                    flip: crop.flip,
                    ..Crop::whole(crop.image, side as u32)
                };
                render_crop(&pixels, side, &whole, out);
                Ok(())
            }
        }
    }
}

impl Feed for DatasetFeed<'_> {
    fn views(&mut self, epoch: u32) -> Result<Vec<View>> {
        self.epoch = epoch;
        Ok(draw_views(&self.rule, &self.source(), self.stage, epoch))
    }

    fn targets(
        &mut self,
        _epoch: u32,
        views: &[View],
        _rows: Range<usize>,
        ctx: &Ctx,
    ) -> Result<Targets> {
        hard_targets(views, self.images, ctx, &self.device)
    }

    fn images(&self) -> &dyn Images {
        self
    }
}
