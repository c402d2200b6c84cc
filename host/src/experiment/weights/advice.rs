//! Which other options, number of classes or resolution weights would fit: found by building the architecture with them. And what is wrong with
//! the weights that an experiment takes instead of training (`squeeze.weights`).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::Result;
use candle_core::Device;
use plugin_api::{abi::Kind, architecture::InputShape};
use serde_json::{Map, Value as Json};

use crate::{
    artifact::weights::{
        self,
        choice::{Choice, Outline},
    },
    plugins::registry::Registry,
    stages::{
        ComponentConfig,
        networks::{Network, fit::Fit, imported},
        squeeze,
    },
};

/// Changes that are tried one after the other: depth, stem, classes and a resolution together.
const MAX_CHANGES: usize = 4;
/// Resolutions of published weights; only networks whose parameters depend on it (ViT) can be told apart.
const RESOLUTIONS: [usize; 9] = [32, 64, 96, 128, 160, 224, 256, 384, 512];

/// An architecture as it could be built.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    architecture: ComponentConfig,
    input: InputShape,
}

/// A variant that fits better.
#[derive(Clone, Debug, PartialEq)]
pub struct Better {
    variant: Variant,
    /// Tensors that fit it neither.
    left: usize,
}

impl Variant {
    /// An architecture with its options, and its input.
    pub fn new(architecture: &ComponentConfig, input: InputShape) -> Self {
        Self {
            architecture: architecture.clone(),
            input,
        }
    }

    fn fit(&self, registry: &Registry, tensors: &BTreeMap<String, Outline>) -> Option<Fit> {
        let ComponentConfig { plugin, .. } = &self.architecture;
        let params = self.architecture.params();
        let architecture = registry.create_architecture(plugin, &params).ok()?;
        let (_, spec) = architecture.build(&self.input).ok()?;
        Some(Fit::of(&spec, tensors))
    }

    /// The variant that fits best, changing one thing at a time while that helps; none where nothing does.
    pub fn better(
        &self,
        registry: &Registry,
        tensors: &BTreeMap<String, Outline>,
    ) -> Option<Better> {
        let (mut best, mut fit) = (self.clone(), self.fit(registry, tensors)?);
        for _ in 0..MAX_CHANGES {
            if fit.faults() == 0 {
                break;
            }
            let tried = best.neighbours(registry, &fit).into_iter();
            let fitted = tried.filter_map(|v| Some((v.fit(registry, tensors)?, v)));
            match fitted.min_by_key(|(fit, _)| fit.faults()) {
                Some((closer, variant)) if closer.faults() < fit.faults() => {
                    (best, fit) = (variant, closer);
                }
                _ => break,
            }
        }
        let left = fit.faults();
        (best != *self).then_some(Better {
            variant: best,
            left,
        })
    }

    /// All that differ in one thing: an option with a list of values, the classes that the file seems to have, the resolution.
    fn neighbours(&self, registry: &Registry, fit: &Fit) -> Vec<Self> {
        let mut found = Vec::new();
        let name = &self.architecture.plugin;
        if let Ok(component) = registry.find(Kind::ARCHITECTURE, name) {
            for (key, value) in choices(&component.schema) {
                let mut other = self.clone();
                other.architecture.params.insert(key, value);
                found.push(other);
            }
        }
        let first = |shape: &[usize]| shape.first().copied();
        let classifiers = fit.mismatched.iter();
        let classifiers = classifiers.filter(|m| first(&m.expected) == Some(self.input.classes));
        let counts: BTreeSet<usize> = classifiers.filter_map(|m| first(&m.got)).collect();
        for classes in counts.into_iter().filter(|c| *c > 0) {
            let mut other = self.clone();
            other.input.classes = classes;
            found.push(other);
        }
        for side in RESOLUTIONS {
            let mut other = self.clone();
            (other.input.height, other.input.width) = (side, side);
            found.push(other);
        }
        found.retain(|other| other != self);
        found
    }
}

/// Options with few values, and these.
fn choices(schema: &Json) -> Vec<(String, Json)> {
    let properties = schema.get("properties").and_then(Json::as_object);
    let values = |property: &Json| -> Vec<Json> {
        let target = property.get("$ref").and_then(Json::as_str);
        let target = target.and_then(|r| schema.pointer(r.trim_start_matches('#')));
        let property = target.unwrap_or(property);
        if let Some(values) = property.get("enum").and_then(Json::as_array) {
            return values.clone();
        }
        if property.get("type").and_then(Json::as_str) == Some("boolean") {
            return vec![Json::Bool(false), Json::Bool(true)];
        }
        let one_of = property.get("oneOf").and_then(Json::as_array);
        let constants = one_of.into_iter().flatten().filter_map(|v| v.get("const"));
        constants.cloned().collect()
    };
    let pairs = properties.into_iter().flatten();
    pairs
        .flat_map(|(key, property)| values(property).into_iter().map(|v| (key.clone(), v)))
        .collect()
}

