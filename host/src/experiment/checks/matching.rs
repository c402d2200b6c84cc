//! What can be wrong with `[match]`.

use std::path::Path;

use candle_core::{DType, Device};
use plugin_api::{
    Ctx, abi::Kind, architecture::InputShape, matcher::MatchNeeds, tensor::BatchNormMode,
};

use crate::{
    artifact::{RunFolder, Stage},
    data::{Dataset, Fault, Normalization},
    engine::{Tensor, Value, grad},
    plugins::{export, import, registry::Registry},
    stages::{
        experts,
        matching::Config,
        networks::{Network, plugin_error},
        session::{input_identity, input_of},
    },
};

use super::{
    super::Experiment,
    parts::{network, too_few},
};

/// The table's own faults, those of its components, and what the matcher misses.
pub fn faults(
    config: &Config,
    experts: Option<&experts::Config>,
    registry: &Registry,
    input: Option<InputShape>,
) -> Vec<Fault> {
    let mut faults = config.faults();
    let side = input.map(|input| input.height);
    faults.extend(side.and_then(|side| config.frames_fault(side)));
    faults.extend(experts.into_iter().flat_map(experts::Config::faults));
    let own = config
        .matcher
        .faults(registry, Kind::MATCHER, "match.matcher");
    let is_fine = own.is_empty();
    faults.extend(own);
    let path = "match.architecture";
    let network = network(registry, &config.architecture, path, input, &mut faults);
    let Some(needs) = is_fine.then(|| needs(config, registry)).flatten() else {
        return faults;
    };
    let name = &config.matcher.plugin;
    if needs.learning_rate && config.learning_rate.is_none() {
        let message =
            format!("missing, but matcher \"{name}\" learns it; an empty table uses the defaults");
        faults.push(Fault::new("match.learning_rate", message));
    }
    match (needs.expert_epochs, experts) {
        (Some(_), None) => {
            let message = format!("missing table [experts], which matcher \"{name}\" needs");
            faults.push(Fault::new(Stage::Experts.name(), message));
        }
        (Some(last), Some(experts)) if last > u64::from(experts.epochs) => {
            let message = format!(
                "matcher \"{name}\" uses epoch {last} of an expert, but experts are trained for only {}; raise this, or lower \
                 the matcher's max_start_epoch or expert_epochs",
                experts.epochs
            );
            faults.push(Fault::new("experts.epochs", message));
        }
        _ => {}
    }
    if let (Some(network), true) = (&network, faults.is_empty())
        && let Err(error) = try_network(network, &needs)
    {
        let message = format!("matcher \"{name}\" does not work with this network: {error}");
        faults.push(Fault::new(path, message));
    }
    faults
}

/// Classes with fewer images than the matcher takes at once.
pub fn count_faults(config: &Config, registry: &Registry, train: &Dataset) -> Option<Fault> {
    let needs = needs(config, registry)?;
    let message = too_few(needs.real_per_class, train)?;
    Some(Fault::new("match.matcher.params.real_per_class", message))
}

/// A folder with trajectories of others.
pub fn store_fault(
    experiment: &Experiment,
    registry: &Registry,
    base: &Path,
    (train, normalization): (&Dataset, &Normalization),
) -> Option<Fault> {
    let experts = experiment.experts.as_ref()?;
    let architecture = &experiment.matching.as_ref()?.architecture;
    // By default the folder is in the run folder, and the stage is stale if it does not match.
    experts.folder.as_ref()?;
    let network = Network::build(registry, architecture, input_of(train), &Device::Cpu).ok()?;
    let identity = experts.trained(
        experiment.seed,
        train,
        input_identity(normalization, experiment.data.whitening.as_ref()),
        architecture,
        &network,
    );
    let message = experts.store(&RunFolder::at(""), base).fault(&identity)?;
    Some(Fault::new("experts.folder", message))
}

fn needs(config: &Config, registry: &Registry) -> Option<MatchNeeds> {
    let made = registry.create_matcher(&config.matcher.plugin, &config.matcher.params());
    made.ok().map(|matcher| matcher.needs().clone())
}

/// Runs the network on two black images: features, and the gradients by which a matcher learns images; gradients of gradients where
/// it needs them.
fn try_network(network: &Network, needs: &MatchNeeds) -> anyhow::Result<()> {
    let shape = network.input();
    let images = Value::zeros(
        (2, shape.channels, shape.height, shape.width),
        DType::F32,
        &Device::Cpu,
    )?;
    let anchor = export(Tensor::constant(Value::zeros(
        (),
        DType::F32,
        &Device::Cpu,
    )?));
    let ctx = Ctx::new(Stage::Match.name(), 0, &anchor);
    let values = network.initial(0, 0, &Device::Cpu)?;
    let params = network.spec().params.iter().zip(values);
    let inputs: Vec<Tensor> = params
        .map(|(spec, value)| match spec.trainable {
            true => Tensor::leaf(value),
            false => Tensor::constant(value),
        })
        .collect();
    let x = Tensor::leaf(images);
    let pass = network.forward_on(&inputs, &x, BatchNormMode::TRAIN_STATISTICS, &ctx)?;
    for feature in &needs.features {
        let have: Vec<&str> = pass.taps.iter().map(|(n, _)| n.as_str()).collect();
        anyhow::ensure!(
            have.contains(&feature.as_str()),
            "it taps no feature \"{feature}\" (have: {})",
            have.join(", ")
        );
    }
    let score = import(&pass.logits)
        .map_err(plugin_error)?
        .sqr()?
        .sum_all()?;
    let (mut sums, mut kind) = (vec![score.clone()], "gradient");
    if needs.second_order {
        let learned: Vec<&Tensor> = inputs.iter().filter(|t| t.is_tracked()).collect();
        let first = grad(&score, &learned, true)?;
        (sums, kind) = (Vec::new(), "gradient of a gradient");
        for gradient in first.into_iter().flatten() {
            sums.push(gradient.sqr()?.sum_all()?);
        }
    }
    let mut reached = false;
    for sum in sums.iter().filter(|s| s.is_tracked()) {
        reached |= grad(sum, &[&x], false)?[0].is_some();
    }
    anyhow::ensure!(
        reached,
        "no {kind} reaches the images: an operation in between has no derivative"
    );
    Ok(())
}
