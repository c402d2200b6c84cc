//! An experiment: a TOML file as types, checked whole before anything is computed, and carried out stage by stage.

pub mod changed;
pub mod checks;
mod collect;
pub mod compare;
mod confusions;
mod courses;
mod differing;
pub mod estimate;
pub mod failure;
pub mod file;
pub mod film;
pub mod finished;
pub mod intact;
pub mod labels;
pub mod meter;
mod out_of_memory;
pub mod outcome;
mod per_step;
pub mod plan;
pub mod protocol;
pub mod publish;
pub mod ranked;
pub mod reuse;
pub mod run;
pub mod selection;
pub mod shares;
pub mod side_by_side;
pub mod soft_labels;
pub mod sweep;
pub mod toml_json;
mod warnings;
pub mod weights;
mod work;

use std::path::Path;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    artifact::Stage,
    data,
    report::overall,
    stages::{
        Session, Table,
        continual::{self, Distill},
        experts, given,
        matching::{self, Experts},
        recover, relabel,
        sets::{self, Origin},
        squeeze, start,
        teachers::{FIRST, Further, merged},
        validate,
    },
};

/// One complete experiment: no inheritance, no environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Name of the run and of its folder
    pub name: String,
    /// Seed of all random numbers
    #[serde(default)]
    #[schemars(range(max = i64::MAX))]
    pub seed: u64,
    /// `auto`, `cpu` or `cuda:N`
    #[serde(default = "auto")]
    pub device: String,
    /// Seconds between checkpoints: the most work that a kill can cost
    #[serde(default = "checkpoint_secs")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub checkpoint_secs: f64,
    /// Folders of runs, relative to the TOML's, whose finished stages are taken where they are those of this experiment
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reuse: Vec<String>,
    /// Images
    pub data: data::Config,
    /// The teacher; a matched set needs one only for its labels
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub squeeze: Option<squeeze::Config>,
    /// Further teachers, which train like that of `[squeeze]` unless they say otherwise
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teachers: Vec<Further>,
    /// The distilled images, from the teachers
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover: Option<recover::Config>,
    /// Networks whose training trajectories a matcher follows
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<experts::Config>,
    /// The distilled images, by a matcher; replaces `[recover]`
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<matching::Config>,
    /// Distilled images made elsewhere; replaces `[recover]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<given::Config>,
    /// Their labels
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relabel: Option<relabel::Config>,
    /// The evaluation
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<validate::Config>,
    /// The evaluation while classes arrive step by step
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continual: Option<continual::Config>,
}

impl Experiment {
    /// The same experiment with paths that hold from anywhere; they were relative to `base`.
    ///
    /// # Errors
    /// When the current folder is not known.
    pub fn with_absolute_paths(mut self, base: &Path) -> Result<Self> {
        let base = match base.as_os_str().is_empty() {
            true => std::env::current_dir()?,
            false => std::path::absolute(base)?,
        };
        self.data.rebase(&base);
        let own = self.squeeze.iter_mut().filter_map(|s| s.weights.as_mut());
        own.for_each(|weights| weights.rebase(&base));
        for further in &mut self.teachers {
            further.rebase(&base)?;
        }
        let experts = self.experts.iter_mut().filter_map(|e| e.folder.as_mut());
        let given = self.given.iter_mut().map(|given| &mut given.images);
        for path in experts.chain(given).chain(&mut self.reuse) {
            *path = base.join(&*path).to_string_lossy().into_owned();
        }
        Ok(self)
    }

    /// All teachers by name, that of `[squeeze]` first; none without `[squeeze]`.
    ///
    /// # Errors
    /// When a key of a further teacher does not fit.
    pub fn all_teachers(&self) -> Result<Vec<(String, squeeze::Config)>> {
        let Some(squeeze) = &self.squeeze else {
            return Ok(Vec::new());
        };
        let common = serde_json::to_value(squeeze)?;
        let mut all = vec![(FIRST.to_owned(), squeeze.clone())];
        for further in &self.teachers {
            let config = serde_json::from_value(merged(&common, further));
            let config = config.with_context(|| format!("teacher \"{}\"", further.name))?;
            all.push((further.name.clone(), config));
        }
        Ok(all)
    }

    /// What the distilled images start from, whichever stage makes them.
    pub fn origin(&self) -> Option<Origin> {
        let recovered = self.recover.as_ref().map(recover::Config::origin);
        let matched = || self.matching.as_ref().map(matching::Config::origin);
        let given = || self.given.as_ref().map(given::Config::origin);
        recovered.or_else(matched).or_else(given)
    }

    /// The name of what makes the stored labels.
    pub fn relabeler(&self) -> Option<&str> {
        let relabel = self.relabel.as_ref();
        relabel.map(|relabel| relabel.relabeler.plugin.as_str())
    }

