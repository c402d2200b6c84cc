//! The check of a whole experiment: its data, then the tables of its stages, each with what it takes from those before.

use std::{path::Path, sync::Arc};

use plugin_api::{abi::Kind, architecture::InputShape, regularizer::Regularizer};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::{
    artifact::Stage,
    data::{self, Dataset, Fault},
    engine::gpu::device::{self, Opened},
    plugins::registry::Registry,
    stages::{
        given, matching as stage_match,
        networks::Network,
        recover, relabel,
        session::input_of,
        sets::Origin,
        teachers::FIRST,
        validate::{self, Control},
    },
};

use super::{
    super::{Experiment, file, labels::try_labels},
    matching,
    parts::{folder_name_fault, rule_faults, size_fault, tiles_fault, too_few},
    precision, tables,
    told::told_once,
};

/// An experiment in which nothing was found wrong, and its data.
pub struct Checked {
    /// The experiment with all its defaults.
    pub experiment: Experiment,
    /// Training images.
    pub train: Arc<Dataset>,
    /// Test images.
    pub test: Dataset,
    /// Where tensors live.
    pub device: Opened,
    /// What was chosen where the file leaves a choice.
    pub notes: Vec<String>,
}

/// Checks a whole experiment; `base` is the folder that its paths are relative to.
///
/// # Errors
/// All faults, in the order of the file's tables.
pub fn check(json: &Json, registry: &Registry, base: &Path) -> Result<Checked, Vec<Fault>> {
    let mut faults = Vec::new();
    let device = json.get("device").and_then(Json::as_str).unwrap_or("auto");
    let device = device::open(device)
        .map_err(|message| faults.push(Fault::new("device", message)))
        .ok();
    check_name(json, &mut faults);
    let mut checking = Checking::new(json, registry, base, faults);
    Stage::ALL
        .into_iter()
        .for_each(|stage| checking.check(stage));
    let Checking {
        mut faults,
        of_schema,
        sets,
        notes,
        ..
    } = checking;
    faults.extend(tables::faults(json));
    let opened = device.as_ref().map(|opened| &opened.device);
    faults.extend(
        opened
            .into_iter()
            .flat_map(|device| precision::faults(json, device)),
    );
    let faults = told_once(of_schema, faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let parsed = serde_json::from_value::<Experiment>(json.clone());
    match (parsed, sets, device) {
        (Ok(experiment), Some((train, test)), Some(device)) => Ok(Checked {
            experiment,
            train: Arc::new(train),
            test,
            device,
            notes,
        }),
        (Err(error), _, _) => Err(vec![Fault::new("experiment", error.to_string())]),
        _ => Err(vec![Fault::new("experiment", "could not read its tables")]),
    }
}

fn check_name(json: &Json, faults: &mut Vec<Fault>) {
    let Some(name) = json.get("name").and_then(Json::as_str) else {
        return;
    };
    // That of a run of a sweep has two parts.
    let message = name.split('/').find_map(folder_name_fault);
    faults.extend(message.map(|message| Fault::new("name", message)));
}

/// An experiment that is being checked.
pub(super) struct Checking<'a> {
    pub(super) json: &'a Json,
    pub(super) registry: &'a Registry,
    pub(super) base: &'a Path,
    /// Training and test images, where they could be opened.
    pub(super) sets: Option<(Dataset, Dataset)>,
    pub(super) input: Option<InputShape>,
    /// Networks of the teachers by name, where they could be built.
    pub(super) teachers: Vec<(String, Option<Network>)>,
    /// What was found so far.
    pub(super) faults: Vec<Fault>,
    /// What was chosen where the file leaves a choice.
    pub(super) notes: Vec<String>,
    /// What the schema does not allow: keys, types, ranges.
    pub(super) of_schema: Vec<Fault>,
}

impl<'a> Checking<'a> {
    /// Opens the data.
    fn new(json: &'a Json, registry: &'a Registry, base: &'a Path, mut faults: Vec<Fault>) -> Self {
        let config: Option<data::Config> = table(json, "data");
        let sets = config.and_then(|config| {
            let own = config.check();
            let opened = match own.is_empty() {
                true => Dataset::open_both(&config, base),
                false => Err(own),
            };
            opened.map_err(|found| faults.extend(found)).ok()
        });
        let input = sets.as_ref().map(|(train, _)| input_of(train));
        Self {
            json,
            registry,
            base,
            sets,
            input,
            teachers: Vec::new(),
            faults,
            notes: Vec::new(),
            of_schema: file::schema_faults(json),
        }
    }

