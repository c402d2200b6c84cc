//! Relabel: soft labels for crops of a set, by the teacher (SRe2L, section 3.3; FKD, Shen and Xing, ECCV 2022).

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context, Result, ensure};
use plugin_api::{
    Ctx,
    relabeler::{ForeignRelabeler, LabelLayout, RecordIndex, Relabeler, SetInfo},
    tensor::BatchNormMode,
    view::{ColorRule, CropRule, MixRule, View, ViewRule},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    artifact::{ImageSet, LabelWriter, labels::LabelIndex},
    data::Fault,
    engine::{Tensor, Value, gpu::precision::Precision},
    plugins::ops::{export, import},
    report::progress::Progress,
};

use super::{
    ComponentConfig, Session,
    ahead::Batches,
    network::{Network, plugin_error},
    render::Images,
};

/// Passes that one shard holds at most: what a kill can cost.
const SHARD_PASSES: u32 = 25;
/// Bytes of a shard from which on it takes no further pass: they are in memory until it is written.
const SHARD_BYTES: u64 = 64 << 20;

/// Passes of so many bytes that one shard holds.
pub fn shard_passes(pass_bytes: u64) -> u32 {
    let fitting = SHARD_BYTES.div_ceil(pass_bytes.max(1));
    fitting.min(u64::from(SHARD_PASSES)) as u32
}

/// How the teacher's BatchNorm normalises while it labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TeacherMode {
    /// Running statistics, as SRe2L's ImageNet-1K code
    #[default]
    Eval,
    /// The batch's statistics, as SRe2L's CIFAR code, whose teacher is never set to eval; running ones are left alone
    TrainStatistics,
}

impl TeacherMode {
    /// The mode of the norms.
    pub fn mode(self) -> BatchNormMode {
        match self {
            Self::Eval => BatchNormMode::EVAL,
            Self::TrainStatistics => BatchNormMode::TRAIN_STATISTICS,
        }
    }
}

/// How sets are labelled. The defaults are those of SRe2L's ImageNet-1K scripts (`relabel/relabel.sh`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How labels are made, kept and read
    #[serde(default = "relabeler")]
    pub relabeler: ComponentConfig,
    /// Epochs that a student trains, each with views and labels of its own
    #[serde(default = "epochs")]
    #[schemars(range(min = 1))]
    pub epochs: u32,
    /// Views that the teacher sees at once, and that share one cutmix box or mixup weight
    #[serde(default = "batch_size")]
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// Views that the teacher answers at once; `batch_size` unless given, and no more than that. For memory: it changes labels by
    /// rounding alone, so with teacher_mode "eval" alone
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub teacher_batch_size: Option<u32>,
    /// What layers compute in on a GPU: f32, tf32 or bf16; the CPU computes in f32
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// How the teacher's BatchNorm normalises
    #[serde(default)]
    pub teacher_mode: TeacherMode,
    /// Crops of the views
    #[serde(default = "CropRule::random_resized")]
    pub crop: CropRule,
    /// Probability of a mirrored view
    #[serde(default = "super::squeeze::half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// Colours of the views, as torchvision's ColorJitter
    #[serde(default, skip_serializing_if = "ColorRule::is_none")]
    pub color_jitter: ColorRule,
    /// Mixing of the views
    #[serde(default = "cutmix")]
    pub mix: MixRule,
}

fn relabeler() -> ComponentConfig {
    ComponentConfig::named("fkd")
}
fn epochs() -> u32 {
    300
}
fn batch_size() -> u32 {
    1024
}
fn cutmix() -> MixRule {
    MixRule::CutMix { alpha: 1. }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            relabeler: relabeler(),
            epochs: epochs(),
            batch_size: batch_size(),
            teacher_batch_size: None,
            precision: Precision::default(),
            teacher_mode: TeacherMode::default(),
            crop: CropRule::random_resized(),
            flip: super::squeeze::half(),
            color_jitter: ColorRule::NONE,
            mix: cutmix(),
        }
    }
}

