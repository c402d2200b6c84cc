//! Images with class labels, as a training reads them.

use std::ops::Range;

use anyhow::Result;
use plugin_api::{
    Ctx,
    loss::{SoftTargets, Targets},
    rng::StreamId,
    view::{
        BeforeRule, ColorRule, Crop, CropRule, MixRule, View, ViewRule, ViewSource, draw_views,
    },
};

use crate::{
    engine::{Tensor, Value, gpu::Gpu},
    plugins::ops::export,
    stages::{
        augment::{Augment, Key, Sharing, apply},
        networks::plugin_error,
        views::{Images, Pixels, WHITE, render_crop},
    },
};

use super::{Feed, targets::hard_targets};

/// Images as they are.
pub fn whole(batch_size: u32) -> ViewRule {
    ViewRule {
        crop: CropRule::None,
        flip: 0.,
        mix: MixRule::None,
        batch_size,
        color_jitter: ColorRule::NONE,
        before: BeforeRule::NONE,
    }
}

/// Labelled images with views drawn from the counter-based generator.
pub struct DatasetFeed<'a> {
    images: &'a dyn Images,
    rule: ViewRule,
    seed: u64,
    stage: &'static str,
    device: candle_core::Device,
    augment: Augment,
    /// Logits of labels, used instead of classes, [N, classes].
    labels: Option<Value>,
    /// Whose views were asked for.
    epoch: u32,
}

impl<'a> DatasetFeed<'a> {
    /// A feed that augments nothing beyond its views.
    pub fn new(
        images: &'a dyn Images,
        rule: ViewRule,
        seed: u64,
        stage: &'static str,
        device: &candle_core::Device,
    ) -> Self {
        assert!(
            rule.before.is_none() || !images.own_sizes(),
            "tiles and operations are of images of one size"
        );
        Self {
            images,
            rule,
            seed,
            stage,
            device: device.clone(),
            augment: Augment::default(),
            labels: None,
            epoch: 0,
        }
    }

    /// The same with an augmentation of rendered batches, drawn for each image.
    #[must_use]
    pub fn with_augment(self, augment: Augment) -> Self {
        Self { augment, ..self }
    }

    /// The same with learned labels instead of classes, for views without a mix.
    #[must_use]
    pub fn with_labels(self, labels: Option<Value>) -> Self {
        Self { labels, ..self }
    }

    /// Whether the box of a random resized crop waits for its image's own rows and columns.
    fn drawn_when_decoded(&self) -> bool {
        matches!(self.rule.crop, CropRule::RandomResized { .. }) && self.images.own_sizes()
    }

    fn source(&self) -> ViewSource {
        ViewSource {
            images: self.images.count() as u32,
            resolution: self.images.resolution() as u32,
            seed: self.seed,
        }
    }
}

/// Images that have another size than the set's are cropped as they are.
impl Images for DatasetFeed<'_> {
    fn resolution(&self) -> usize {
        self.images.resolution()
    }

    fn labels(&self) -> &[u32] {
        self.images.labels()
    }

    fn on_gpu(&self, device: &candle_core::Device) -> Result<Option<(Gpu, &Value)>> {
        self.images.on_gpu(device)
    }

    fn pixels(&self, index: usize) -> Result<Pixels<'_>> {
        self.images.pixels(index)
    }

    fn crop(&self, crop: &Crop, out: &mut [f32]) -> Result<()> {
        if !self.drawn_when_decoded() {
            return self.images.crop(crop, out);
        }
        let (source, image) = (self.source(), crop.image);
        let draw = |size| source.crop(&self.rule, self.stage, self.epoch, image, size);
        let (drawn, pixels) = self.images.original(image as usize, &draw)?;
        let side = self.resolution();
        let whole = Crop {
            flip: drawn.flip,
            ..Crop::whole(image, side as u32)
        };
        render_crop(&pixels, WHITE, side, &whole, out);
        Ok(())
    }
}

impl Feed for DatasetFeed<'_> {
    fn views(&mut self, epoch: u32) -> Result<Vec<View>> {
        self.epoch = epoch;
        let rule = match self.drawn_when_decoded() {
            true => ViewRule {
                crop: CropRule::None,
                flip: 0.,
                ..self.rule
            },
            false => self.rule,
        };
        Ok(draw_views(&rule, &self.source(), self.stage, epoch))
    }

    fn targets(
        &mut self,
        _epoch: u32,
        views: &[View],
        _rows: Range<usize>,
        ctx: &Ctx,
    ) -> Result<Targets> {
        let Some(labels) = &self.labels else {
            let set = (self.images.labels(), self.images.resolution());
            return hard_targets(views, set, ctx, &self.device);
        };
        let images: Vec<u32> = views.iter().map(|v| v.crop.image).collect();
        let index = Value::from_vec(images, views.len(), &self.device)?;
        let logits = export(Tensor::constant(labels.index_select(&index, 0)?));
        Ok(Targets::Soft(SoftTargets::new(
            logits.log_softmax(1).map_err(plugin_error)?,
            Some(logits),
        )))
    }

    fn augment(&self, images: Value, epoch: u32, views: &[View], row: usize) -> Result<Value> {
        let id = StreamId {
            class: 0,
            item: row as u32,
            iteration: epoch,
        };
        let key = Key {
            seed: self.seed,
            stage: self.stage,
            id,
        };
        let numbers: Vec<u32> = views.iter().map(|v| v.crop.image).collect();
        let side = self.images.resolution();
        let sharing = Sharing::Each(&numbers);
        let changes = self.augment.draw(&key, sharing, [side, side]);
        Ok(apply(&Tensor::constant(images), &changes)?.into_value())
    }

    fn images(&self) -> &dyn Images {
        self
    }
}

#[cfg(test)]
#[path = "dataset_test.rs"]
mod tests;