    /// Checks the table of a stage, where there is one. One with faults of its own in the schema is left out; the others are still
    /// looked at.
    fn check(&mut self, stage: Stage) {
        match stage {
            Stage::Squeeze => self.with(stage, Self::squeeze),
            Stage::Recover => self.with(stage, Self::recover),
            // With the matcher that follows them.
            Stage::Experts => {}
            Stage::Match => self.with(stage, Self::matching),
            Stage::Given => self.with(stage, Self::given),
            Stage::Relabel => self.with(stage, Self::relabel),
            Stage::Validate => self.with(stage, Self::validate),
            Stage::Continual => self.with(stage, Self::continual),
        }
    }

    pub(super) fn table<T: DeserializeOwned>(&self, stage: Stage) -> Option<T> {
        table(self.json, stage.name())
    }

    fn with<T: DeserializeOwned>(&mut self, stage: Stage, check: fn(&mut Self, &T)) {
        if let Some(config) = self.table(stage) {
            check(self, &config);
        }
    }

    fn recover(&mut self, config: &recover::Config) {
        let registry = self.registry;
        self.faults.extend(config.faults());
        let loss = config.loss.faults(registry, Kind::LOSS, "recover.loss");
        self.faults.extend(loss);
        let names = self.teacher_names();
        if !names.is_empty() {
            self.faults.extend(config.teachers.faults(&names));
            let classes = self.input.map(|input| input.classes);
            self.faults
                .extend(classes.and_then(|classes| config.mixed_numbers(classes)));
        }
        let is_used = |name: &String| config.teachers.used().is_none_or(|u| u.contains(name));
        let used = self.teachers.iter().filter(|(name, _)| is_used(name));
        let mut bare = used.filter(|(_, network)| {
            let without = |network: &Network| network.spec().batch_norms.is_empty();
            network.as_ref().is_some_and(without)
        });
        let bare = bare.next().map(|(name, _)| name.clone());
        let side = self.input.map(|input| input.height);
        self.faults
            .extend(side.into_iter().flat_map(|side| config.faults_at(side)));
        for (i, hook) in config.hooks.iter().enumerate() {
            let path = format!("recover.hooks[{i}]");
            let own = hook.component().faults(registry, Kind::CANVAS, &path);
            self.faults.extend(own);
        }
        for (i, regularizer) in config.regularizers.iter().enumerate() {
            let path = format!("recover.regularizers[{i}]");
            let component = regularizer.component();
            let own = component.faults(registry, Kind::REGULARIZER, &path);
            if !own.is_empty() {
                self.faults.extend(own);
                continue;
            }
            let made = registry.create_regularizer(&component.plugin, &component.params());
            if let Some(teacher) = &bare
                && made.is_ok_and(|made| made.needs().batch_norm)
            {
                let of = match teacher.as_str() {
                    FIRST => "[squeeze]".to_owned(),
                    other => format!("teacher \"{other}\""),
                };
                let message = format!(
                    "{}: the architecture of {of} has no BatchNorm",
                    component.plugin
                );
                self.faults.push(Fault::new(path, message));
            }
        }
        self.counts(&config.origin());
    }

    fn matching(&mut self, config: &stage_match::Config) {
        let experts = self.table(Stage::Experts);
        let (registry, input) = (self.registry, self.input);
        self.faults
            .extend(matching::faults(config, experts.as_ref(), registry, input));
        self.counts(&config.origin());
        if let Some((train, _)) = &self.sets {
            self.faults
                .extend(matching::count_faults(config, registry, train));
        }
    }

    fn given(&mut self, config: &given::Config) {
        if let Some((train, _)) = &self.sets
            && let Err(error) = config.load(self.base, train.class_names(), train.resolution())
        {
            self.faults
                .push(Fault::new("given.images", format!("{error:#}")));
        }
        self.counts(&config.origin());
    }

