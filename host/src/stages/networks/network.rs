//! A network of an architecture plugin, with the parameters that the host owns for it.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use candle_core::Device;
use plugin_api::{
    Ctx, ErrorKind,
    architecture::{ForeignModule, InputShape, Module},
    nn::{BatchNormStatistics, Init, LayerInput, LayerKind, ModuleSpec, ParamSpec, Params},
    rng::{Rng, StreamId},
    tensor::{BatchNormMode, DType},
};

use crate::{
    artifact::{tensors, weights::choice::Outline},
    engine::{self, Tensor, Value, memory},
    plugins::{
        ops::{export, import},
        registry::Registry,
    },
    report::units::human_bytes,
    stages::{ComponentConfig, Session},
};

use super::fit::Fit;

/// A network and its parameters.
pub struct Network {
    module: ForeignModule,
    spec: ModuleSpec,
    values: Vec<Value>,
    input: InputShape,
}

/// What a forward pass gave.
pub struct Forward {
    /// [N, classes].
    pub logits: plugin_api::Tensor,
    /// Features by name.
    pub taps: Vec<(String, plugin_api::Tensor)>,
    /// Input statistics of the BatchNorms, in the order of their declaration.
    pub statistics: Vec<BatchNormStatistics>,
    /// Inputs of layers, where they were asked for, in the order of their declaration.
    pub layers: Vec<LayerInput>,
}

/// An error of a plugin, for anyhow. That the host's device had no room when the plugin asked for an operation is the engine's error
/// again.
pub fn plugin_error(error: plugin_api::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::OUT_OF_MEMORY => engine::Error::OutOfMemory(error.to_string()).into(),
        _ => anyhow!("{error}"),
    }
}

/// Losses and regularizers see f32, whatever the layers compute in.
fn wide(tensor: plugin_api::Tensor) -> Result<plugin_api::Tensor> {
    match tensor.dtype() {
        DType::BF16 => tensor.to_dtype(DType::F32).map_err(plugin_error),
        _ => Ok(tensor),
    }
}

