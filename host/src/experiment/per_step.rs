//! Images that are distilled while classes arrive: for those of each step a run within the run, which knows no others.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};

use crate::{
    artifact::{RunFolder, Stage, WorkFolder, atomic},
    stages::{Session, Table, sets::made, validate::TaughtSet},
};

use super::Experiment;

/// The stages that make images, in their order.
const MAKING: [Stage; 4] = [Stage::Squeeze, Stage::Recover, Stage::Experts, Stage::Match];

impl Experiment {
    /// Carries out the stages that make images, for some classes alone, in a folder of their own; those that are finished there stay.
    ///
    /// # Errors
    /// Those of the stages.
    pub(super) fn distill(
        &self,
        session: &Session<'_>,
        folder: &WorkFolder,
        classes: &[u32],
        base: &Path,
    ) -> Result<TaughtSet> {
        let students = self
            .validate
            .as_ref()
            .context("a step without [validate]")?;
        let origin = self.origin().context("a step without images")?;
        let train = Arc::new(session.train.of_classes(classes));
        let test = session.test.of_classes(classes);
        let folder = RunFolder::at(folder.path());
        let own = Session {
            registry: session.registry,
            folder: &folder,
            seed: session.seed,
            device: session.device.clone(),
            precision: session.precision,
            checkpoint_secs: session.checkpoint_secs,
            train: &train,
            test: &test,
            inputs: session.inputs.clone(),
            share: None,
            team: None,
        };
        let all = MAKING.into_iter();
        for (stage, table) in all.filter_map(|stage| Some((stage, self.table(stage)?))) {
            let work = folder.stage(stage);
            // Squeeze and experts have several outcomes, and look for each themselves.
            let is_made =
                [Stage::Recover, Stage::Match].contains(&stage) && work.metrics().exists();
            if !is_made {
                let own = own.computing_in(Table::precision(table));
                let _computing = own.compute();
                let context = || {
                    format!(
                        "{stage} of {} classes in {}",
                        classes.len(),
                        work.path().display()
                    )
                };
                self.carry_out(stage, &own, base).with_context(context)?;
            }
            // A kill between the outcome and this left them.
            atomic::remove(&work.checkpoint())?;
        }
        let relabelled = self.relabel.is_some();
        TaughtSet::load(&own, students, (&origin, relabelled), made(&origin))
    }
}
