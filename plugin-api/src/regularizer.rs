//! Regularizers: a penalty on images or on what a network makes of them.

use crate::{
    Error, Result, Tensor,
    abi::{Args, ArgsBuf, Method, RComponent, Reply},
    component::{Ctx, Needs, State, needs_of, read_named, to_json, unknown_method, write_named},
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
    /// The position in the run.
    pub ctx: &'a Ctx,
}

impl RegularizerInput<'_> {
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

    /// Its state between calls, for a checkpoint; empty if there is none.
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
    component: RComponent,
    needs: Needs,
}

impl ForeignRegularizer {
    /// Wraps what an entry of kind regularizer created.
    ///
    /// # Errors
    /// When it cannot say what it needs.
    pub fn new(component: RComponent) -> Result<Self> {
        let needs = needs_of(&component)?;
        Ok(Self { component, needs })
    }
}

impl Regularizer for ForeignRegularizer {
    fn forward(&self, input: &RegularizerInput<'_>) -> Result<Tensor> {
        let mut args = ArgsBuf::new();
        args.tensor("view", input.view)
            .tensor("canvas", input.canvas);
        for norm in input.batch_norms {
            args.text("bn_name", &norm.name)
                .tensor("bn_mean", &norm.mean)
                .tensor("bn_var", &norm.var);
            args.tensor("bn_running_mean", &norm.running_mean)
                .tensor("bn_running_var", &norm.running_var);
        }
        write_named(&mut args, "feature", input.features);
        input.ctx.write(&mut args);
        self.component
            .call(Method::FORWARD, &args)?
            .take_tensor("penalty")
    }

    fn needs(&self) -> Needs {
        self.needs.clone()
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

#[doc(hidden)]
pub fn serve<T: Regularizer>(regularizer: &T, method: Method, args: &Args<'_>) -> Result<Reply> {
    let mut reply = Reply::new();
    match method {
        Method::FORWARD => {
            let (ctx, features) = (Ctx::read(args)?, read_named(args, "feature"));
            let batch_norms = read_batch_norms(args);
            let input = RegularizerInput {
                view: args.tensor("view")?,
                canvas: args.tensor("canvas")?,
                batch_norms: &batch_norms,
                features: &features,
                ctx: &ctx,
            };
            reply.tensor("penalty", regularizer.forward(&input)?);
        }
        Method::NEEDS => {
            reply.text("needs", to_json(&regularizer.needs())?);
        }
        Method::SAVE => return Ok(State::into_reply(regularizer.save()?)),
        Method::LOAD => regularizer.load(&State::read(args)?)?,
        other => return Err(unknown_method(other)),
    }
    Ok(reply)
}
