//! Which stages a run has, and the hash that each is finished for: its configuration, what stands behind it, its plugins.

use std::collections::BTreeSet;

use anyhow::Result;
use plugin_api::abi::Kind;
use serde_json::{Value as Json, json};

use crate::{
    artifact::{
        PluginRecord, hash_json,
        manifest::{Batch, hex},
    },
    data::{Dataset, Normalization},
    plugins::registry::Registry,
    stages::{
        ComponentConfig, given,
        session::{fingerprint, input_identity, sizes},
    },
};

use super::Experiment;

/// The stages, in their order.
pub const STAGES: [&str; 7] = [
    "squeeze", "recover", "experts", "match", "given", "relabel", "validate",
];

/// A stage of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its name.
    pub name: &'static str,
    /// Hash of its configuration and inputs.
    pub hash: String,
    /// The same without the sizes of the image files, which mending an unreadable one changes.
    pub hash_but_sizes: String,
    /// Hash of what may grow without making it stale: sets, seeds.
    pub extent: String,
    /// Its batches, if it can go on with others.
    pub batch: Option<Batch>,
}

/// The stages of an experiment, and the plugins that take part.
pub struct Plan {
    /// Stages, in their order.
    pub stages: Vec<Planned>,
    /// Plugins.
    pub plugins: Vec<PluginRecord>,
}