/// Options as an inline table of TOML.
pub fn inline(params: &Map<String, Json>) -> String {
    match toml::Value::try_from(params) {
        Ok(table) => table.to_string(),
        Err(_) => Json::Object(params.clone()).to_string(),
    }
}

impl Better {
    /// As flags of `alambic import-weights`.
    pub fn as_flags(&self, from: &Variant) -> String {
        let mut flags = Vec::new();
        let (new, old) = (&self.variant, from);
        if new.input.classes != old.input.classes {
            flags.push(format!("--classes {}", new.input.classes));
        }
        if new.input.height != old.input.height {
            flags.push(format!("--resolution {}", new.input.height));
        }
        if new.architecture != old.architecture {
            flags.push(format!("--params '{}'", inline(&new.architecture.params)));
        }
        self.sentence(&flags.join(" "))
    }

    /// As keys of an experiment.
    pub fn in_a_file(&self, from: &Variant) -> String {
        let mut keys = Vec::new();
        let (new, old) = (&self.variant, from);
        if new.architecture != old.architecture {
            keys.push(format!("params = {}", inline(&new.architecture.params)));
        }
        if new.input.classes != old.input.classes {
            let (file, data) = (new.input.classes, old.input.classes);
            keys.push(format!("{file} classes (the data has {data})"));
        }
        if new.input.height != old.input.height {
            keys.push(format!("data.resolution = {}", new.input.height));
        }
        self.sentence(&keys.join(" and "))
    }

    fn sentence(&self, changes: &str) -> String {
        match self.left {
            0 => format!("all match with {changes}"),
            1 => format!("all but one match with {changes}"),
            n => format!("all but {n} match with {changes}"),
        }
    }
}

/// What there is to say of the weights in a file.
#[derive(Default)]
pub struct Said {
    /// All that is wrong with them.
    pub faults: Vec<String>,
    /// Which were taken, where there was a choice.
    pub note: Option<String>,
}

/// What there is to say of the weights in a file, for an architecture and the classes of the data; `teacher`, where it could be built,
/// takes them.
pub fn given(
    (path, choice): (&Path, &Choice),
    architecture: &ComponentConfig,
    class_names: &[String],
    registry: &Registry,
    teacher: Option<&mut Network>,
) -> Said {
    let mut said = Said::default();
    let read = match teacher {
        Some(teacher) => taken((path, choice), architecture, registry, teacher, &mut said),
        None => weights::open(path).and_then(|file| {
            file.candidates(choice)?;
            Ok(file.texts)
        }),
    };
    match read {
        Err(error) => said.faults.push(format!("{error:#}")),
        Ok(texts) => {
            if let Err(error) = squeeze::check_classes(&texts, class_names) {
                let place = path.display();
                said.faults.push(format!("{place}: {error:#}"));
            }
        }
    }
    said
}

/// Lets a teacher take the weights of a file; gives the texts beside them.
fn taken(
    (path, choice): (&Path, &Choice),
    architecture: &ComponentConfig,
    registry: &Registry,
    teacher: &mut Network,
    said: &mut Said,
) -> Result<BTreeMap<String, String>> {
    let read = imported::load(path, choice, teacher.spec())?;
    let (input, outlines) = (teacher.input(), Outline::all(&read.tensors));
    let place = &read.place;
    said.note = read.note.map(|note| format!("{}: {note}", path.display()));
    match teacher.load_state(read.tensors, &Device::Cpu) {
        Ok(()) => {
            if let Ok(Some(name)) = teacher.not_finite() {
                let message = format!("{place}: {name} contains NaN or infinite values");
                said.faults.push(message);
            }
        }
        Err(error) => {
            let variant = Variant::new(architecture, input);
            let better = variant.better(registry, &outlines);
            let advice = better.map(|b| format!("; {}", b.in_a_file(&variant)));
            let advice = advice.unwrap_or_default();
            said.faults.push(format!("{place}: {error:#}{advice}"));
        }
    }
    Ok(read.texts)
}
