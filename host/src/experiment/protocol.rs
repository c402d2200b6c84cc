//! One protocol for the sets of many runs: the squeeze, relabel and validate tables of a file, applied to each set alike.
//!
//! The teacher is trained once. Each set then goes through an experiment of its own, whose images are given; all of them can be
//! resumed and opened like any other run. Controls that do not depend on the set are trained with the first one of each size.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use serde_json::{Map, Value as Json, json};

use crate::{
    artifact::{ImageSet, RunFolder, Stage},
    data::Fault,
    plugins::registry::Registry,
    report::summary::{ResultRow, Summary},
    stages::validate::Control,
};

use super::{
    checks::check,
    failure::{Failure, config_fault},
    run::run,
    selection::Selection,
};

/// Keys of a protocol beside those of its stages.
const KEYS: [&str; 5] = ["seed", "device", "checkpoint_secs", "data", "teachers"];
/// Stages of a protocol; whatever else its file has is another experiment's matter.
const STAGES: [Stage; 3] = [Stage::Squeeze, Stage::Relabel, Stage::Validate];

/// A protocol that sets go through.
pub struct Protocol<'a> {
    tables: Map<String, Json>,
    base: PathBuf,
    registry: &'a Registry,
    out: PathBuf,
}

/// What a protocol found of a set.
pub struct Judged {
    /// The summary of its run, with all controls.
    pub summary: Summary,
    /// Its run.
    pub folder: PathBuf,
    /// The run that trained on the real images.
    pub controls: PathBuf,
}

impl<'a> Protocol<'a> {
    /// The tables of an experiment file; `base` is its folder, and everything is written below `out`.
    ///
    /// # Errors
    /// When the file has nothing to judge by.
    pub fn new(
        json: &Json,
        base: &Path,
        registry: &'a Registry,
        out: &Path,
    ) -> Result<Self, Failure> {
        let mut tables = Map::new();
        for key in KEYS.into_iter().chain(STAGES.map(Stage::name)) {
            if let Some(value) = json.get(key) {
                tables.insert(key.to_owned(), value.clone());
            }
        }
        let judging = Stage::Validate.name();
        if !tables.contains_key(judging) {
            let message = format!("missing table [{judging}], which a protocol is about");
            return Err(config_fault(judging, message));
        }
        Ok(Self {
            tables,
            base: base.to_owned(),
            registry,
            out: out.to_owned(),
        })
    }

    /// Judges the sets of runs.
    ///
    /// # Errors
    /// All faults of all sets before anything is computed, then those of the runs.
    pub fn judge(&self, runs: &[(String, RunFolder)]) -> Result<Vec<Judged>, Failure> {
        let teacher = self.out.join("teacher");
        let mut faults = Vec::new();
        for (i, (name, folder)) in runs.iter().enumerate() {
            if name == "teacher" || runs[..i].iter().any(|(other, _)| other == name) {
                let message = format!(
                    "run name \"{name}\" is used twice or reserved (\"teacher\"); names must be unique"
                );
                faults.push(Fault::new(folder.root().display().to_string(), message));
            }
            // Without the teacher's weights, which are not there yet.
            let (json, _) = self.experiment(name, folder, None)?;
            if let Err(found) = check(&json, self.registry, &self.base) {
                let place = |f: Fault| Fault::new(format!("{name}: {}", f.path), f.message);
                faults.extend(found.into_iter().map(place));
            }
        }
        if !faults.is_empty() {
            return Err(Failure::Config(faults));
        }
        let has_teacher = self.tables.contains_key(Stage::Squeeze.name());
        if has_teacher {
            tell!("protocol: teacher");
            let mut json = self.tables.clone();
            let of_teacher = |key: &str| KEYS.contains(&key) || key == Stage::Squeeze.name();
            json.retain(|key, _| of_teacher(key));
            json.insert("name".to_owned(), json!("teacher"));
            self.carry_out(&Json::Object(json), teacher.clone())?;
        }
        let teachers = has_teacher.then(|| RunFolder::at(&teacher));
        // By images of a class: real images are chosen without regard to the set that they are compared with.
        let mut controls: BTreeMap<usize, (PathBuf, Vec<ResultRow>)> = BTreeMap::new();
        let judged = runs.iter().map(|(name, folder)| {
            tell!("protocol: {name}");
            let (mut json, size) = self.experiment(name, folder, teachers.as_ref())?;
            let known = controls.get(&size).cloned();
            if known.is_some() {
                leave_out_controls(&mut json)?;
            }
            let folder = self.out.join(name);
            let mut summary = self.carry_out(&json, folder.clone())?;
            let controls = match known {
                Some((controls, known)) => {
                    summary.results.extend(known);
                    controls
                }
                None => {
                    let others = summary.results.iter().filter(|r| !r.is_distilled());
                    controls.insert(size, (folder.clone(), others.cloned().collect()));
                    folder.clone()
                }
            };
            Ok(Judged {
                summary,
                folder,
                controls,
            })
        });
        judged.collect()
    }

    /// An experiment on the set of a run, and its images of a class.
    fn experiment(
        &self,
        name: &str,
        folder: &RunFolder,
        teachers: Option<&RunFolder>,
    ) -> Result<(Json, usize), Failure> {
        let set = images(folder)?;
        let mut json = self.tables.clone();
        json.insert("name".to_owned(), json!(name));
        let images_per_class = set.len() / set.class_names.len().max(1);
        let root = std::path::absolute(folder.root()).map_err(anyhow::Error::from)?;
        json.insert(
            Stage::Given.name().to_owned(),
            json!({"images": root, "images_per_class": images_per_class}),
        );
        let give = |table: &mut Json, model: PathBuf| -> Result<()> {
            table["weights"] = json!(std::path::absolute(model)?);
            Ok(())
        };
        if let (Some(folder), Some(squeeze)) = (teachers, json.get_mut(Stage::Squeeze.name())) {
            give(squeeze, folder.stage(Stage::Squeeze).model())?;
            let further = json.get_mut("teachers").and_then(Json::as_array_mut);
            for teacher in further.into_iter().flatten() {
                let name = teacher["name"].as_str().unwrap_or_default().to_owned();
                give(teacher, folder.teacher(&name).0.model())?;
            }
        }
        Ok((Json::Object(json), images_per_class))
    }

    fn carry_out(&self, json: &Json, out: PathBuf) -> Result<Summary, Failure> {
        let checked = check(json, self.registry, &self.base).map_err(Failure::Config)?;
        let all = Selection::default();
        run(&checked, self.registry, &self.base, out, &all, &[])
    }
}

/// Keeps the controls that have to do with the set: other labels, no augmentation.
fn leave_out_controls(experiment: &mut Json) -> Result<()> {
    let controls = &mut experiment[Stage::Validate.name()]["controls"];
    let given = controls.take();
    let mut own: Vec<Control> = match given {
        Json::Null => Vec::new(),
        given => serde_json::from_value(given)?,
    };
    own.retain(|c| matches!(c, Control::HardLabel | Control::Unaugmented));
    *controls = json!(own);
    Ok(())
}

fn images(folder: &RunFolder) -> Result<ImageSet> {
    let images = folder.made_images().ok_or_else(|| {
        anyhow!(
            "{} has no distilled images yet; finish the run first",
            folder.root().display()
        )
    })?;
    ImageSet::load(&images).with_context(|| folder.root().display().to_string())
}