/// Plans an experiment. Device, threads and the time between checkpoints are outside of every hash.
///
/// # Errors
/// When a plugin is gone or a weight file cannot be read.
pub fn plan(
    experiment: &Experiment,
    registry: &Registry,
    sets: (&Dataset, &Dataset),
    normalization: &Normalization,
    base: &std::path::Path,
) -> Result<Plan> {
    let mut plugins = BTreeSet::new();
    let mut stages: Vec<Planned> = Vec::new();
    let inputs = |sizes: Json| {
        json!({
            "seed": experiment.seed,
            "train": fingerprint(sets.0),
            "test": fingerprint(sets.1),
            "sizes": sizes,
            "resize": experiment.data.resize,
            "interpolation": experiment.data.interpolation,
            "normalization": input_identity(normalization, experiment.data.whitening.as_ref()),
        })
    };
    let mut before = inputs(json!([sizes(sets.0), sizes(sets.1)]));
    let mut before_but_sizes = inputs(Json::Null);
    // A stage is what its table says, and what counts beside it.
    let mut push = |name: &'static str,
                    (config, beside): (Json, Option<Json>),
                    extent: Json,
                    used: &[(Kind, &ComponentConfig)]|
     -> Result<()> {
        let mut versions = Vec::new();
        for (kind, component) in used {
            let found = registry.find(*kind, &component.plugin)?;
            let plugin = &found.plugin;
            versions.push(json!([plugin.name, plugin.version]));
            plugins.insert(PluginRecord {
                name: plugin.name.clone(),
                version: plugin.version.clone(),
                sha256: plugin.sha256.clone(),
            });
        }
        let chained = |before: &Json, config: &Json| {
            let parts =
                json!({"stage": name, "before": before, "config": config, "plugins": versions});
            hash_json(&parts)
        };
        let whole = |config: Json| match &beside {
            Some(beside) => json!([config, beside]),
            None => config,
        };
        let batch = batch_size(experiment, name).map(|size| Batch {
            hash_but_size: chained(&before, &whole(without(config.clone(), &["batch_size"]))),
            size,
        });
        let config = whole(config);
        let hash = chained(&before, &config);
        let hash_but_sizes = chained(&before_but_sizes, &config);
        before = json!(hash);
        before_but_sizes = json!(hash_but_sizes);
        stages.push(Planned {
            name,
            hash,
            hash_but_sizes,
            extent: hash_json(&extent),
            batch,
        });
        Ok(())
    };
    if let Some(squeeze) = &experiment.squeeze {
        let weights = match &squeeze.weights {
            Some(file) => json!(file_hash(&base.join(file))?),
            None => Json::Null,
        };
        let used = [
            (Kind::ARCHITECTURE, &squeeze.architecture),
            (Kind::LOSS, &squeeze.loss),
        ];
        // The content of the file counts, and not its path.
        let config = (without(json!(squeeze), &["weights"]), Some(weights));
        push("squeeze", config, Json::Null, &used)?;
    }
    if let Some(recover) = &experiment.recover {
        let regularizers: Vec<ComponentConfig> =
            recover.regularizers.iter().map(|r| r.component()).collect();
        let mut used = vec![(Kind::LOSS, &recover.loss)];
        used.extend(regularizers.iter().map(|r| (Kind::REGULARIZER, r)));
        push(
            "recover",
            (without(json!(recover), &["log_every"]), None),
            Json::Null,
            &used,
        )?;
    }
    if let (Some(config), Some(matching)) = (&experiment.experts, &experiment.match_) {
        // Where the trajectories stand changes nothing.
        let architecture = json!(matching.architecture);
        let config = (without(json!(config), &["folder"]), Some(architecture));
        let used = [(Kind::ARCHITECTURE, &matching.architecture)];
        push("experts", config, Json::Null, &used)?;
    }
    if let Some(config) = &experiment.match_ {
        push(
            "match",
            (without(json!(config), &["log_every"]), None),
            Json::Null,
            &[
                (Kind::MATCHER, &config.matcher),
                (Kind::ARCHITECTURE, &config.architecture),
            ],
        )?;
    }
    if let Some(given) = &experiment.given {
        let (classes, side) = (sets.0.class_names(), sets.0.resolution());
        let set = given.load(base, classes, side)?;
        // The images count, and not where they come from.
        push("given", (json!(given::hash(&set)), None), Json::Null, &[])?;
    }
    if let (Some(_), Some(relabel)) = (experiment.origin(), &experiment.relabel) {
        push(
            "relabel",
            // How many views the teacher answers at once changes labels by rounding alone.
            (without(json!(relabel), &["teacher_batch_size"]), None),
            json!(experiment.set_names()),
            &[(Kind::RELABELER, &relabel.relabeler)],
        )?;
    }
    if let Some(validate) = &experiment.validate {
        let students: Vec<ComponentConfig> = validate
            .architectures
            .iter()
            .map(|a| a.component())
            .collect();
        let mut used = vec![
            (Kind::LOSS, &validate.loss),
            (Kind::LOSS, &validate.hard_loss),
        ];
        used.extend(students.iter().map(|s| (Kind::ARCHITECTURE, s)));
        let extent = json!([validate.controls, validate.seeds, validate.full_data.seeds]);
        let mut config = without(json!(validate), &["controls", "seeds"]);
        config["full_data"] = without(config["full_data"].take(), &["seeds"]);
        push("validate", (config, None), extent, &used)?;
    }
    Ok(Plan {
        stages,
        plugins: plugins.into_iter().collect(),
    })
}

/// Images in a step of a stage that can go on with another number of them: its saved state is that of whole images.
pub fn batch_size(experiment: &Experiment, stage: &str) -> Option<u32> {
    match stage {
        "squeeze" => experiment.squeeze.as_ref().map(|c| c.batch_size),
        "recover" => experiment.recover.as_ref().map(|c| c.batch_size),
        "validate" => experiment.validate.as_ref().map(|c| c.batch_size),
        _ => None,
    }
}

fn without(mut config: Json, keys: &[&str]) -> Json {
    if let Some(table) = config.as_object_mut() {
        keys.iter().for_each(|k| drop(table.remove(*k)));
    }
    config
}

fn file_hash(path: &std::path::Path) -> Result<String> {
    use sha2::{Digest, Sha256};
    Ok(hex(&Sha256::digest(std::fs::read(path)?)))
}
