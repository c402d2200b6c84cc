//! `[relabel]`: how sets are labelled.

use anyhow::Result;
use plugin_api::{
    abi::Kind,
    relabeler::SetInfo,
    tensor::BatchNormMode,
    view::{BeforeRule, ColorRule, CropRule, MixRule, RandAugment, ViewRule, is_one_tile},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    data::Fault,
    engine::precision::Precision,
    stages::{
        Around, ComponentConfig, Identity, Table, half,
        limits::{BATCH, EPOCHS},
        teachers::LabelChoice,
        without,
    },
};

/// How the teacher's BatchNorm normalises while labelling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TeacherMode {
    /// Running statistics, like SRe2L's ImageNet-1K code
    #[default]
    Eval,
    /// The batch's statistics, like SRe2L's CIFAR code, whose teacher is never set to eval mode; running statistics are not updated
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
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How labels are made, stored and read
    pub relabeler: ComponentConfig,
    /// Epochs that a student trains, each with its own views and labels
    #[schemars(range(min = 1, max = EPOCHS))]
    pub epochs: u32,
    /// Views that the teacher evaluates at once, and that share one cutmix box or mixup weight
    #[schemars(range(min = 1, max = BATCH))]
    pub batch_size: u32,
    /// Views that the teacher evaluates at once, at most and by default `batch_size`. Saves memory and changes labels only by
    /// rounding; needs teacher_mode "eval"
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = BATCH))]
    pub teacher_batch_size: Option<u32>,
    /// Views that share the teacher's batch statistics, with teacher_mode "train-statistics": `batch_size` by default
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = BATCH))]
    pub statistics_batch: Option<u32>,
    /// Precision of the layers: f32, bf16 (a GPU, or a CPU with AVX512-BF16), or tf32 (a GPU)
    #[serde(skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// Which teachers label
    #[serde(skip_serializing_if = "LabelChoice::is_default")]
    pub teachers: LabelChoice,
    /// How the teacher's BatchNorm normalises
    pub teacher_mode: TeacherMode,
    /// Operations on images before their tiles and crops, like torchvision's RandAugment
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugment>,
    /// Tiles of a side whose columns and rows are shuffled before the crop, like RDED's
    #[serde(skip_serializing_if = "is_one_tile")]
    #[schemars(range(min = 1, max = 4))]
    pub tiles: u32,
    /// Crops of the views
    pub crop: CropRule,
    /// Probability of mirroring a view
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// Colour changes of the views, like torchvision's ColorJitter
    #[serde(skip_serializing_if = "ColorRule::is_none")]
    pub color_jitter: ColorRule,
    /// How views are mixed
    pub mix: MixRule,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            relabeler: ComponentConfig::named("fkd"),
            epochs: 300,
            batch_size: 1024,
            teacher_batch_size: None,
            statistics_batch: None,
            precision: Precision::default(),
            teachers: LabelChoice::default(),
            teacher_mode: TeacherMode::default(),
            rand_augment: None,
            tiles: 1,
            crop: CropRule::random_resized(),
            flip: half(),
            color_jitter: ColorRule::NONE,
            mix: MixRule::CutMix { alpha: 1. },
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
            before: BeforeRule {
                rand_augment: self.rand_augment,
                tiles: self.tiles,
            },
        }
    }

    /// What is wrong with the numbers.
    pub fn faults(&self) -> Vec<Fault> {
        let at_once = self.teacher_batch_size.unwrap_or(self.batch_size);
        if let Some(part) = self.statistics_batch {
            let expected = match self.teacher_mode {
                TeacherMode::Eval => Some("teacher_mode = \"train-statistics\"".to_owned()),
                TeacherMode::TrainStatistics => (!self.batch_size.is_multiple_of(part))
                    .then(|| format!("a divisor of relabel.batch_size = {}", self.batch_size)),
            };
            let fault = |expected| {
                let message = format!("expected {expected}, got {part}");
                vec![Fault::new("relabel.statistics_batch", message)]
            };
            if let Some(expected) = expected {
                return fault(expected);
            }
        }
        let fault = match self.teacher_mode {
            _ if at_once > self.batch_size => {
                format!("expected at most relabel.batch_size = {}", self.batch_size)
            }
            TeacherMode::TrainStatistics if at_once < self.batch_size => {
                "expected teacher_mode = \"eval\", because batch statistics need the whole batch"
                    .to_owned()
            }
            _ => return Vec::new(),
        };
        vec![Fault::new(
            "relabel.teacher_batch_size",
            format!("{fault}, got {at_once}"),
        )]
    }

    /// What a relabeler is told of a set of so many images of so many classes.
    pub fn set_info(&self, seed: u64, [images, classes, resolution]: [usize; 3]) -> SetInfo {
        SetInfo {
            images: images as u32,
            classes: classes as u32,
            resolution: resolution as u32,
            seed,
            epochs: self.epochs,
            views: self.views(),
        }
    }
}

impl Table for Config {
    fn identity(&self, around: &Around<'_>) -> Result<Identity> {
        Ok(Identity {
            // How many views the teacher answers at once changes labels by rounding alone.
            table: without(json!(self), &["teacher_batch_size"]),
            extent: json!(around.sets),
            components: vec![(Kind::RELABELER, self.relabeler.clone())],
            ..Identity::default()
        })
    }

    fn precision(&self) -> Precision {
        self.precision
    }
}
