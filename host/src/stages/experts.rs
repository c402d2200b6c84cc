//! Experts: networks trained on all training images, with their parameters kept after each epoch. They are the trajectories that MTT
//! and TESLA match (`buffer.py` of GeorgeCazenavette/mtt-distillation).

use std::path::Path;

use anyhow::{Context, Result};
use plugin_api::{abi::Kind, loss::Loss};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::{
    artifact::{RunFolder, Share, Stage, Trajectories, atomic, trajectories::Identity as Trained},
    data::{Dataset, Fault},
    engine::optim::{OptimizerConfig, ScheduleConfig, config::SgdConfig},
    report::overall,
};

use super::{
    Around, ComponentConfig, Identity, Session, Table,
    augment::Augment,
    feeds::dataset::{DatasetFeed, whole},
    is_one,
    limits::{BATCH, EPOCHS},
    networks::Network,
    session::{fingerprint, input_identity, sizes},
    training::{BatchNormScope, Decay, Scores, Tested, TrainConfig, Training},
    without,
};

/// Experts are drawn apart from teacher and students, which are members from 0 on, and from a matcher's fresh networks.
const FIRST_MEMBER: u32 = 1 << 30;

/// How experts are trained. The defaults are those of MTT's code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Number of experts
    #[schemars(range(min = 1, max = 1_000_000))]
    pub count: u32,
    /// Epochs of each expert
    #[schemars(range(min = 1, max = EPOCHS))]
    pub epochs: u32,
    /// Images per batch
    #[schemars(range(min = 1, max = BATCH))]
    pub batch_size: u32,
    /// In how many parts a step takes its batch, which several processes can compute together: each has BatchNorm statistics of its
    /// own, and their gradients add up
    #[serde(skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = BATCH))]
    pub micro_batches: u32,
    /// BatchNorm statistics of each part or of the whole batch: local or synchronised
    #[serde(skip_serializing_if = "BatchNormScope::is_local")]
    pub batch_norm: BatchNormScope,
    /// Optimizer
    pub optimizer: OptimizerConfig,
    /// Differentiable augmentation of each batch: any of color, crop, cutout, flip, scale and rotate, joined by `_`, or `none`
    pub augment: String,
    /// Folder of the trajectories, relative to the experiment file; experiments with the same experts can share it. In the run
    /// folder by default
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            count: 100,
            epochs: 50,
            batch_size: 256,
            micro_batches: 1,
            batch_norm: BatchNormScope::Local,
            optimizer: OptimizerConfig::Sgd(SgdConfig {
                lr: 0.01,
                ..SgdConfig::default()
            }),
            augment: "color_crop_cutout_flip_scale_rotate".to_owned(),
            folder: None,
        }
    }
}

impl Config {
    /// What is wrong with the numbers and the strategy.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = self.train().faults(Stage::Experts.name());
        if let Err(error) = Augment::parse(&self.augment) {
            faults.push(Fault::new("experts.augment", error.to_string()));
        }
        faults
    }

    /// The part that the training loop reads.
    pub fn train(&self) -> TrainConfig {
        TrainConfig {
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer.clone(),
            schedule: ScheduleConfig::default(),
            evaluate_every: self.epochs,
            decay: Decay::All,
            statistics_batch: None,
            micro_batches: self.micro_batches,
            batch_norm: self.batch_norm,
            ema: None,
            evaluate_from: 0.,
        }
    }

    /// Where the trajectories stand; `base` is the folder of the experiment file.
    pub fn store(&self, run: &RunFolder, base: &Path) -> Trajectories {
        Trajectories::at(match &self.folder {
            Some(folder) => base.join(folder),
            None => run.trajectories(),
        })
    }

    /// Whose trajectories they are, `inputs` what bytes are turned into.
    pub fn trained(
        &self,
        seed: u64,
        train: &Dataset,
        inputs: Json,
        architecture: &ComponentConfig,
        network: &Network,
    ) -> Trained {
        let mut training = json!({
            "seed": seed,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "optimizer": self.optimizer,
            "augment": self.augment,
        });
        // Only where there are several: trajectories from before there was the key stay.
        if self.micro_batches > 1 {
            training["parts"] = json!([self.micro_batches, self.batch_norm]);
        }
        Trained {
            network: json!({"architecture": architecture, "declared": network.spec()}),
            data: json!({
                "train": fingerprint(train),
                "sizes": sizes(train),
                "normalization": inputs,
            }),
            training,
        }
    }
}

