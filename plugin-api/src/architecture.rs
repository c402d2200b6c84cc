//! Architectures: networks from images to logits.

use serde::{Deserialize, Serialize};

use crate::{
    Result, Tensor,
    abi::{Args, ArgsBuf, Method, RComponent, Reply},
    bail,
    callee::Callee,
    component::{Ctx, adapt, to_json, unknown_method},
    nn::{BatchNormStatistics, LayerInput, LayerKind, ModuleSpec, ParamBuilder, Params},
    tensor::BatchNormMode,
};

/// The input of a network and its number of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputShape {
    /// Channels of an image.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Classes.
    pub classes: usize,
}

/// An architecture. It is its own options: a struct that derives `Deserialize` and `JsonSchema`.
pub trait Architecture: Send + Sync + 'static {
    /// Declares the parameters and returns the network. Names are torchvision's (timm's for ViT) where they have it.
    ///
    /// # Errors
    /// When the options do not fit the input.
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>>;
}

/// A network: a function of parameters and images.
pub trait Module: Send + Sync + 'static {
    /// Logits. It taps `embedding`, the input of the classifier, and may tap other features (see [`Params::tap`]).
    ///
    /// # Shapes
    /// x [N, C, H, W] -> [N, classes]
    ///
    /// # Errors
    /// When an operation fails.
    fn forward(&self, params: &Params, x: &Tensor, ctx: &Ctx) -> Result<Tensor>;
}

/// An architecture behind the boundary.
pub struct ForeignArchitecture(Callee);

impl ForeignArchitecture {
    /// Wraps what an entry of kind architecture created.
    pub fn new(component: impl Into<Callee>) -> Self {
        Self(component.into())
    }

    /// The network for an input, and what it declared.
    ///
    /// # Errors
    /// When the options do not fit the input.
    pub fn build(&self, input: &InputShape) -> Result<(ForeignModule, ModuleSpec)> {
        let input = to_json(input)?;
        let mut args = ArgsBuf::new();
        args.text("input", &input);
        self.0.call(Method::BUILD, &args, |mut reply| {
            let spec = serde_json::from_str(reply.get_text("spec")?)?;
            let module = self.0.sibling(reply.take_component("module")?);
            Ok((ForeignModule(module), spec))
        })
    }
}

/// A network behind the boundary.
pub struct ForeignModule(Callee);

impl ForeignModule {
    /// A network of this side, as another side would see it.
    pub fn of(module: impl Module) -> Self {
        let module: Box<dyn Module> = Box::new(module);
        Self(adapt(module, "network", serve_module).into())
    }

    pub(crate) fn new(component: RComponent) -> Self {
        Self(component.into())
    }

    pub(crate) fn into_component(self) -> RComponent {
        self.0.into_component()
    }
}

impl Module for ForeignModule {
    fn forward(&self, params: &Params, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let mode = [i64::from(params.mode().0)];
        let mut args = ArgsBuf::new();
        args.tensor("x", x).ints("mode", &mode);
        for kind in params.recorded() {
            args.text("record", kind.name());
        }
        for tensor in params.tensors() {
            args.tensor("param", tensor);
        }
        ctx.write(&mut args);
        self.0
            .call(Method::FORWARD, &args, |reply| read_forward(reply, params))
    }
}

/// The logits of an answer; what else it has goes to `params`.
fn read_forward(mut reply: Reply, params: &Params) -> Result<Tensor> {
    let logits = reply.take_tensor("logits")?;
    let numbers = reply.get_ints("bn")?.to_vec();
    let mut statistics = Vec::new();
    for (name, tensor) in reply.into_tensors() {
        match name.as_str() {
            "bn_mean" | "bn_var" => statistics.push(tensor),
            _ if name.starts_with(INPUT) => params.keep(read_input(&name, tensor)?),
            _ => params.tap(name.strip_prefix("tap:").unwrap_or(&name), &tensor),
        }
    }
    for (pair, number) in statistics.chunks_exact(2).zip(numbers.chunks_exact(2)) {
        let (mean, var) = (pair[0].clone(), pair[1].clone());
        params.report(BatchNormStatistics {
            index: number[0] as usize,
            mean,
            var,
            count: number[1] as usize,
        });
    }
    Ok(logits)
}

#[doc(hidden)]
pub fn serve<T: Architecture>(architecture: &T, method: Method, args: &Args<'_>) -> Result<Reply> {
    match method {
        Method::BUILD => {
            let input: InputShape = serde_json::from_str(args.text("input")?)?;
            let builder = ParamBuilder::new();
            let module = architecture.build(&input, &builder)?;
            let mut reply = Reply::new();
            reply.text("spec", to_json(&builder.spec())?);
            reply.component("module", adapt(module, "network", serve_module));
            Ok(reply)
        }
        other => Err(unknown_method(other)),
    }
}

#[allow(clippy::borrowed_box)] // the adaptor holds the box
fn serve_module(module: &Box<dyn Module>, method: Method, args: &Args<'_>) -> Result<Reply> {
    if method != Method::FORWARD {
        return Err(unknown_method(method));
    }
    let ctx = Ctx::read(args)?;
    let mode = BatchNormMode(args.int("mode")? as u32);
    let recorded = args.texts("record");
    let recorded: Vec<LayerKind> = recorded.filter_map(LayerKind::called).collect();
    let params = Params::new(args.tensors("param").cloned().collect(), mode).recording(&recorded);
    let logits = module.forward(&params, args.tensor("x")?, &ctx)?;
    let inputs = params.take_inputs();
    let (taps, statistics) = params.into_report();
    let mut reply = Reply::new();
    reply.tensor("logits", logits);
    reply.ints(
        "bn",
        statistics
            .iter()
            .flat_map(|s| [s.index as i64, s.count as i64])
            .collect(),
    );
    for BatchNormStatistics { mean, var, .. } in statistics {
        reply.tensor("bn_mean", mean).tensor("bn_var", var);
    }
    for (name, feature) in taps {
        reply.tensor(&format!("tap:{name}"), feature);
    }
    for layer in inputs {
        let LayerInput {
            index,
            name,
            kind,
            input,
        } = layer;
        reply.tensor(&format!("{INPUT}{}:{index}:{name}", kind.name()), input);
    }
    Ok(reply)
}

/// How the names of recorded inputs begin; kind, index and name of the layer follow.
const INPUT: &str = "input:";

fn read_input(called: &str, input: Tensor) -> Result<LayerInput> {
    let mut parts = called[INPUT.len()..].splitn(3, ':');
    let mut part = || parts.next().unwrap_or_default();
    let (kind, index, name) = (
        LayerKind::called(part()),
        part().parse().ok(),
        part().to_owned(),
    );
    let (Some(kind), Some(index)) = (kind, index) else {
        bail!(
            "the network recorded \"{called}\", expected a kind, a number and the name of a layer"
        );
    };
    Ok(LayerInput {
        index,
        name,
        kind,
        input,
    })
}
