//! Networks of the shipped plugins as functions of their parameters, with weights that are filled by name.

use alambic::{
    engine,
    plugins::{Registry, export},
};
use candle_core::DType;
use plugin_api::{
    Ctx, Result, Tensor,
    architecture::{ForeignModule, InputShape, Module},
    grad,
    loss::{ForeignLoss, Loss, LossInput, Targets},
    nn::{BatchNormStatistics, ModuleSpec, Params},
    regularizer::BatchNormInput,
    tensor::BatchNormMode,
    testing,
};
use serde_json::{Value as Json, json};

use super::{device, plugin_dir};

/// The shipped plugins.
pub fn shipped_plugins() -> Registry {
    Registry::of_folders(&[plugin_dir().to_owned()]).expect("the plugins are there")
}

/// A network of a plugin; its tensors, all of them constants; the loss "cross-entropy" of another plugin.
pub struct FilledNetwork {
    module: ForeignModule,
    cross_entropy: ForeignLoss,
    input: InputShape,
    /// What the network declared.
    pub spec: ModuleSpec,
    /// Parameters and buffers, in the order of their declaration.
    pub params: Vec<Tensor>,
    /// Makes tensors of the precision that all is computed in.
    pub ctx: Ctx,
}

/// What a forward pass gave.
pub struct Pass {
    /// [N, classes].
    pub logits: Tensor,
    /// Features by name.
    pub features: Vec<(String, Tensor)>,
    statistics: Vec<BatchNormStatistics>,
}

impl FilledNetwork {
    /// Builds an architecture and fills it by name ([`testing::params_by_name`]).
    ///
    /// # Errors
    /// When the plugin refuses its options or the input.
    pub fn new(
        registry: &Registry,
        (architecture, options): (&str, &Json),
        input: InputShape,
        dtype: DType,
        gain: f64,
    ) -> Result<Self> {
        let architecture = registry
            .create_architecture(architecture, options)
            .unwrap_or_else(|error| panic!("{error}"));
        let cross_entropy = registry
            .create_loss("cross-entropy", &json!({}))
            .unwrap_or_else(|error| panic!("{error}"));
        let (module, spec) = architecture.build(&input)?;
        let zero = engine::Tensor::zeros(&[], dtype, &device()).expect("one number");
        let device = export(zero);
        Ok(Self {
            module,
            cross_entropy,
            input,
            params: testing::params_by_name(&device, &spec, gain)?,
            spec,
            ctx: Ctx::new("recover", 0, &device),
        })
    }

    /// The network without its parameters.
    #[allow(dead_code)] // not every test takes it out
    pub fn into_module(self) -> ForeignModule {
        self.module
    }

    /// Images filled by the name "input".
    ///
    /// # Errors
    /// When the tensor cannot be made.
    pub fn images(&self, count: usize) -> Result<Tensor> {
        let InputShape {
            channels,
            height,
            width,
            ..
        } = self.input;
        let dims = [count, channels, height, width];
        self.ctx
            .tensor(&testing::values_by_name("input", &dims, 1.)?, &dims)
    }

    /// The places of learned parameters among all tensors.
    pub fn learned(&self) -> Vec<usize> {
        let is_learned = |i: &usize| self.spec.params[*i].trainable;
        (0..self.spec.params.len()).filter(is_learned).collect()
    }

    /// All tensors, the learned ones as leaves.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn leaves(&self) -> Result<Vec<Tensor>> {
        let all = self.spec.params.iter().zip(&self.params);
        all.map(|(spec, t)| {
            if spec.trainable {
                t.leaf()
            } else {
                Ok(t.clone())
            }
        })
        .collect()
    }

    /// Runs the network with `params` in place of its own.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn forward(&self, params: &[Tensor], x: &Tensor, mode: BatchNormMode) -> Result<Pass> {
        let params = Params::new(params.to_vec(), mode);
        let logits = self.module.forward(&params, x, &self.ctx)?;
        let (features, mut statistics) = params.into_report();
        statistics.sort_by_key(|s| s.index);
        Ok(Pass {
            logits,
            features,
            statistics,
        })
    }

    /// The statistics of a pass beside the network's own running ones, as a regularizer is handed them.
    pub fn batch_norms(&self, pass: &Pass) -> Vec<BatchNormInput> {
        let input = |s: &BatchNormStatistics| {
            let norm = &self.spec.batch_norms[s.index];
            BatchNormInput {
                name: norm.name.clone(),
                mean: s.mean.clone(),
                var: s.var.clone(),
                running_mean: self.params[norm.running_mean].clone(),
                running_var: self.params[norm.running_var].clone(),
            }
        };
        pass.statistics.iter().map(input).collect()
    }

    /// The loss of a pass against the classes 0, 1, .., counted round.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn cross_entropy(&self, pass: &Pass) -> Result<Tensor> {
        let (count, classes) = (pass.logits.dim(0)?, self.input.classes);
        let labels: Vec<u32> = (0..count).map(|i| (i % classes) as u32).collect();
        self.cross_entropy.forward(&LossInput {
            logits: &pass.logits,
            targets: &Targets::labels(self.ctx.indices(&labels, &[count])?),
            features: &pass.features,
            ctx: &self.ctx,
        })
    }

    /// Gradients of the cross-entropy in train mode by the learned parameters, differentiable themselves.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn gradients(&self, params: &[Tensor], x: &Tensor) -> Result<Vec<Tensor>> {
        let loss = self.cross_entropy(&self.forward(params, x, BatchNormMode::TRAIN)?)?;
        let learned: Vec<&Tensor> = self.learned().iter().map(|&i| &params[i]).collect();
        derivatives(&loss, &learned, true)
    }

    /// `params` after a step of gradient descent on `x`, as a function of all three.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn descend(&self, params: &[Tensor], x: &Tensor, lr: &Tensor) -> Result<Vec<Tensor>> {
        let mut stepped = params.to_vec();
        for (i, g) in self.learned().into_iter().zip(self.gradients(params, x)?) {
            stepped[i] = (&params[i] - lr * g)?;
        }
        Ok(stepped)
    }

    /// Numbers in [-1, 1) of the shape of parameter `i`: what "target." and its name stand for.
    ///
    /// # Errors
    /// When the tensor cannot be made.
    pub fn target(&self, i: usize) -> Result<Tensor> {
        let spec = &self.spec.params[i];
        let count = spec.shape.iter().product();
        let values = testing::uniform_by_name(&format!("target.{}", spec.name), count);
        self.ctx.tensor(&values, &spec.shape)
    }
}

/// [`grad`] by inputs that are all used.
///
/// # Errors
/// When an operation fails.
pub fn derivatives(loss: &Tensor, inputs: &[&Tensor], create_graph: bool) -> Result<Vec<Tensor>> {
    let found = grad(loss, inputs, create_graph)?.into_iter();
    Ok(found.map(|g| g.expect("every input is used")).collect())
}