    /// Whether there are as many real images as the set and its controls take, and whether they can be chosen as asked.
    fn counts(&mut self, origin: &Origin) {
        self.start(origin);
        let size = self.input.and_then(|input| size_fault(origin, input));
        self.faults.extend(size);
        let validate: Option<validate::Config> = self.table(Stage::Validate);
        let wants = |control| {
            validate
                .as_ref()
                .is_some_and(|v| v.controls.contains(&control))
        };
        if wants(Control::SelectedReal) && origin.init.selected().is_none() {
            let message = format!(
                "selected-real is what a selector chose, and {}.init names none",
                origin.stage
            );
            self.faults.push(Fault::new("validate.controls", message));
        }
        let draws = validate.filter(|v| v.controls.contains(&Control::RandomReal));
        let draws = draws.map(|v| v.random_draws as usize);
        // Every tile of an image is of another real one.
        let tiles = origin.init.selected().map_or(1, |s| s.tiles as usize);
        let Some((train, _)) = self
            .sets
            .as_ref()
            .filter(|_| draws.is_some() || origin.init.is_real())
        else {
            return;
        };
        if let Some(message) = too_few(
            origin.images_per_class as usize * draws.unwrap_or(1).max(tiles * tiles),
            train,
        ) {
            let key = format!("{}.images_per_class", origin.stage);
            self.faults.push(Fault::new(key, message));
        }
    }

    /// Whether a selector can choose what a set starts from.
    fn start(&mut self, origin: &Origin) {
        let Some(selected) = origin.init.selected() else {
            return;
        };
        let path = format!("{}.init", origin.stage);
        let component = selected.component();
        let own = component.faults(self.registry, Kind::SELECTOR, &path);
        self.faults.extend(own);
        let mut add = |key: &str, message: String| {
            self.faults
                .push(Fault::new(format!("{path}.{key}"), message));
        };
        if let Some(message) = selected.crop.fault() {
            add("crop", message);
        }
        let needed = [origin.images_per_class, selected.tiles, selected.tiles].map(u64::from);
        let needed = needed.into_iter().fold(1, u64::saturating_mul);
        if let Some(pool) = selected.pool.filter(|pool| u64::from(*pool) < needed) {
            add(
                "pool",
                format!("got {pool}, expected at least {needed}, the images that are needed"),
            );
        }
        let tiles = tiles_fault(&format!("{path}.tiles"), selected.tiles, self.input);
        self.faults.extend(tiles);
        if self.json.get(Stage::Squeeze.name()).is_none() {
            let message = "a selector asks a teacher, and there is no table [squeeze]";
            self.faults
                .push(Fault::new(format!("{path}.plugin"), message));
        }
        let names = self.teacher_names();
        if !names.is_empty() {
            let own = selected
                .teachers
                .faults(&format!("{path}.teachers"), &names);
            self.faults.extend(own);
        }
    }

    fn relabel(&mut self, config: &relabel::Config) {
        self.faults
            .extend(rule_faults(Stage::Relabel.name(), &config.views()));
        let tiles = tiles_fault("relabel.tiles", config.tiles, self.input);
        self.faults.extend(tiles);
        self.faults.extend(config.faults());
        let names = self.teacher_names();
        if !names.is_empty() {
            self.faults
                .extend(config.teachers.faults("relabel.teachers", &names));
        }
        let (kind, path) = (Kind::RELABELER, "relabel.relabeler");
        let own = config.relabeler.faults(self.registry, kind, path);
        self.faults.extend(own);
    }

    fn validate(&mut self, config: &validate::Config) {
        self.students(config);
        let relabel: Option<relabel::Config> = self.table(Stage::Relabel);
        let is_sound = self.faults.is_empty() && self.of_schema.is_empty();
        if let (Some(relabel), Some(input), true) = (relabel, self.input, is_sound)
            && let Err(error) = try_labels(
                self.registry,
                &relabel,
                &config.loss,
                input.classes,
                input.height,
            )
        {
            let message = format!(
                "this loss cannot read the labels of relabeler \"{}\": {error}",
                relabel.relabeler.plugin
            );
            self.faults.push(Fault::new("validate.loss", message));
        }
    }
}

pub(super) fn table<T: DeserializeOwned>(json: &Json, key: &str) -> Option<T> {
    serde_json::from_value(json.get(key)?.clone()).ok()
}
