//! Squeeze: trains a network with BatchNorm on the data (SRe2L, section 3.1). It is the teacher of all later stages.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use plugin_api::{
    abi::Kind,
    view::{BeforeRule, ColorRule, CropRule, MixRule, ViewRule},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::{
    artifact::{Stage, WorkFolder, atomic, tensors},
    engine::{
        optim::{OptimizerConfig, ScheduleConfig, config::SgdConfig, schedule::CosineConfig},
        precision::Precision,
    },
    report::overall,
    say::visible,
};

use super::{
    Around, ComponentConfig, Identity, Session, Table,
    feeds::dataset::DatasetFeed,
    half, is_one,
    limits::{BATCH, EPOCHS},
    n,
    networks::{
        Network,
        accuracy::evaluate,
        imported::{self, WeightsConfig},
    },
    sets::exact::class_texts,
    teachers::{FIRST, Teachers, used_of},
    training::{BatchNormScope, Decay, Scores, Tested, TrainConfig, Training},
    without,
};

/// How the teacher is trained. The defaults are those of SRe2L's Tiny-ImageNet teacher (zeyuanyin/tiny-imagenet).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The network
    pub architecture: ComponentConfig,
    /// Weights to use instead of training: a file as `alambic import-weights` reads and writes them, relative to the TOML's folder, or
    /// `{ file = .., key = .., strip_prefix = .. }`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightsConfig>,
    /// Epochs
    #[serde(default = "n::<50, u32>")]
    #[schemars(range(min = 1, max = EPOCHS))]
    pub epochs: u32,
    /// Images per batch
    #[serde(default = "n::<256, u32>")]
    #[schemars(range(min = 1, max = BATCH))]
    pub batch_size: u32,
    /// Precision of the layers: f32, bf16 (a GPU, or a CPU with AVX512-BF16), or tf32 (a GPU)
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// Optimizer
    #[serde(default = "optimizer")]
    pub optimizer: OptimizerConfig,
    /// Learning rate over the epochs (its steps are epochs)
    #[serde(default = "schedule")]
    pub schedule: ScheduleConfig,
    /// Crops of the training images
    #[serde(default = "CropRule::random_resized")]
    pub crop: CropRule,
    /// Probability of mirroring an image
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// Colour changes of the training images, like torchvision's ColorJitter
    #[serde(default, skip_serializing_if = "ColorRule::is_none")]
    pub color_jitter: ColorRule,
    /// How training images are mixed
    #[serde(default = "no_mix")]
    pub mix: MixRule,
    /// The loss
    #[serde(default = "ComponentConfig::cross_entropy")]
    pub loss: ComponentConfig,
    /// What weight decay applies to
    #[serde(default = "decay")]
    pub decay: Decay,
    /// In how many parts a step takes its batch, which several processes can compute together: each has BatchNorm statistics of its
    /// own, and their gradients add up
    #[serde(default = "n::<1, u32>", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = BATCH))]
    pub micro_batches: u32,
    /// BatchNorm statistics of each part or of the whole batch: local or synchronised
    #[serde(default, skip_serializing_if = "BatchNormScope::is_local")]
    pub batch_norm: BatchNormScope,
    /// Epochs between evaluations; the last epoch is always evaluated
    #[serde(default = "n::<1, u32>")]
    #[schemars(range(min = 1, max = EPOCHS))]
    pub evaluate_every: u32,
}

fn optimizer() -> OptimizerConfig {
    OptimizerConfig::Sgd(SgdConfig {
        lr: 0.2,
        momentum: 0.9,
        weight_decay: 1e-4,
        ..SgdConfig::default()
    })
}
fn schedule() -> ScheduleConfig {
    ScheduleConfig::Cosine(CosineConfig {
        warmup_steps: 5,
        warmup_start: 0.01,
        ..CosineConfig::default()
    })
}
fn no_mix() -> MixRule {
    MixRule::None
}
fn decay() -> Decay {
    Decay::All
}

