//! Everything that can be wrong, found before anything is computed, and told at once.

pub mod matching;
mod tables;

use std::{path::Path, sync::Arc};

use candle_core::Device;
use plugin_api::{abi::Kind, architecture::InputShape, regularizer::Regularizer, view::ViewRule};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::{
    data::{self, Dataset, Fault},
    engine::gpu::device::{self, Opened},
    plugins::registry::Registry,
    stages::{
        ComponentConfig, experts, given, match_,
        network::Network,
        origin::{Init, Origin},
        recover, relabel, squeeze,
        validate::{self, Control},
    },
};

use super::{Experiment, file, labels::try_labels, weights::given::Given};

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
}

/// Checks a whole experiment; `base` is the folder that its paths are relative to.
///
/// # Errors
/// All faults, in the order of the file's tables.
pub fn check(json: &Json, registry: &Registry, base: &Path) -> Result<Checked, Vec<Fault>> {
    let mut faults = file::schema_faults(json);
    let device = json.get("device").and_then(Json::as_str).unwrap_or("auto");
    let device = device::open(device)
        .map_err(|message| faults.push(Fault::new("device", message)))
        .ok();
    check_name(json, &mut faults);

    // A table with faults of its own is left out of the checks that follow; the others are still looked at.
    let data_config: Option<data::Config> = table(json, "data");
    let squeeze: Option<squeeze::Config> = table(json, "squeeze");
    let recover: Option<recover::Config> = table(json, "recover");
    let experts: Option<experts::Config> = table(json, "experts");
    let match_: Option<match_::Config> = table(json, "match");
    let relabel: Option<relabel::Config> = table(json, "relabel");
    let validate: Option<validate::Config> = table(json, "validate");

    let mut sets = None;
    if let Some(config) = &data_config {
        let own = config.check();
        if own.is_empty() {
            match Dataset::open_both(config, base) {
                Ok(both) => sets = Some(both),
                Err(found) => faults.extend(found),
            }
        } else {
            faults.extend(own);
        }
    }
    let input = sets.as_ref().map(|(train, _)| InputShape {
        channels: 3,
        height: train.resolution(),
        width: train.resolution(),
        classes: train.num_classes(),
    });
    let mut teacher = None;
    if let Some(config) = &squeeze {
        faults.extend(config.train().faults("squeeze"));
        add_rule_faults(&mut faults, "squeeze", &config.views());
        faults.extend(config.loss.faults(registry, Kind::LOSS, "squeeze.loss"));
        teacher = network(
            registry,
            &config.architecture,
            "squeeze.architecture",
            input,
            &mut faults,
        );
        if let (Some(file), Some(sets)) = (&config.weights, &sets) {
            let given = Given {
                path: &base.join(file),
                architecture: &config.architecture,
                class_names: sets.0.class_names(),
            };
            faults.extend(given.faults(registry, teacher.as_mut()));
        }
    }
    if let Some(config) = &recover {
        check_recover(config, registry, teacher.as_ref(), &mut faults);
    }
    if let Some(config) = &match_ {
        faults.extend(matching::faults(config, experts.as_ref(), registry, input));
    }
    let given: Option<given::Config> = table(json, "given");
    if let (Some(config), Some((train, _))) = (&given, &sets)
        && let Err(error) = config.load(base, train.class_names(), train.resolution())
    {
        faults.push(Fault::new("given.images", format!("{error:#}")));
    }
    let recovered = recover.as_ref().map(recover::Config::origin);
    let matched = match_.as_ref().map(match_::Config::origin);
    let origin = recovered
        .or(matched)
        .or(given.as_ref().map(given::Config::origin));
    if let (Some(origin), Some((train, _))) = (&origin, &sets) {
        let controls = validate.as_ref().map(|v| v.controls.as_slice());
        check_counts(origin, controls.unwrap_or_default(), train, &mut faults);
        if let Some(config) = &match_ {
            faults.extend(matching::count_faults(config, registry, train));
        }
    }
    if let Some(config) = &relabel {
        add_rule_faults(&mut faults, "relabel", &config.views());
        faults.extend(config.faults());
        faults.extend(
            config
                .relabeler
                .faults(registry, Kind::RELABELER, "relabel.relabeler"),
        );
    }
    if let Some(config) = &validate {
        check_validate(config, registry, input, &mut faults);
        if let (Some(relabel), Some(input), true) = (&relabel, input, faults.is_empty())
            && let Err(error) =
                try_labels(registry, relabel, &config.loss, input.classes, input.height)
        {
            let message = format!(
                "this loss cannot read the labels of relabeler \"{}\": {error}",
                relabel.relabeler.plugin
            );
            faults.push(Fault::new("validate.loss", message));
        }
    }
    faults.extend(tables::faults(json));
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
        }),
        (Err(error), _, _) => Err(vec![Fault::new("experiment", error.to_string())]),
        _ => Err(vec![Fault::new(
            "experiment",
            "its tables could not be read",
        )]),
    }
}

fn table<T: DeserializeOwned>(json: &Json, key: &str) -> Option<T> {
    serde_json::from_value(json.get(key)?.clone()).ok()
}

