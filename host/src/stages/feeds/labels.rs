//! A set with its stored labels, as a training reads it.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use plugin_api::{
    Ctx, Tensor as PluginTensor,
    loss::Targets,
    relabeler::{ForeignRelabeler, LabelBatch, RecordIndex, Relabeler, SetInfo},
    view::View,
};

use crate::{
    artifact::{ImageSet, LabelReader, labels::Pass},
    engine::{Tensor, Value},
    plugins::ops::export,
    stages::{ComponentConfig, Session, networks::plugin_error, views::Images},
};

use super::{
    Feed,
    targets::{class_labels, with_classes},
};

/// A set with its stored labels.
pub struct LabelFeed<'a> {
    session: &'a Session<'a>,
    images: &'a ImageSet,
    reader: LabelReader,
    relabeler: ForeignRelabeler,
    set: SetInfo,
    held: Option<(u32, Pass)>,
}

impl<'a> LabelFeed<'a> {
    /// Joins images and labels; `set` is what the relabeler was told of them.
    ///
    /// # Errors
    /// When the labels are of another set.
    pub fn new(
        session: &'a Session<'a>,
        relabeler: &ComponentConfig,
        set: SetInfo,
        images: &'a ImageSet,
        reader: LabelReader,
    ) -> Result<Self> {
        let (registry, params) = (session.registry, relabeler.params());
        let relabeler = registry.create_relabeler(&relabeler.plugin, &params)?;
        let index = reader.index();
        ensure!(
            index.set == set,
            "the labels were made for another set: {:?}, expected {set:?}",
            index.set
        );
        ensure!(
            index.class_names == images.class_names,
            "the labels have the classes {:?}, but the images have {:?}",
            index.class_names,
            images.class_names
        );
        Ok(Self {
            session,
            images,
            reader,
            relabeler,
            set,
            held: None,
        })
    }

    /// The pass whose records belong to an epoch; `None` where nothing is stored.
    fn pass_of(&self, epoch: u32) -> Option<u32> {
        let layout = self.reader.index().layout;
        match layout.index {
            RecordIndex::None => None,
            RecordIndex::Image => (layout.passes > 0).then_some(0),
            RecordIndex::View => (layout.passes > 0).then(|| epoch % layout.passes),
        }
    }

    fn hold(&mut self, pass: u32) -> Result<&Pass> {
        if self.held.as_ref().is_none_or(|(held, _)| *held != pass) {
            self.held = Some((pass, self.reader.pass(pass)?));
        }
        self.held
            .as_ref()
            .map(|(_, pass)| pass)
            .context("no pass in memory")
    }

    /// What `pick` takes of the records of a pass.
    fn records(
        &mut self,
        pass: u32,
        pick: impl Fn(&Value) -> candle_core::Result<Value>,
    ) -> Result<Vec<(String, PluginTensor)>> {
        let device = self.session.device.clone();
        let own = self.hold(pass)?.records.iter().map(|(name, value)| {
            let value = pick(value)?.to_device(&device)?;
            Ok((name.clone(), export(Tensor::constant(value))))
        });
        own.collect()
    }

    fn by_image(&mut self, pass: u32, images: Vec<u32>) -> Result<Vec<(String, PluginTensor)>> {
        let count = images.len();
        let index = Value::from_vec(images, count, &candle_core::Device::Cpu)?;
        self.records(pass, |value| value.contiguous()?.index_select(&index, 0))
    }
}

impl Feed for LabelFeed<'_> {
    fn views(&mut self, epoch: u32) -> Result<Vec<View>> {
        let by_view = self.reader.index().layout.index == RecordIndex::View;
        let stored = match self.pass_of(epoch).filter(|_| by_view) {
            None => None,
            Some(pass) => match self.hold(pass)?.views.clone() {
                Some(views) => Some(views),
                None => Some(self.relabeler.plan(&self.set, pass).map_err(plugin_error)?),
            },
        };
        self.relabeler
            .train_views(&self.set, epoch, stored.as_deref())
            .map_err(plugin_error)
    }

    fn targets(
        &mut self,
        epoch: u32,
        views: &[View],
        rows: Range<usize>,
        ctx: &Ctx,
    ) -> Result<Targets> {
        let [labels, partner_labels] =
            class_labels(views, self.images.labels(), &self.session.device)?;
        let (mut records, mut partner_records) = (Vec::new(), Vec::new());
        match (self.reader.index().layout.index, self.pass_of(epoch)) {
            (RecordIndex::View, Some(pass)) => {
                records = self.records(pass, |value| value.narrow(0, rows.start, rows.len()))?;
            }
            (RecordIndex::Image, Some(pass)) => {
                records = self.by_image(pass, views.iter().map(|v| v.crop.image).collect())?;
                let partners = views
                    .iter()
                    .map(|v| v.partner().unwrap_or(v.crop).image)
                    .collect();
                partner_records = self.by_image(pass, partners)?;
            }
            _ => {}
        }
        let batch = LabelBatch {
            views,
            labels: &labels,
            partner_labels: &partner_labels,
            records: &records,
            partner_records: &partner_records,
        };
        let decoded = self.relabeler.decode(&self.set, &batch, ctx);
        let targets = decoded.map_err(plugin_error).context("labels")?;
        let set = (self.images.labels(), self.images.resolution());
        with_classes(targets, views, set, ctx, &self.session.device)
    }

    fn images(&self) -> &dyn Images {
        self.images
    }
}