impl Config {
    /// The part that the training loop reads.
    pub fn train(&self) -> TrainConfig {
        TrainConfig {
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer.clone(),
            schedule: self.schedule.clone(),
            evaluate_every: self.evaluate_every,
            decay: self.decay,
            statistics_batch: None,
            micro_batches: self.micro_batches,
            batch_norm: self.batch_norm,
            ema: None,
            evaluate_from: 0.,
        }
    }

    /// How its views are drawn.
    pub fn views(&self) -> ViewRule {
        ViewRule {
            crop: self.crop,
            flip: self.flip,
            mix: self.mix,
            batch_size: self.batch_size,
            color_jitter: self.color_jitter,
            before: BeforeRule::NONE,
        }
    }
}

impl Table for Config {
    fn identity(&self, around: &Around<'_>) -> Result<Identity> {
        let content = |config: &Self| -> Result<Json> {
            let weights = config.weights.as_ref();
            let content = weights.map(|weights| weights.identity(around.base));
            Ok(content.transpose()?.unwrap_or_default())
        };
        let own = |config: &Self| without(json!(config), &["weights"]);
        let components = |config: &Self| {
            [
                (Kind::ARCHITECTURE, config.architecture.clone()),
                (Kind::LOSS, config.loss.clone()),
            ]
        };
        let mut beside = content(self)?;
        let mut named = components(self).to_vec();
        if !around.further.is_empty() {
            let further = around.further.iter();
            let further = further.map(|(name, c)| Ok(json!([name, own(c), content(c)?])));
            beside = json!([beside, further.collect::<Result<Vec<Json>>>()?]);
            named.extend(around.further.iter().flat_map(|(_, c)| components(c)));
        }
        Ok(Identity {
            table: own(self),
            beside: Some(beside),
            components: named,
            ..Identity::default()
        })
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn micro_batches(&self) -> u32 {
        self.micro_batches
    }

    fn batch_size(&self) -> Option<u32> {
        Some(self.batch_size)
    }
}

/// What squeeze produced, besides the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Accuracy on the test images.
    pub scores: Scores,
    /// Learned numbers.
    pub parameters: usize,
}

/// Trains the teachers, or takes given weights, one after the other; `all` has their names and tables, `[squeeze]`'s first.
///
/// # Errors
/// When the weights do not fit, or the training fails.
pub fn run(session: &Session<'_>, all: &[(String, Config)], base: &Path) -> Result<()> {
    let left = all.iter().filter(|(name, config)| {
        config.weights.is_none() && !place(session, name).0.metrics().exists()
    });
    let told = |(name, config): &(String, Config)| (place(session, name).1, config.epochs.into());
    overall::expect(left.map(told));
    for (number, (name, config)) in all.iter().enumerate() {
        let (folder, _) = place(session, name);
        // One that an interrupted run has finished stays.
        let is_there = fs::exists(folder.metrics())? && fs::exists(folder.model())?;
        if !session.agreed(is_there)? {
            let context = || format!("teacher \"{name}\"");
            let made = squeeze(session, config, base, name, number as u64);
            match all.len() {
                1 => made?,
                _ => made.with_context(context)?,
            }
        }
        if session.is_first() {
            atomic::remove(&folder.checkpoint())?;
        }
    }
    Ok(())
}

/// The folder of a teacher, and its name in events and progress.
fn place(session: &Session<'_>, name: &str) -> (WorkFolder, String) {
    match name {
        FIRST => (session.folder.stage(Stage::Squeeze), name.to_owned()),
        _ => session.folder.teacher(name),
    }
}

