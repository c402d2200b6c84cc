//! The check of continual learning: steps and orders of the classes, the memory, and what can be distilled while they arrive.

use serde_json::Value as Json;

use crate::{
    artifact::Stage,
    data::Fault,
    stages::{
        continual::{Arrival, Budget, Config, Distill},
        experts, given, matching, recover, relabel,
        sets::Origin,
        validate::{self, Control},
    },
};

use super::{check::Checking, parts::too_few, students::seeds_fault};

impl Checking<'_> {
    pub(super) fn continual(&mut self, config: &Config) {
        let seeds = config.seeds.as_deref().unwrap_or_default();
        self.faults.extend(seeds_fault("continual.seeds", seeds));
        if let Some(input) = self.input {
            let found = arrivals(config, input.classes);
            let are_sound = found.is_empty();
            self.faults.extend(found);
            self.faults.extend(budget(config, input.classes));
            if are_sound {
                self.untested(config, input.classes);
            }
        }
        let students: Option<validate::Config> = self.table(Stage::Validate);
        let Some(students) = students else {
            return;
        };
        self.real_images(&students);
        if config.distill == Distill::PerStep {
            self.step_by_step(config, &students);
        }
    }

    /// Random real images are always there, whether `[validate]` asks for them, which is checked with the maker, or not.
    fn real_images(&mut self, students: &validate::Config) {
        if students.controls.contains(&Control::RandomReal) {
            return;
        }
        let (Some((train, _)), Some(origin)) = (&self.sets, self.maker()) else {
            return;
        };
        let wanted = origin.images_per_class as usize * students.random_draws as usize;
        let key = format!("{}.images_per_class", origin.stage);
        let fault = too_few(wanted, train).map(|message| Fault::new(key, message));
        self.faults.extend(fault);
    }

    fn maker(&self) -> Option<Origin> {
        let recovered = self.table::<recover::Config>(Stage::Recover);
        let matched = || self.table::<matching::Config>(Stage::Match);
        let given = || self.table::<given::Config>(Stage::Given);
        let recovered = recovered.map(|table| table.origin());
        let matched = || matched().map(|table| table.origin());
        recovered
            .or_else(matched)
            .or_else(|| given().map(|table| table.origin()))
    }

    /// Every step is tested on some images.
    fn untested(&mut self, config: &Config, classes: usize) {
        let Some((_, test)) = &self.sets else {
            return;
        };
        let mut faults = Vec::new();
        for (i, order) in config.orders.iter().enumerate() {
            let order = order.classes(classes);
            let first = Arrival::all(&order, config.steps as usize).next();
            let seen = first.map_or(&[][..], |arrival| arrival.seen);
            if seen.iter().all(|c| test.indices_of_class(*c).is_empty()) {
                let message = "there is no test image of the classes of its first step";
                faults.push(Fault::new(format!("continual.orders[{i}]"), message));
            }
        }
        self.faults.extend(faults);
    }

    /// What cannot be made of some classes alone, or has no meaning for students of all.
    fn step_by_step(&mut self, config: &Config, students: &validate::Config) {
        let mut faults: Vec<Fault> = Vec::new();
        let mut add = |key: &str, message: &str| {
            let message = format!("{message} (or set continual.distill = \"once\")");
            faults.push(Fault::new(key, message));
        };
        if self.table::<given::Config>(Stage::Given).is_some() {
            add(
                "given.images",
                "images made elsewhere cannot be distilled anew at each step",
            );
        }
        if let Some(relabel) = self.table::<relabel::Config>(Stage::Relabel)
            && !students.controls.contains(&Control::HardLabel)
        {
            let message = format!(
                "no teacher of a step knows the classes of the others, so students that are distilled for \"per-step\" learn from \
                 class labels alone, not from those of relabeler \"{}\": add the control hard-label",
                relabel.relabeler.plugin
            );
            add("validate.controls", &message);
        }
        let teachers = self.json.get("teachers").and_then(Json::as_array);
        let further = (0..).zip(teachers.into_iter().flatten());
        let further = further.map(|(i, table)| (format!("teachers[{i}]"), Some(table)));
        let first = (
            Stage::Squeeze.name().to_owned(),
            self.json.get(Stage::Squeeze.name()),
        );
        for (path, table) in [first].into_iter().chain(further) {
            if table.is_some_and(|table| table.get("weights").is_some()) {
                let message =
                    "given weights know all classes, and each step trains a teacher of its own";
                add(&format!("{path}.weights"), message);
            }
        }
        if let Some(matching) = self.table::<matching::Config>(Stage::Match) {
            if matching.labels.is_some() {
                add(
                    "match.labels",
                    "labels that are learned at a step are of its own classes alone",
                );
            }
            if matching.learning_rate.is_some() {
                add(
                    "match.learning_rate",
                    "each step learns another learning rate, and a student has one",
                );
            }
        }
        if self
            .table::<experts::Config>(Stage::Experts)
            .is_some_and(|e| e.folder.is_some())
        {
            add(
                "experts.folder",
                "each step trains experts of its own classes, which no folder shares",
            );
        }
        if let (Some(recover), Some(input)) =
            (self.table::<recover::Config>(Stage::Recover), self.input)
        {
            let new = input.classes / (config.steps as usize).max(1);
            faults.extend(recover.mixed_numbers(new));
        }
        self.faults.extend(faults);
    }
}

/// What is wrong with steps and orders of so many classes.
fn arrivals(config: &Config, classes: usize) -> Vec<Fault> {
    let mut faults = Vec::new();
    let steps = config.steps as usize;
    if !classes.is_multiple_of(steps.max(1)) || steps > classes {
        let fitting = (2..=classes).filter(|steps| classes.is_multiple_of(*steps));
        let fitting: Vec<String> = fitting.map(|steps| steps.to_string()).collect();
        let message = format!(
            "got {steps}, expected a divisor of the {classes} classes: {}",
            fitting.join(", ")
        );
        faults.push(Fault::new("continual.steps", message));
    }
    let mut known: Vec<(usize, Vec<u32>)> = Vec::new();
    for (i, order) in config.orders.iter().enumerate() {
        let key = format!("continual.orders[{i}]");
        if let Some(message) = order.fault(classes) {
            faults.push(Fault::new(key, message));
            continue;
        }
        let order = order.classes(classes);
        if let Some((other, _)) = known.iter().find(|(_, known)| *known == order) {
            let message =
                format!("the same order as continual.orders[{other}]; remove one of them");
            faults.push(Fault::new(key, message));
        }
        known.push((i, order));
    }
    faults
}

/// What is wrong with the size of the memory for so many classes.
fn budget(config: &Config, classes: usize) -> Option<Fault> {
    match config.budget {
        Budget::Total(images) if (images as usize) < classes => {
            let message = format!(
                "got {images}, expected at least one image of each of the {classes} classes"
            );
            Some(Fault::new("continual.budget", message))
        }
        _ => None,
    }
}
