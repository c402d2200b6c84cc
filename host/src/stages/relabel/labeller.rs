//! The teachers at work: the views of a pass, their answers, and the records that a relabeler makes of them.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Result, ensure};
use plugin_api::{
    Ctx,
    abi::Kind,
    relabeler::{ForeignRelabeler, LabelLayout, RecordIndex, Relabeler, SetInfo},
    tensor::BatchNormMode,
    view::View,
};

use crate::{
    artifact::{ImageSet, Stage},
    engine::{Tensor, Value},
    plugins::ops::{export, import},
    stages::{
        Session,
        networks::plugin_error,
        teachers::{Teachers, mean_logits},
        views::{Batches, Images},
    },
};

use super::config::Config;

/// Teachers that label a set.
pub struct Labeller<'a> {
    session: &'a Session<'a>,
    config: &'a Config,
    teachers: &'a Teachers,
    images: &'a ImageSet,
    relabeler: ForeignRelabeler,
    /// What messages call the relabeler.
    named: String,
    /// The set, as the relabeler is told of it.
    pub(super) set: SetInfo,
    /// What is stored.
    pub(super) layout: LabelLayout,
}

impl<'a> Labeller<'a> {
    /// Makes the relabeler and asks it what it stores for the set.
    ///
    /// # Errors
    /// When the relabeler refuses its options or the set.
    pub fn new(
        session: &'a Session<'a>,
        config: &'a Config,
        teachers: &'a Teachers,
        images: &'a ImageSet,
    ) -> Result<Self> {
        let (registry, named) = (session.registry, &config.relabeler);
        let component = registry.find(Kind::RELABELER, &named.plugin)?;
        let relabeler = registry.create_relabeler(&named.plugin, &named.params())?;
        let set = config.set_info(session.seed, images.sizes());
        let layout = relabeler.layout(&set).map_err(plugin_error)?;
        Ok(Self {
            session,
            config,
            teachers,
            images,
            relabeler,
            named: component.full_name(),
            set,
            layout,
        })
    }

    /// The views of a pass.
    ///
    /// # Errors
    /// When the relabeler's plan does not fit the set.
    pub fn plan(&self, pass: u32) -> Result<Vec<View>> {
        let views = self.relabeler.plan(&self.set, pass).map_err(plugin_error)?;
        let count = self.images.count();
        ensure!(
            views.iter().all(|v| (v.crop.image as usize) < count),
            "{}: pass {pass}: the plan names an image outside of 0..{count}",
            self.named
        );
        if self.layout.index == RecordIndex::Image {
            let in_order = views
                .iter()
                .enumerate()
                .all(|(i, v)| v.crop.image as usize == i);
            ensure!(
                in_order && views.len() == count,
                "{}: pass {pass}: for records by image, the plan must contain every image exactly once, in order",
                self.named
            );
        }
        Ok(views)
    }

    /// Labels the views of a pass, batch by batch, and appends their records.
    ///
    /// # Errors
    /// When an operation fails, or the relabeler's plan or records do not fit the set.
    pub fn pass(&self, pass: u32, records: &mut BTreeMap<String, Vec<Value>>) -> Result<Vec<View>> {
        let views = self.plan(pass)?;
        let size = self.config.batch_size as usize;
        let mut rendered = Batches::new(&views, &self.session.inputs, &self.session.device);
        for (batch, part) in views.chunks(size).enumerate() {
            let ctx = self.ctx(pass, batch)?;
            let rows = batch * size..batch * size + part.len();
            let answers = self.answers(&mut rendered, rows, views.len(), &ctx)?;
            let constant = |logits| export(Tensor::constant(logits));
            let teachers: Vec<_> = answers.into_iter().map(constant).collect();
            let made = self
                .relabeler
                .encode(&self.set, part, &teachers, &ctx)
                .map_err(plugin_error)?;
            for (name, record) in made {
                let value = import(&record)
                    .map_err(plugin_error)?
                    .value()
                    .to_device(&candle_core::Device::Cpu)?;
                ensure!(
                    value.dims().first() == Some(&part.len()),
                    "{}: record \"{name}\" has shape {:?}, expected {} rows",
                    self.named,
                    value.dims(),
                    part.len()
                );
                records.entry(name).or_default().push(value);
            }
        }
        Ok(views)
    }

    /// The logits of the views of a batch: of each teacher, or their weighted mean.
    fn answers(
        &self,
        rendered: &mut Batches<'_>,
        rows: Range<usize>,
        views: usize,
        ctx: &Ctx,
    ) -> Result<Vec<Value>> {
        let (mut answers, mut part) = (Vec::new(), self.at_once(rows.start, views));
        while part.start < rows.end {
            let x = rendered.take(self.images, part.clone())?;
            let next = self.at_once(part.end, views);
            let mode = self.config.teacher_mode.mode();
            let logits = || self.logits(&x, mode, ctx);
            answers.push(rendered.beside(self.images, next.clone(), logits)?);
            part = next;
        }
        if answers.len() == 1 {
            return Ok(answers.remove(0));
        }
        let parts_of = |teacher: usize| answers.iter().map(move |part| &part[teacher]);
        let joined = (0..answers[0].len()).map(|teacher| {
            let parts: Vec<&Value> = parts_of(teacher).collect();
            Ok(Value::cat(&parts, 0)?)
        });
        joined.collect()
    }

    /// The logits of each teacher, or their weighted mean where they have weights.
    fn logits(&self, x: &Value, mode: BatchNormMode, ctx: &Ctx) -> Result<Vec<Value>> {
        let all = self.teachers.all().iter();
        let all = all.map(|(_, network)| network.logits(x, mode, ctx));
        let all: Vec<Value> = all.collect::<Result<_>>()?;
        match &self.config.teachers.weights {
            None => Ok(all),
            weights => Ok(vec![mean_logits(&all, weights.as_ref())?]),
        }
    }

    /// Rows of one batch that the teacher sees at once, from a row on; `views` is how many rows there are.
    fn at_once(&self, from: usize, views: usize) -> Range<usize> {
        let size = self.config.batch_size as usize;
        let config = self.config;
        let part = config.statistics_batch.or(config.teacher_batch_size);
        let at_once = part.map_or(size, |n| n as usize);
        let end = views.min((from / size + 1) * size);
        from..end.min(from + at_once)
    }

    fn ctx(&self, pass: u32, batch: usize) -> Result<Ctx> {
        let ctx = self.session.ctx(Stage::Relabel)?;
        Ok(ctx
            .at(u64::from(pass), u64::from(self.layout.passes))
            .for_batch(batch as u64))
    }
}
