//! One student on one set.

use anyhow::Result;
use plugin_api::loss::Loss;

use crate::{
    artifact::{Stage, WorkFolder, atomic},
    report::summary::SeedScore,
    stages::{
        ComponentConfig, Session,
        feeds::Feed,
        networks::Network,
        training::{Scores, Tested, TrainConfig, Training},
    },
};

use super::config::StudentConfig;

/// One student on one set.
pub(super) struct Student<'a> {
    /// The run.
    pub session: &'a Session<'a>,
    /// The network.
    pub network: &'a StudentConfig,
    /// Its folder, and its name in events and progress.
    pub place: (WorkFolder, String),
    /// How it is trained.
    pub config: &'a TrainConfig,
    /// The loss.
    pub loss: &'a ComponentConfig,
    /// How it is tested.
    pub tested: Tested<'a>,
}

impl Student<'_> {
    /// Trains with a seed, or reads the outcome of a training that is finished.
    pub fn train(self, seed: u64, feed: &mut dyn Feed) -> Result<SeedScore> {
        let session = self.session;
        let (folder, name) = self.place;
        let known = finished(&folder, seed)?;
        if let Some(team) = session.team {
            team.same(&[u8::from(known.is_some())], folder.path())?;
        }
        let score = match known {
            Some(score) => score,
            None => {
                // Member 0 is the teacher.
                let member = seed as u32 + 1;
                let mut network = Network::fresh(session, &self.network.component(), member)?;
                let loss = session
                    .registry
                    .create_loss(&self.loss.plugin, &self.loss.params())?;
                let training = Training {
                    session,
                    stage: Stage::Validate,
                    name,
                    folder: &folder,
                    config: self.config,
                    loss: &loss as &dyn Loss,
                    tested: self.tested,
                    after_epoch: None,
                };
                let scores = training.run(&mut network, feed)?;
                if session.is_first() {
                    atomic::write_json(&folder.metrics(), &scores)?;
                }
                scores.of(seed)
            }
        };
        // A kill between the outcome and this left the checkpoint.
        if session.is_first() {
            atomic::remove(&folder.checkpoint())?;
        }
        Ok(score)
    }
}

/// The outcome of a training that is finished; none where it is not.
///
/// # Errors
/// When it is damaged.
pub fn finished(folder: &WorkFolder, seed: u64) -> Result<Option<SeedScore>> {
    let outcome = folder.metrics();
    match outcome.exists() {
        true => Ok(Some(atomic::read_json::<Scores>(&outcome)?.of(seed))),
        false => Ok(None),
    }
}

impl Scores {
    /// The scores as those of a seed.
    fn of(self, seed: u64) -> SeedScore {
        SeedScore {
            seed,
            top1_last: self.top1_last,
            top1_best: self.top1_best,
            top5_last: self.top5_last,
        }
    }
}
