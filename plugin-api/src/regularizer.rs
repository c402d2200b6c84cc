//! Regularizers: a penalty on images or on what a network makes of them.

use crate::{
    Error, Result, Tensor,
    abi::{Args, ArgsBuf, Method, Reply},
    callee::Callee,
    component::{
        Ctx, Needs, State, needs_of, read_named, scalar, to_json, unknown_method, write_named,
    },
    nn::{LayerInput, LayerKind},
};

/// One BatchNorm of the network, in the order of their declaration.
#[derive(Clone)]
pub struct BatchNormInput {
    /// Dotted name of the layer.
    pub name: String,
    /// Mean of its input over the batch, `[C]`, differentiable.
    pub mean: Tensor,
    /// Population variance of its input over the batch, `[C]`, differentiable.
    pub var: Tensor,
    /// Running mean of the teacher, `[C]`.
    pub running_mean: Tensor,
    /// Running variance of the teacher, `[C]`.
    pub running_var: Tensor,
}

/// The input of a regularizer.
pub struct RegularizerInput<'a> {
    /// The augmented, normalised images that the network saw, NCHW.
    pub view: &'a Tensor,
    /// The whole images that are optimised, normalised, NCHW.
    pub canvas: &'a Tensor,
    /// The BatchNorms of the network; empty without any.
    pub batch_norms: &'a [BatchNormInput],
    /// Features by the names under which the architecture tapped them.
    pub features: &'a [(String, Tensor)],
    /// The network's logits, [N, C] (API 1.3).
    pub logits: &'a Tensor,
    /// Class of each image, N of them (API 1.3).
    pub labels: &'a [u32],
    /// Number of each image within its class, N of them (API 1.3).
    pub images: &'a [u32],
    /// The inputs of layers of the kinds that [`Needs::layers`] asks for, in the order of their declaration (API 1.3).
    pub layers: &'a [LayerInput],
    /// The position in the run.
    pub ctx: &'a Ctx,
}

impl<'a> RegularizerInput<'a> {
    /// One view, which is the canvas too and stands for the logits, and nothing else: what tests begin with.
    pub fn new(view: &'a Tensor, ctx: &'a Ctx) -> Self {
        Self {
            view,
            canvas: view,
            batch_norms: &[],
            features: &[],
            logits: view,
            labels: &[],
            images: &[],
            layers: &[],
            ctx,
        }
    }

    /// A feature by name.
    ///
    /// # Errors
    /// When the architecture taps no such feature.
    pub fn feature(&self, name: &str) -> Result<&Tensor> {
        named_feature(self.features, name)
    }
}

pub(crate) fn named_feature<'a>(
    features: &'a [(String, Tensor)],
    name: &str,
) -> Result<&'a Tensor> {
    let found = features.iter().find(|(n, _)| n == name);
    found.map(|(_, feature)| feature).ok_or_else(|| {
        let have: Vec<&str> = features.iter().map(|(n, _)| n.as_str()).collect();
        Error::msg(format!(
            "the architecture taps no feature \"{name}\" (have: {})",
            have.join(", ")
        ))
    })
}

/// A regularizer. It is its own options: a struct that derives `Deserialize` and `JsonSchema`.
pub trait Regularizer: Send + Sync + 'static {
    /// The scalar to minimise, before its weight.
    ///
    /// # Errors
    /// Any problem with the input; the host adds where in the run it occurred.
    fn forward(&self, input: &RegularizerInput<'_>) -> Result<Tensor>;

    /// What it needs from the network; asked before anything is computed.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Learns from a batch of real images, before the first [`Regularizer::forward`]; called where [`Needs::reference`] is set.
    /// `view` and `canvas` are both the images as the teacher saw them, and nothing is differentiable.
    ///
    /// # Errors
    /// Any problem with the input.
    fn observe(&self, _input: &RegularizerInput<'_>) -> Result<()> {
        Ok(())
    }

    /// What [`Regularizer::observe`] has learned so far. After [`Regularizer::refer_to`] with it another component goes on observing
    /// as this one would, to the same bytes.
    ///
    /// # Errors
    /// When it cannot be given.
    fn reference(&self) -> Result<Option<State>> {
        Ok(None)
    }

    /// Takes what [`Regularizer::reference`] gave.
    ///
    /// # Errors
    /// When it does not fit.
    fn refer_to(&self, _reference: &State) -> Result<()> {
        Ok(())
    }

    /// Its state between calls, for a checkpoint; empty if there is none. What was learned from real images is not part of it.
    ///
    /// # Errors
    /// When the state cannot be saved.
    fn save(&self) -> Result<Option<State>> {
        Ok(None)
    }

    /// Restores what [`Regularizer::save`] returned.
    ///
    /// # Errors
    /// When the state does not fit.
    fn load(&self, _state: &State) -> Result<()> {
        Ok(())
    }
}

/// A regularizer behind the boundary.
pub struct ForeignRegularizer {
    component: Callee,
    needs: Needs,
}

impl ForeignRegularizer {
    /// Wraps what an entry of kind regularizer created.
    ///
    /// # Errors
    /// When it cannot say what it needs.
    pub fn new(component: impl Into<Callee>) -> Result<Self> {
        let component = component.into();
        let needs = needs_of(&component)?;
        Ok(Self { component, needs })
    }