impl Network {
    /// Builds the network with all parameters zero; fill them with [`Network::init`] or [`Network::load`].
    ///
    /// # Errors
    /// When the architecture refuses the input or its options, or declares more parameters than the machine has memory for.
    pub fn build(
        registry: &Registry,
        config: &ComponentConfig,
        input: InputShape,
        device: &Device,
    ) -> Result<Self> {
        let architecture = registry.create_architecture(&config.plugin, &config.params())?;
        let (module, spec) = architecture.build(&input).map_err(plugin_error)?;
        check_room(&spec).with_context(|| format!("architecture \"{}\"", config.plugin))?;
        let zeros = |shape: &[usize]| Value::zeros(shape, candle_core::DType::F32, device);
        let values = spec
            .params
            .iter()
            .map(|p| zeros(&p.shape))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            module,
            spec,
            values,
            input,
        })
    }

    /// Builds it for the images of a run.
    ///
    /// # Errors
    /// As [`Network::build`].
    pub fn of(session: &Session<'_>, config: &ComponentConfig) -> Result<Self> {
        Self::build(session.registry, config, session.input(), &session.device)
    }

    /// The same with initial values; see [`Network::initial`].
    ///
    /// # Errors
    /// As [`Network::build`].
    pub fn fresh(session: &Session<'_>, config: &ComponentConfig, member: u32) -> Result<Self> {
        let mut network = Self::of(session, config)?;
        network.init(session.seed, member, &session.device)?;
        Ok(network)
    }

    /// What the architecture declared.
    pub fn spec(&self) -> &ModuleSpec {
        &self.spec
    }

    /// What goes in and how many classes come out.
    pub fn input(&self) -> InputShape {
        self.input
    }

    /// Parameters and buffers, in the order of their declaration.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Parameters and buffers, to be changed.
    pub fn values_mut(&mut self) -> &mut Vec<Value> {
        &mut self.values
    }

    /// How many learned numbers.
    pub fn parameter_count(&self) -> usize {
        let learned = self.spec.params.iter().filter(|p| p.trainable);
        learned.map(|p| p.shape.iter().product::<usize>()).sum()
    }

    /// Draws initial values, in the order of the declaration; each tensor's depend on the seed, on `member` (which of several networks)
    /// and on its name.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn initial(&self, seed: u64, member: u32, device: &Device) -> Result<Vec<Value>> {
        let values = self.spec.params.iter().map(|param| {
            let id = StreamId {
                class: 0,
                item: member,
                iteration: 0,
            };
            let mut rng = Rng::new(seed, "init", &param.name, id);
            let count: usize = param.shape.iter().product();
            let draws: Vec<f32> = (0..count)
                .map(|_| draw(&param.init, &mut rng) as f32)
                .collect();
            Ok(Value::from_vec(draws, param.shape.as_slice(), device)?)
        });
        values.collect()
    }

    /// Takes initial values; see [`Network::initial`].
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn init(&mut self, seed: u64, member: u32, device: &Device) -> Result<()> {
        self.values = self.initial(seed, member, device)?;
        Ok(())
    }

    /// Runs the network. `inputs` stand for the parameters in the order of their declaration.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn forward_on(
        &self,
        inputs: &[Tensor],
        x: &Tensor,
        mode: BatchNormMode,
        ctx: &Ctx,
    ) -> Result<Forward> {
        self.forward_recording(inputs, x, mode, &[], ctx)
    }

    /// The same, keeping the inputs of layers of some kinds.
    ///
    /// # Errors
    /// When an operation fails, or the plugin is too old to give inputs of layers.
    pub fn forward_recording(
        &self,
        inputs: &[Tensor],
        x: &Tensor,
        mode: BatchNormMode,
        kinds: &[LayerKind],
        ctx: &Ctx,
    ) -> Result<Forward> {
        let params = Params::new(inputs.iter().cloned().map(export).collect(), mode);
        let params = params.recording(kinds);
        let logits = self
            .module
            .forward(&params, &export(x.clone()), ctx)
            .map_err(plugin_error)?;
        let logits = wide(logits)?;
        let mut layers = params.take_inputs();
        if layers.is_empty() && !kinds.is_empty() {
            bail!(
                "the architecture gave no inputs of layers, which a regularizer needs: its plugin was built for a plugin API before \
                 1.3, or has no such layers"
            );
        }
        for layer in &mut layers {
            layer.input = wide(layer.input.clone())?;
        }
        let (taps, mut statistics) = params.into_report();
        let taps = taps.into_iter().map(|(name, tap)| Ok((name, wide(tap)?)));
        let taps = taps.collect::<Result<_>>()?;
        // A fused residual sum may let a shortcut's norm report first; regularizers count by declaration.
        statistics.sort_by_key(|s| s.index);
        Ok(Forward {
            logits,
            taps,
            statistics,
            layers,
        })
    }

    /// Runs the network with its own parameters, frozen.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn forward(&self, x: &Tensor, mode: BatchNormMode, ctx: &Ctx) -> Result<Forward> {
        let inputs: Vec<Tensor> = self.values.iter().cloned().map(Tensor::constant).collect();
        self.forward_on(&inputs, x, mode, ctx)
    }

    /// The logits of images, without a graph.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn logits(&self, images: &Value, mode: BatchNormMode, ctx: &Ctx) -> Result<Value> {
        let forward = self.forward(&Tensor::constant(images.clone()), mode, ctx)?;
        Ok(import(&forward.logits)
            .map_err(plugin_error)?
            .value()
            .clone())
    }

    /// Moves the running statistics towards a batch's: `(1 - m) running + m batch`, with the unbiased variance, as PyTorch.
    ///
    /// # Errors
    /// When a statistic has another shape.
    pub fn update_running(&mut self, statistics: &[BatchNormStatistics]) -> Result<()> {
        for s in statistics {
            let norm = self
                .spec
                .batch_norms
                .get(s.index)
                .context("a statistic of an undeclared BatchNorm")?;
            let unbiased = s.count as f64 / (s.count.max(2) - 1) as f64;
            let of = |t: &plugin_api::Tensor| {
                Ok::<_, anyhow::Error>(import(t).map_err(plugin_error)?.value().clone())
            };
            for (at, batch) in [
                (norm.running_mean, of(&s.mean)?),
                (norm.running_var, (of(&s.var)? * unbiased)?),
            ] {
                self.values[at] =
                    ((&self.values[at] * (1. - norm.momentum))? + (batch * norm.momentum)?)?;
            }
        }
        Ok(())
    }

    /// The name of a parameter or buffer with a value that is NaN or infinite.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn not_finite(&self) -> Result<Option<&str>> {
        for (param, value) in self.spec.params.iter().zip(&self.values) {
            if !is_finite(value)? {
                return Ok(Some(&param.name));
            }
        }
        Ok(None)
    }

    /// Parameters and buffers by name.
    pub fn state(&self) -> Vec<(String, Value)> {
        let named = self.spec.params.iter().zip(&self.values);
        named.map(|(p, v)| (p.name.clone(), v.clone())).collect()
    }

    /// Takes parameters and buffers by name; see [`Fit`]. Other types of floats become f32.
    ///
    /// # Errors
    /// When names, shapes or types do not fit; the first few are listed.
    pub fn load_state(
        &mut self,
        mut state: BTreeMap<String, Value>,
        device: &Device,
    ) -> Result<()> {
        let fit = Fit::of(&self.spec, &Outline::all(&state));
        if fit.faults() > 0 {
            bail!(
                "the weights do not match the architecture: {}",
                fit.described(2).join("; ")
            );
        }
        let taken = self.spec.params.iter().map(|param| {
            let value = state
                .remove(&param.name)
                .context("a tensor that fits is there")?;
            Ok(value.to_dtype(candle_core::DType::F32)?.to_device(device)?)
        });
        self.values = taken.collect::<Result<_>>()?;
        Ok(())
    }

    /// Takes parameters and buffers from a safetensors file; returns the texts stored with them.
    ///
    /// # Errors
    /// As [`Network::load_state`], and when the file is missing or damaged.
    pub fn load(&mut self, path: &Path, device: &Device) -> Result<BTreeMap<String, String>> {
        let (state, texts) = tensors::load(path, device)?;
        self.load_state(state, device)
            .with_context(|| path.display().to_string())?;
        Ok(texts)
    }
}