fn squeeze(
    session: &Session<'_>,
    config: &Config,
    base: &Path,
    name: &str,
    number: u64,
) -> Result<()> {
    let mut network = Network::of(session, &config.architecture)?;
    let (folder, told_as) = place(session, name);
    let scores = match &config.weights {
        Some(weights) => {
            let file = weights.file(base);
            let given = imported::load(&file, &weights.choice(), network.spec());
            let given = given.context("squeeze.weights")?;
            let place = || format!("squeeze.weights: {}", given.place);
            let taken = network.load_state(given.tensors, &session.device);
            taken.with_context(place)?;
            check_classes(&given.texts, session.train.class_names()).with_context(place)?;
            Scores::default().after(&evaluate(session, &network, session.test)?)
        }
        None => {
            // Each teacher has initial values and views of its own; the students' seeds differ in the lowest bits.
            let seed = session.seed ^ (number << 32);
            network.init(seed, 0, &session.device)?;
            let (registry, loss) = (session.registry, &config.loss);
            let loss = registry.create_loss(&loss.plugin, &loss.params())?;
            let stage = Stage::Squeeze.name();
            let (images, rule) = (&**session.train, config.views());
            let mut feed = DatasetFeed::new(images, rule, seed, stage, &session.device);
            let training = Training {
                session,
                stage: Stage::Squeeze,
                name: told_as,
                folder: &folder,
                config: &config.train(),
                loss: &loss,
                tested: Tested::default(),
                after_epoch: None,
            };
            training.run(&mut network, &mut feed)?
        }
    };
    let output = Output {
        scores,
        parameters: network.parameter_count(),
    };
    if !session.is_first() {
        return Ok(());
    }
    let mut texts = class_texts(session.train.class_names());
    let normalization = &session.inputs.normalization;
    let normalization = json!({"mean": normalization.mean, "std": normalization.std});
    texts.insert("normalization".to_owned(), normalization.to_string());
    tensors::save(&folder.model(), &network.state(), &texts)?;
    atomic::write_json(&folder.metrics(), &output)
}

/// The teachers that [`run`] stored: those that a stage names, in its order, or all.
///
/// # Errors
/// When a file is missing, or its classes are not those of the data.
pub fn load_teachers(
    session: &Session<'_>,
    all: &[(String, Config)],
    used: Option<&[String]>,
) -> Result<Teachers> {
    let loaded = used_of(all, used).map(|(name, config)| {
        let network = load_teacher(session, name, &config.architecture)?;
        Ok((name.clone(), network))
    });
    Ok(Teachers::new(loaded.collect::<Result<_>>()?))
}

/// The teacher of a name that [`run`] stored.
///
/// # Errors
/// When it is missing, or its classes are not those of the data.
pub fn load_teacher(
    session: &Session<'_>,
    name: &str,
    architecture: &ComponentConfig,
) -> Result<Network> {
    let mut network = Network::of(session, architecture)?;
    let path = place(session, name).0.model();
    let texts = network.load(&path, &session.device)?;
    check_classes(&texts, session.train.class_names())
        .with_context(|| format!("the teacher in {}", path.display()))?;
    Ok(network)
}

/// Teacher and data must name the same classes in the same order: most failures to reproduce a result come from here.
///
/// # Errors
/// When they differ; both orders are shown. Weights without class names pass.
pub fn check_classes(texts: &BTreeMap<String, String>, data: &[String]) -> Result<()> {
    let Some(names) = texts.get("class_names") else {
        return Ok(());
    };
    let teacher: Vec<String> =
        serde_json::from_str(names).context("class names beside the weights")?;
    if teacher == data {
        return Ok(());
    }
    let show = |names: &[String]| {
        let head: Vec<String> = names
            .iter()
            .take(8)
            .enumerate()
            .map(|(i, n)| format!("{i} {}", visible(n)))
            .collect();
        let more = if names.len() > 8 {
            format!(", .. {} in all", names.len())
        } else {
            String::new()
        };
        format!("{}{more}", head.join(", "))
    };
    bail!(
        "the teacher's classes are not those of the data\n  teacher: {}\n  data:    {}\n\
         put the data's classes in the teacher's order (data.classes)",
        show(&teacher),
        show(data)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_classes_are_shown_in_both_orders() {
        let texts = BTreeMap::from([("class_names".to_owned(), r#"["cat", "dog"]"#.to_owned())]);
        let names = |list: [&str; 2]| list.map(str::to_owned);
        assert!(check_classes(&texts, &names(["cat", "dog"])).is_ok());
        assert!(check_classes(&BTreeMap::new(), &names(["cat", "dog"])).is_ok());
        let error = check_classes(&texts, &names(["dog", "cat"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("teacher: 0 cat, 1 dog") && error.contains("data:    0 dog, 1 cat"),
            "{error}"
        );
    }
}