impl Config {
    /// How views are drawn.
    pub fn views(&self) -> ViewRule {
        ViewRule {
            crop: self.crop,
            flip: self.flip,
            mix: self.mix,
            batch_size: self.batch_size,
            color_jitter: self.color_jitter,
        }
    }

    /// What is wrong with the numbers.
    pub fn faults(&self) -> Vec<Fault> {
        let at_once = self.teacher_batch_size.unwrap_or(self.batch_size);
        let fault = match self.teacher_mode {
            _ if at_once > self.batch_size => {
                format!("expected at most relabel.batch_size = {}", self.batch_size)
            }
            TeacherMode::TrainStatistics if at_once < self.batch_size => {
                "expected teacher_mode = \"eval\": a batch's own statistics need all of the batch"
                    .to_owned()
            }
            _ => return Vec::new(),
        };
        vec![Fault::new(
            "relabel.teacher_batch_size",
            format!("{fault}, got {at_once}"),
        )]
    }

    /// What a relabeler is told of a set.
    pub fn set_info(&self, session: &Session<'_>, images: &ImageSet) -> SetInfo {
        SetInfo {
            images: images.len() as u32,
            classes: images.class_names.len() as u32,
            resolution: images.resolution as u32,
            seed: session.seed,
            epochs: self.epochs,
            views: self.views(),
        }
    }
}

/// Labels a set and stores the labels in `relabel/<set>`.
///
/// # Errors
/// When an operation fails; whole shards stay on disk.
pub fn run(
    session: &Session<'_>,
    config: &Config,
    teacher: &Network,
    name: &str,
    images: &ImageSet,
) -> Result<LabelIndex> {
    let labeller = Labeller::new(session, config, teacher, images)?;
    let layout = labeller.layout;
    let what = || format!("relabeler \"{}\"", config.relabeler.plugin);
    let fresh = LabelIndex {
        relabeler: serde_json::to_value(&config.relabeler)?,
        layout,
        set: labeller.set,
        class_names: images.class_names.clone(),
        shards: Vec::new(),
        complete: false,
    };
    let folder = session.folder.labels(name);
    let mut writer = LabelWriter::open(&folder, fresh)?;
    let from = u64::from(writer.next_pass());
    let progress = Progress::starting_at(
        &format!("relabel {name}"),
        from,
        u64::from(layout.passes),
        "passes",
    );
    while writer.next_pass() < layout.passes {
        let (mut rows, mut views) = (Vec::new(), Vec::new());
        let mut records = BTreeMap::<String, Vec<Value>>::new();
        while rows.len() < shard_passes(bytes_per_pass(&records, rows.len())) as usize {
            let pass = writer.next_pass() + rows.len() as u32;
            if pass == layout.passes {
                break;
            }
            let planned = labeller.pass(pass, &mut records).with_context(what)?;
            rows.push(planned.len() as u32);
            views.extend(planned);
            progress.set(u64::from(pass) + 1, "");
        }
        let joined = records
            .into_iter()
            .map(|(name, parts)| Ok((name, Value::cat(&parts, 0)?)));
        let joined = joined.collect::<Result<Vec<_>>>()?;
        writer.append(rows, &views, joined)?;
    }
    progress.finish();
    writer.finish()
}

/// Bytes of the records of a pass.
fn bytes_per_pass(records: &BTreeMap<String, Vec<Value>>, passes: usize) -> u64 {
    let bytes = |value: &Value| value.elem_count() * value.dtype().size_in_bytes();
    let all: usize = records.values().flatten().map(bytes).sum();
    all as u64 / passes.max(1) as u64
}

/// A teacher that labels a set.
pub struct Labeller<'a> {
    session: &'a Session<'a>,
    config: &'a Config,
    teacher: &'a Network,
    images: &'a ImageSet,
    relabeler: ForeignRelabeler,
    set: SetInfo,
    layout: LabelLayout,
}