/// Whether no number is NaN or infinite.
///
/// # Errors
/// When an operation fails.
pub fn is_finite(value: &Value) -> Result<bool> {
    // Zero times any other number is zero.
    let sum = (value.to_dtype(candle_core::DType::F32)? * 0.)?.sum_all()?;
    Ok(sum.to_scalar::<f32>()? == 0.)
}

/// Compares what is declared with the machine's memory: an allocation that fails would end the program.
fn check_room(spec: &ModuleSpec) -> Result<()> {
    let bytes = |param: &ParamSpec| {
        let sizes = param.shape.iter().map(|size| *size as u64);
        sizes.fold(4, u64::saturating_mul)
    };
    let all = spec.params.iter().map(bytes).fold(0, u64::saturating_add);
    // No more than this can be asked for where the system does not say.
    let free = memory::available_bytes().unwrap_or(isize::MAX as u64);
    if all <= free {
        return Ok(());
    }
    // The first of equal ones.
    let largest = spec.params.iter().rev().max_by_key(|param| bytes(param));
    let largest = largest.map(|p| format!("; the largest is {} of shape {:?}", p.name, p.shape));
    bail!(
        "its parameters take {}, and the machine has {} of memory free{}",
        human_bytes(all),
        human_bytes(free),
        largest.unwrap_or_default()
    );
}

fn draw(init: &Init, rng: &mut Rng) -> f64 {
    match *init {
        Init::Constant { value } => value,
        Init::Uniform { bound } => rng.uniform_in(-bound, bound),
        Init::Normal { std } => rng.normal() * std,
        Init::TruncatedNormal { std } => loop {
            let z = rng.normal();
            if z.abs() <= 2. {
                return z * std;
            }
        },
    }
}