    /// The table of a stage, where the experiment has the stage.
    pub fn table(&self, stage: Stage) -> Option<&dyn Table> {
        fn some<T: Table>(table: &Option<T>) -> Option<&dyn Table> {
            table.as_ref().map(|table| table as &dyn Table)
        }
        match stage {
            Stage::Squeeze => some(&self.squeeze),
            Stage::Recover => some(&self.recover),
            Stage::Experts => some(&self.experts).filter(|_| self.matching.is_some()),
            Stage::Match => some(&self.matching),
            Stage::Given => some(&self.given),
            Stage::Relabel => some(&self.relabel).filter(|_| self.origin().is_some()),
            Stage::Validate => some(&self.validate),
            Stage::Continual => some(&self.continual),
        }
    }

    /// The stages that it has.
    pub fn stages(&self) -> Vec<Stage> {
        let has = |stage: &Stage| self.table(*stage).is_some();
        Stage::ALL.into_iter().filter(has).collect()
    }

    /// In how many parts the trainings of a stage take a batch at most: several processes can do them together.
    ///
    /// # Errors
    /// When a key of a further teacher does not fit.
    pub fn micro_batches(&self, stage: Stage) -> Result<u32> {
        let of_table = self.table(stage).map_or(1, Table::micro_batches);
        if stage != Stage::Squeeze {
            return Ok(of_table);
        }
        let teachers = self.all_teachers()?.into_iter();
        let most = teachers.map(|(_, config)| config.micro_batches).max();
        Ok(most.unwrap_or(of_table))
    }

    /// Carries out a stage; `base` is the folder that paths are relative to.
    ///
    /// # Errors
    /// Those of the stage, and where a table that it needs is missing.
    pub fn carry_out(&self, stage: Stage, session: &Session<'_>, base: &Path) -> Result<()> {
        fn of<T>(table: &Option<T>, stage: Stage) -> Result<&T> {
            let missing = || format!("a stage without the table [{stage}]");
            table.as_ref().with_context(missing)
        }
        let load =
            |used: Option<&[String]>| squeeze::load_teachers(session, &self.all_teachers()?, used);
        let origin = || of(&self.origin(), Stage::Recover).cloned();
        let matching = || of(&self.matching, Stage::Match);
        match stage {
            Stage::Squeeze => squeeze::run(session, &self.all_teachers()?, base),
            Stage::Recover => {
                let config = of(&self.recover, stage)?;
                self.select(session, &config.origin())?;
                let teachers = load(config.teachers.used())?;
                recover::run(session, config, &teachers)
            }
            Stage::Experts => {
                let (config, network) = (of(&self.experts, stage)?, &matching()?.architecture);
                experts::run(session, config, network, base).map(drop)
            }
            Stage::Match => {
                let experts = match &self.experts {
                    Some(config) => {
                        let store = config.store(session.folder, base);
                        store.verify(config.count)?;
                        Experts::Stored(store, config.count)
                    }
                    None => Experts::Absent,
                };
                self.select(session, &matching()?.origin())?;
                matching::run(session, matching()?, experts).map(drop)
            }
            Stage::Given => given::run(session, of(&self.given, stage)?, base).map(drop),
            Stage::Relabel => {
                let config = of(&self.relabel, stage)?;
                let teachers = load(config.teachers.used())?;
                let sets = self.set_names();
                overall::expect(sets.iter().map(|set| (relabel::told_as(set), 1.)));
                for name in sets {
                    let images = sets::load(session, &origin()?, &name)?;
                    let store = session.folder.labels(&name);
                    relabel::run(session, config, &teachers, (&name, &store), &images)?;
                }
                Ok(())
            }
            Stage::Validate => {
                let upstream = validate::Upstream {
                    squeeze: self.squeeze.as_ref(),
                    origin: origin()?,
                    relabel: self.relabel.as_ref(),
                };
                validate::run(session, of(&self.validate, stage)?, &upstream).map(drop)
            }
            Stage::Continual => {
                let config = of(&self.continual, stage)?;
                let recipe = validate::Recipe {
                    config: of(&self.validate, stage)?,
                    relabel: self.relabel.as_ref(),
                };
                let labels = recipe.relabel.filter(|_| config.distill == Distill::Once);
                let teachers = labels.map(|relabel| load(relabel.teachers.used()));
                let upstream = continual::Upstream {
                    origin: origin()?,
                    recipe,
                    teachers: teachers.transpose()?,
                    distill: &|folder, classes| self.distill(session, folder, classes, base),
                };
                continual::run(session, config, &upstream).map(drop)
            }
        }
    }

    /// The sets that are relabelled and trained on.
    pub fn set_names(&self) -> Vec<String> {
        let Some(origin) = self.origin() else {
            return Vec::new();
        };
        let validate = self.validate.as_ref();
        let made = || vec![sets::made(&origin).to_owned()];
        validate.map_or_else(made, |v| v.set_names(&origin))
    }

    /// Lets a selector choose what a set starts from, where one is asked for.
    fn select(&self, session: &Session<'_>, origin: &Origin) -> Result<()> {
        let Some(selected) = origin.init.selected() else {
            return Ok(());
        };
        let all = self.all_teachers()?;
        let teachers = squeeze::load_teachers(session, &all, selected.teachers.used())?;
        start::select(session, origin, &teachers)
    }
}

fn auto() -> String {
    "auto".to_owned()
}

fn checkpoint_secs() -> f64 {
    30.
}