    fn call<T>(
        &self,
        method: Method,
        input: &RegularizerInput<'_>,
        read: impl FnOnce(Reply) -> Result<T>,
    ) -> Result<T> {
        let numbers = |all: &[u32]| all.iter().map(|&n| i64::from(n)).collect::<Vec<_>>();
        let (labels, images) = (numbers(input.labels), numbers(input.images));
        let indices: Vec<[i64; 1]> = input.layers.iter().map(|l| [l.index as i64]).collect();
        let mut args = ArgsBuf::new();
        args.tensor("view", input.view)
            .tensor("canvas", input.canvas)
            .tensor("logits", input.logits);
        args.ints("labels", &labels).ints("images", &images);
        for norm in input.batch_norms {
            args.text("bn_name", &norm.name)
                .tensor("bn_mean", &norm.mean)
                .tensor("bn_var", &norm.var);
            args.tensor("bn_running_mean", &norm.running_mean)
                .tensor("bn_running_var", &norm.running_var);
        }
        for (layer, index) in input.layers.iter().zip(&indices) {
            args.text("layer_name", &layer.name)
                .text("layer_kind", layer.kind.name())
                .ints("layer_index", index)
                .tensor("layer_input", &layer.input);
        }
        write_named(&mut args, "feature", input.features);
        input.ctx.write(&mut args);
        self.component.call(method, &args, read)
    }
}

impl Regularizer for ForeignRegularizer {
    fn forward(&self, input: &RegularizerInput<'_>) -> Result<Tensor> {
        self.call(Method::FORWARD, input, |mut reply| {
            scalar(reply.take_tensor("penalty")?)
        })
    }

    fn needs(&self) -> Needs {
        self.needs.clone()
    }

    fn observe(&self, input: &RegularizerInput<'_>) -> Result<()> {
        self.call(Method::OBSERVE, input, |_| Ok(()))
    }

    fn reference(&self) -> Result<Option<State>> {
        State::given_by(&self.component, Method::REFERENCE)
    }

    fn refer_to(&self, reference: &State) -> Result<()> {
        reference.hand_to(&self.component, Method::REFER_TO)
    }

    fn save(&self) -> Result<Option<State>> {
        State::saved_by(&self.component)
    }

    fn load(&self, state: &State) -> Result<()> {
        state.load_with(&self.component)
    }
}

fn read_batch_norms(args: &Args<'_>) -> Vec<BatchNormInput> {
    let mut columns = ["bn_mean", "bn_var", "bn_running_mean", "bn_running_var"]
        .map(|key| args.tensors(key).cloned());
    let names = args.texts("bn_name");
    names
        .map_while(|name| {
            let [mean, var, running_mean, running_var] = columns.each_mut().map(Iterator::next);
            Some(BatchNormInput {
                name: name.to_owned(),
                mean: mean?,
                var: var?,
                running_mean: running_mean?,
                running_var: running_var?,
            })
        })
        .collect()
}

fn read_layers(args: &Args<'_>) -> Vec<LayerInput> {
    let inputs = args
        .tensors("layer_input")
        .zip(args.all_ints("layer_index"));
    let named = args
        .texts("layer_name")
        .zip(args.texts("layer_kind"))
        .zip(inputs);
    let layers = named.filter_map(|((name, kind), (input, index))| {
        Some(LayerInput {
            index: *index.first()? as usize,
            name: name.to_owned(),
            kind: LayerKind::called(kind)?,
            input: input.clone(),
        })
    });
    layers.collect()
}

/// Hands what a call brought to `f`.
fn with_input<R>(args: &Args<'_>, f: impl FnOnce(&RegularizerInput<'_>) -> Result<R>) -> Result<R> {
    let (ctx, features) = (Ctx::read(args)?, read_named(args, "feature"));
    let (batch_norms, layers) = (read_batch_norms(args), read_layers(args));
    let numbers = |key: &str| -> Vec<u32> {
        let given = args.ints(key).unwrap_or_default();
        given.iter().map(|&n| n as u32).collect()
    };
    let (labels, images) = (numbers("labels"), numbers("images"));
    f(&RegularizerInput {
        view: args.tensor("view")?,
        canvas: args.tensor("canvas")?,
        batch_norms: &batch_norms,
        features: &features,
        logits: args.tensor("logits")?,
        labels: &labels,
        images: &images,
        layers: &layers,
        ctx: &ctx,
    })
}

#[doc(hidden)]
pub fn serve<T: Regularizer>(regularizer: &T, method: Method, args: &Args<'_>) -> Result<Reply> {
    let mut reply = Reply::new();
    match method {
        Method::FORWARD => {
            let penalty = with_input(args, |input| regularizer.forward(input))?;
            reply.tensor("penalty", penalty);
        }
        Method::NEEDS => {
            reply.text("needs", to_json(&regularizer.needs())?);
        }
        Method::OBSERVE => with_input(args, |input| regularizer.observe(input))?,
        Method::REFERENCE => return Ok(State::into_reply(regularizer.reference()?)),
        Method::REFER_TO => regularizer.refer_to(&State::read(args)?)?,
        Method::SAVE => return Ok(State::into_reply(regularizer.save()?)),
        Method::LOAD => regularizer.load(&State::read(args)?)?,
        other => return Err(unknown_method(other)),
    }
    Ok(reply)
}