impl<'a> Labeller<'a> {
    /// Makes the relabeler and asks it what it stores for the set.
    ///
    /// # Errors
    /// When the relabeler refuses its options or the set.
    pub fn new(
        session: &'a Session<'a>,
        config: &'a Config,
        teacher: &'a Network,
        images: &'a ImageSet,
    ) -> Result<Self> {
        let relabeler = session
            .registry
            .create_relabeler(&config.relabeler.plugin, &config.relabeler.params())?;
        let set = config.set_info(session, images);
        let layout = relabeler
            .layout(&set)
            .map_err(plugin_error)
            .with_context(|| format!("relabeler \"{}\"", config.relabeler.plugin))?;
        Ok(Self {
            session,
            config,
            teacher,
            images,
            relabeler,
            set,
            layout,
        })
    }

    /// Labels the views of a pass, batch by batch, and appends their records.
    ///
    /// # Errors
    /// When an operation fails, or the relabeler's plan or records do not fit the set.
    pub fn pass(&self, pass: u32, records: &mut BTreeMap<String, Vec<Value>>) -> Result<Vec<View>> {
        let views = self.relabeler.plan(&self.set, pass).map_err(plugin_error)?;
        let count = self.images.count();
        ensure!(
            views.iter().all(|v| (v.crop.image as usize) < count),
            "pass {pass}: the plan names an image outside of 0..{count}"
        );
        if self.layout.index == RecordIndex::Image {
            let in_order = views
                .iter()
                .enumerate()
                .all(|(i, v)| v.crop.image as usize == i);
            ensure!(
                in_order && views.len() == count,
                "pass {pass}: records by image need every image once, in order"
            );
        }
        let size = self.config.batch_size as usize;
        let mut rendered = Batches::new(&views, &self.session.inputs, &self.session.device);
        for (batch, part) in views.chunks(size).enumerate() {
            let ctx = self.ctx(pass, batch)?;
            let rows = batch * size..batch * size + part.len();
            let logits = self.answers(&mut rendered, rows, views.len(), &ctx)?;
            let teachers = [export(Tensor::constant(logits))];
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
                    "record \"{name}\" has shape {:?}, expected {} rows",
                    value.dims(),
                    part.len()
                );
                records.entry(name).or_default().push(value);
            }
        }
        Ok(views)
    }

    /// The teacher's logits for the views of a batch.
    fn answers(
        &self,
        rendered: &mut Batches<'_>,
        rows: Range<usize>,
        views: usize,
        ctx: &Ctx,
    ) -> Result<Value> {
        let (mut answers, mut part) = (Vec::new(), self.at_once(rows.start, views));
        while part.start < rows.end {
            let x = rendered.take(self.images, part.clone())?;
            let next = self.at_once(part.end, views);
            let mode = self.config.teacher_mode.mode();
            let logits = || self.teacher.logits(&x, mode, ctx);
            answers.push(rendered.beside(self.images, next.clone(), logits)?);
            part = next;
        }
        match answers.len() {
            1 => Ok(answers.remove(0)),
            _ => Ok(Value::cat(&answers, 0)?),
        }
    }

    /// Rows of one batch that the teacher sees at once, from a row on; `views` is how many rows there are.
    fn at_once(&self, from: usize, views: usize) -> Range<usize> {
        let size = self.config.batch_size as usize;
        let at_once = self.config.teacher_batch_size.map_or(size, |n| n as usize);
        let end = views.min((from / size + 1) * size);
        from..end.min(from + at_once)
    }

    fn ctx(&self, pass: u32, batch: usize) -> Result<Ctx> {
        let ctx = self.session.ctx("relabel")?;
        Ok(ctx
            .at(u64::from(pass), u64::from(self.layout.passes))
            .for_batch(batch as u64))
    }
}
