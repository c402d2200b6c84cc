//! One student on one set, from fresh weights to its scores.

use anyhow::Result;
use plugin_api::loss::Loss;

use crate::{
    artifact::{Stage, atomic},
    report::summary::SeedScore,
    stages::{
        ComponentConfig, Session,
        feeds::Feed,
        networks::Network,
        training::{Scores, TrainConfig, Training},
    },
};

use super::config::StudentConfig;

/// One student on one set.
pub(super) struct One<'a> {
    /// The run.
    pub session: &'a Session<'a>,
    /// The student.
    pub student: &'a StudentConfig,
    /// Name of the set and of its labels, in the run folder.
    pub set: &'a str,
    /// How it is trained.
    pub config: &'a TrainConfig,
    /// The loss.
    pub loss: &'a ComponentConfig,
}

impl One<'_> {
    /// Trains with a seed, or reads the outcome of a training that is finished.
    pub fn train(&self, seed: u64, feed: &mut dyn Feed) -> Result<SeedScore> {
        let session = self.session;
        let label = self.student.label();
        let (folder, name) = session.folder.student(self.set, &label, seed);
        let outcome = folder.metrics();
        let scores: Scores = if outcome.exists() {
            atomic::read_json(&outcome)?
        } else {
            // Member 0 is the teacher.
            let member = seed as u32 + 1;
            let mut network = Network::fresh(session, &self.student.component(), member)?;
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
                after_epoch: None,
            };
            let scores = training.run(&mut network, feed)?;
            atomic::write_json(&outcome, &scores)?;
            scores
        };
        // A kill between the outcome and this left the checkpoint.
        atomic::remove(&folder.checkpoint())?;
        Ok(SeedScore {
            seed,
            top1_last: scores.top1_last,
            top1_best: scores.top1_best,
        })
    }
}