fn check_name(json: &Json, faults: &mut Vec<Fault>) {
    let Some(name) = json.get("name").and_then(Json::as_str) else {
        return;
    };
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
        let message =
            format!("got \"{name}\", expected a name that can be a folder's, without slashes");
        faults.push(Fault::new("name", message));
    }
}

fn add_rule_faults(faults: &mut Vec<Fault>, path: &str, rule: &ViewRule) {
    let keyed = [
        ("crop", rule.crop.fault()),
        ("mix", rule.mix.fault()),
        ("color_jitter", rule.color_jitter.fault()),
    ];
    faults.extend(
        keyed
            .into_iter()
            .filter_map(|(key, m)| Some(Fault::new(format!("{path}.{key}"), m?))),
    );
}

/// Checks an architecture's options and builds the network to see whether it fits the images.
fn network(
    registry: &Registry,
    config: &ComponentConfig,
    path: &str,
    input: Option<InputShape>,
    faults: &mut Vec<Fault>,
) -> Option<Network> {
    let own = config.faults(registry, Kind::ARCHITECTURE, path);
    if !own.is_empty() {
        faults.extend(own);
        return None;
    }
    match Network::build(registry, config, input?, &Device::Cpu) {
        Ok(network) => Some(network),
        Err(error) => {
            faults.push(Fault::new(path, format!("{error:#}")));
            None
        }
    }
}

fn check_recover(
    config: &recover::Config,
    registry: &Registry,
    teacher: Option<&Network>,
    faults: &mut Vec<Fault>,
) {
    faults.extend(config.faults());
    faults.extend(config.loss.faults(registry, Kind::LOSS, "recover.loss"));
    for (i, regularizer) in config.regularizers.iter().enumerate() {
        let path = format!("recover.regularizers[{i}]");
        let component = regularizer.component();
        let own = component.faults(registry, Kind::REGULARIZER, &path);
        if !own.is_empty() {
            faults.extend(own);
            continue;
        }
        let Ok(made) = registry.create_regularizer(&component.plugin, &component.params()) else {
            continue;
        };
        let without = teacher.is_some_and(|t| t.spec().batch_norms.is_empty());
        if made.needs().batch_norm && without {
            let message = format!(
                "{}: the architecture of [squeeze] has no BatchNorm",
                component.plugin
            );
            faults.push(Fault::new(path, message));
        }
    }
}

fn check_counts(origin: &Origin, controls: &[Control], train: &Dataset, faults: &mut Vec<Fault>) {
    let needs_real = origin.init == Init::Real || controls.contains(&Control::RandomReal);
    if !needs_real {
        return;
    }
    if let Some(message) = too_few(origin.images_per_class as usize, train) {
        let key = format!("{}.images_per_class", origin.stage);
        faults.push(Fault::new(key, message));
    }
}

/// What to say where some classes have fewer than `wanted` real images.
fn too_few(wanted: usize, train: &Dataset) -> Option<String> {
    let short: Vec<String> = (0..train.num_classes())
        .map(|c| (c, train.indices_of_class(c as u32).len()))
        .filter(|&(_, count)| count < wanted)
        .map(|(c, count)| format!("\"{}\" has {count}", train.class_names()[c]))
        .collect();
    let shown: Vec<String> = short.iter().take(4).cloned().collect();
    let more = match short.len().saturating_sub(4) {
        0 => String::new(),
        more => format!(", and {more} more classes"),
    };
    (!short.is_empty()).then(|| {
        format!(
            "{wanted} real images of each class are needed, and class {}{more}",
            shown.join(", ")
        )
    })
}

fn check_validate(
    config: &validate::Config,
    registry: &Registry,
    input: Option<InputShape>,
    faults: &mut Vec<Fault>,
) {
    faults.extend(config.train(1).faults("validate"));
    if let Err(error) = config.augmentation() {
        faults.push(Fault::new("validate.augment", error.to_string()));
    }
    faults.extend(config.loss.faults(registry, Kind::LOSS, "validate.loss"));
    faults.extend(
        config
            .hard_loss
            .faults(registry, Kind::LOSS, "validate.hard_loss"),
    );
    for (key, empty) in [
        ("architectures", config.architectures.is_empty()),
        ("seeds", config.seeds.is_empty()),
    ] {
        if empty {
            faults.push(Fault::new(
                format!("validate.{key}"),
                "got an empty list, expected at least one",
            ));
        }
    }
    let repeated = |i: usize| config.seeds[..i].contains(&config.seeds[i]);
    if let Some(i) = (0..config.seeds.len()).find(|&i| repeated(i)) {
        faults.push(Fault::new(
            "validate.seeds",
            format!("seed {} comes twice", config.seeds[i]),
        ));
    }
    let mut labels: Vec<String> = Vec::new();
    for (i, student) in config.architectures.iter().enumerate() {
        let path = format!("validate.architectures[{i}]");
        network(registry, &student.component(), &path, input, faults);
        let label = student.label();
        if label.is_empty() || label.contains(['/', '\\']) || label.starts_with('.') {
            let message =
                format!("got \"{label}\", expected a name that can be a folder's, without slashes");
            faults.push(Fault::new(format!("{path}.name"), message));
        }
        if labels.contains(&label) {
            let message = format!(
                "two architectures are called \"{label}\"; give one of them a `name` of its own"
            );
            faults.push(Fault::new(path, message));
        }
        labels.push(label);
    }
}
