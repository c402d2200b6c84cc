//! Which stages a run has, and the hash that each is finished for: its configuration, what stands behind it, its plugins.

use std::{collections::BTreeSet, path::Path};

use anyhow::Result;
use serde_json::{Value as Json, json};

use crate::{
    artifact::{PluginRecord, Stage, hash_json, manifest::Batch},
    data::{Dataset, Normalization},
    plugins::registry::Registry,
    stages::{
        Around, Identity,
        session::{fingerprint, input_identity, sizes},
        without,
    },
};

use super::{Experiment, checks::Checked};

/// A stage of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which.
    pub stage: Stage,
    /// Hash of its configuration and inputs.
    pub hash: String,
    /// The same without the sizes of the image files, which mending an unreadable one changes.
    pub hash_but_sizes: String,
    /// Hash of what may grow without making it stale: sets, seeds.
    pub extent: String,
    /// Its batch size, if it can resume with another one.
    pub batch: Option<Batch>,
}

/// The stages of an experiment, and the plugins that take part.
pub struct Plan {
    /// Stages, in their order.
    pub stages: Vec<Planned>,
    /// Plugins.
    pub plugins: Vec<PluginRecord>,
}

/// Plans a checked experiment, whose paths are relative to `base`, by its own data.
///
/// # Errors
/// Those of [`plan`], and where an image cannot be decoded.
pub fn plan_checked(checked: &Checked, registry: &Registry, base: &Path) -> Result<Plan> {
    let (experiment, train) = (&checked.experiment, checked.train.as_ref());
    let normalization = Normalization::resolve(&experiment.data, train)?;
    let sets = (train, &checked.test);
    plan(experiment, registry, sets, &normalization, base)
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
    base: &Path,
) -> Result<Plan> {
    let inputs = |sizes: Json| {
        let mut inputs = json!({
            "seed": experiment.seed,
            "train": fingerprint(sets.0),
            "test": fingerprint(sets.1),
            "sizes": sizes,
            "resize": experiment.data.resize,
            "interpolation": experiment.data.interpolation,
            "normalization": input_identity(normalization, experiment.data.whitening.as_ref()),
        });
        // Only where it changes pixels: hashes from before there was the key stay.
        if !experiment.data.exif.is_ignored() {
            inputs["exif"] = json!(experiment.data.exif);
        }
        inputs
    };
    let mut before = inputs(json!([sizes(sets.0), sizes(sets.1)]));
    let mut before_but_sizes = inputs(Json::Null);
    let around = Around {
        base,
        train: sets.0,
        further: experiment.all_teachers()?.into_iter().skip(1).collect(),
        matched_in: experiment.matching.as_ref().map(|m| &m.architecture),
        sets: experiment.set_names(),
        students: experiment.validate.as_ref(),
    };
    let (mut stages, mut plugins) = (Vec::new(), BTreeSet::new());
    for stage in Stage::ALL {
        let Some(table) = experiment.table(stage) else {
            continue;
        };
        let Identity {
            table: config,
            beside,
            extent,
            components,
        } = table.identity(&around)?;
        let mut versions = Vec::new();
        for (kind, component) in components {
            let plugin = &registry.find(kind, &component.plugin)?.plugin;
            versions.push(json!([plugin.name, plugin.version]));
            plugins.insert(PluginRecord {
                name: plugin.name.clone(),
                version: plugin.version.clone(),
                sha256: plugin.sha256.clone(),
            });
        }
        let hash_of = |before: &Json, config: &Json| {
            let config = match &beside {
                Some(beside) => json!([config, beside]),
                None => config.clone(),
            };
            hash_json(&json!({
                "stage": stage.name(), "before": before, "config": config, "plugins": versions,
            }))
        };
        let batch = table.batch_size().map(|size| Batch {
            hash_but_size: hash_of(&before, &without(config.clone(), &["batch_size"])),
            size,
        });
        let hash = hash_of(&before, &config);
        let hash_but_sizes = hash_of(&before_but_sizes, &config);
        before = json!(hash);
        before_but_sizes = json!(hash_but_sizes);
        stages.push(Planned {
            stage,
            hash,
            hash_but_sizes,
            extent: hash_json(&extent),
            batch,
        });
    }
    Ok(Plan {
        stages,
        plugins: plugins.into_iter().collect(),
    })
}