impl Table for Config {
    fn identity(&self, around: &Around<'_>) -> Result<Identity> {
        let architecture = around.matched_in.context("experts without [match]")?;
        Ok(Identity {
            // Where the trajectories stand changes nothing.
            table: without(json!(self), &["folder"]),
            beside: Some(json!(architecture)),
            components: vec![(Kind::ARCHITECTURE, architecture.clone())],
            ..Identity::default()
        })
    }

    fn micro_batches(&self) -> u32 {
        self.micro_batches
    }
}

/// What the experts learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Accuracy after the last epoch, percent, of each that this run trained.
    pub top1: Vec<f64>,
}

/// Trains the experts that are not there yet.
///
/// # Errors
/// When the folder holds others, or a training fails; finished epochs stay on disk.
pub fn run(
    session: &Session<'_>,
    config: &Config,
    architecture: &ComponentConfig,
    base: &Path,
) -> Result<Output> {
    // Trajectories of all shares stand in one place, each expert's in its own folder.
    let store = match session.share {
        Some(_) => config.store(&Share::run(session.folder), base),
        None => config.store(session.folder, base),
    };
    let own = config.trained(
        session.seed,
        session.train,
        input_identity(
            &session.inputs.normalization,
            session.inputs.whitening_config(),
        ),
        architecture,
        &Network::of(session, architecture)?,
    );
    let writes = session.is_first();
    let claim = || store.claim(&own, session.share.is_some());
    let _lock = writes.then(claim).transpose()?;
    let hard = ComponentConfig::cross_entropy();
    let loss = session.registry.create_loss(&hard.plugin, &hard.params())?;
    let is_done = |expert: u32| store.has(expert, u64::from(config.epochs));
    let own: Vec<u32> = (0..config.count)
        .filter(|expert| session.does(*expert as usize))
        .collect();
    let left = own.iter().filter(|expert| !is_done(**expert));
    overall::expect(left.map(|expert| (session.folder.expert(*expert).1, 1.)));
    let mut top1 = Vec::new();
    for expert in own {
        let (folder, name) = session.folder.expert(expert);
        let outcome = folder.metrics();
        if session.agreed(is_done(expert))? {
            // Trained by this run, or by another that shares the folder.
            if outcome.exists() {
                top1.push(atomic::read_json::<Scores>(&outcome)?.top1_last);
            }
            if writes {
                atomic::remove(&folder.checkpoint())?;
            }
            continue;
        }
        let mut network = Network::fresh(session, architecture, FIRST_MEMBER + expert)?;
        let keep = |epoch: u32, network: &Network| match writes {
            true => store.keep(expert, u64::from(epoch), &network.state()),
            false => Ok(()),
        };
        keep(0, &network)?;
        let training = Training {
            session,
            stage: Stage::Experts,
            name,
            folder: &folder,
            config: &config.train(),
            loss: &loss as &dyn Loss,
            tested: Tested::default(),
            after_epoch: Some(&keep),
        };
        let seed = session.seed ^ u64::from(expert + 1);
        let (rule, stream) = (whole(config.batch_size), Stage::Experts.name());
        let feed = DatasetFeed::new(&**session.train, rule, seed, stream, &session.device);
        let mut feed = feed.with_augment(Augment::parse(&config.augment)?);
        let scores = training
            .run(&mut network, &mut feed)
            .with_context(|| format!("expert {expert}"))?;
        top1.push(scores.top1_last);
        if writes {
            atomic::write_json(&outcome, &scores)?;
            atomic::remove(&folder.checkpoint())?;
        }
    }
    let output = Output { top1 };
    if session.share.is_none() && writes {
        atomic::write_json(&session.folder.stage(Stage::Experts).metrics(), &output)?;
    }
    Ok(output)
}
