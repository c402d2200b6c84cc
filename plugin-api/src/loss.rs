//! Losses: a scalar from logits and targets.

use crate::{
    Context as _, Result, Tensor,
    abi::{Args, ArgsBuf, Method, RComponent, Reply},
    bail,
    component::{Ctx, State, unknown_method},
};

/// Class labels, two of them under cutmix and mixup.
#[derive(Clone)]
pub struct HardTargets {
    /// Class of each image, u32 [N].
    pub labels: Tensor,
    /// Class of the mixed-in image, u32 [N]; absent without a mix.
    pub labels_b: Option<Tensor>,
    /// Weight of `labels`, [N]; absent without a mix.
    pub lambda: Option<Tensor>,
}

/// A teacher's distribution over the classes.
#[derive(Clone)]
pub struct SoftTargets {
    /// Log-probabilities, [N, C].
    pub log_probs: Tensor,
    /// The teacher's logits, [N, C], if the labels include them; a temperature can soften them.
    pub logits: Option<Tensor>,
}

/// The targets of a network.
#[derive(Clone)]
pub enum Targets {
    /// Class labels.
    Hard(HardTargets),
    /// Distributions.
    Soft(SoftTargets),
}

impl Targets {
    /// Labels without a mix.
    pub fn labels(labels: Tensor) -> Self {
        Self::Hard(HardTargets {
            labels,
            labels_b: None,
            lambda: None,
        })
    }

    /// The class labels.
    ///
    /// # Errors
    /// For soft targets.
    pub fn hard(&self) -> Result<HardTargets> {
        match self {
            Self::Hard(hard) => Ok(hard.clone()),
            Self::Soft(_) => bail!(
                "this loss needs class labels, but the relabeler gives soft labels; use relabeler \"hard\""
            ),
        }
    }

    /// The distributions.
    ///
    /// # Errors
    /// For class labels.
    pub fn soft(&self) -> Result<SoftTargets> {
        match self {
            Self::Soft(soft) => Ok(soft.clone()),
            Self::Hard(_) => bail!(
                "this loss needs soft labels, but got class labels; use relabeler \"soft\" or \"fkd\""
            ),
        }
    }

    pub(crate) fn write<'a>(&'a self, args: &mut ArgsBuf<'a>) {
        match self {
            Self::Hard(hard) => {
                args.tensor("labels", &hard.labels);
                if let Some(labels_b) = &hard.labels_b {
                    args.tensor("labels_b", labels_b);
                }
                if let Some(lambda) = &hard.lambda {
                    args.tensor("lambda", lambda);
                }
            }
            Self::Soft(soft) => {
                args.tensor("log_probs", &soft.log_probs);
                if let Some(logits) = &soft.logits {
                    args.tensor("target_logits", logits);
                }
            }
        }
    }

    pub(crate) fn read(args: &Args<'_>) -> Result<Self> {
        let optional = |key| args.tensors(key).next().cloned();
        if let Some(log_probs) = optional("log_probs") {
            return Ok(Self::Soft(SoftTargets {
                log_probs,
                logits: optional("target_logits"),
            }));
        }
        let labels = args.tensor("labels")?.clone();
        Ok(Self::Hard(HardTargets {
            labels,
            labels_b: optional("labels_b"),
            lambda: optional("lambda"),
        }))
    }

    pub(crate) fn into_reply(self) -> Reply {
        let mut reply = Reply::new();
        let mut put = |key: &str, tensor: Option<Tensor>| {
            if let Some(tensor) = tensor {
                reply.tensor(key, tensor);
            }
        };
        match self {
            Self::Hard(hard) => {
                put("labels", Some(hard.labels));
                put("labels_b", hard.labels_b);
                put("lambda", hard.lambda);
            }
            Self::Soft(soft) => {
                put("log_probs", Some(soft.log_probs));
                put("target_logits", soft.logits);
            }
        }
        reply
    }

    pub(crate) fn from_reply(mut reply: Reply) -> Result<Self> {
        if let Ok(log_probs) = reply.take_tensor("log_probs") {
            return Ok(Self::Soft(SoftTargets {
                log_probs,
                logits: reply.take_tensor("target_logits").ok(),
            }));
        }
        let labels = reply.take_tensor("labels").context("targets")?;
        let labels_b = reply.take_tensor("labels_b").ok();
        Ok(Self::Hard(HardTargets {
            labels,
            labels_b,
            lambda: reply.take_tensor("lambda").ok(),
        }))
    }
}

/// The input of a loss.
pub struct LossInput<'a> {
    /// The network's logits, [N, C], f32 (f64 in parity runs).
    pub logits: &'a Tensor,
    /// The targets.
    pub targets: &'a Targets,
    /// Features by the names under which the architecture tapped them.
    pub features: &'a [(String, Tensor)],
    /// The position in the run.
    pub ctx: &'a Ctx,
}

/// A loss. It is its own options: a struct that derives `Deserialize` and `JsonSchema`.
pub trait Loss: Send + Sync + 'static {
    /// The scalar to minimise.
    ///
    /// # Errors
    /// Any problem with the input; the host adds where in the run it occurred.
    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor>;

    /// Its state between calls, for a checkpoint; empty for a stateless loss.
    ///
    /// # Errors
    /// When the state cannot be saved.
    fn save(&self) -> Result<Option<State>> {
        Ok(None)
    }

    /// Restores what [`Loss::save`] returned.
    ///
    /// # Errors
    /// When the state does not fit.
    fn load(&self, _state: &State) -> Result<()> {
        Ok(())
    }
}

/// A loss behind the boundary.
pub struct ForeignLoss(RComponent);

impl ForeignLoss {
    /// Wraps what an entry of kind loss created.
    pub fn new(component: RComponent) -> Self {
        Self(component)
    }
}

impl Loss for ForeignLoss {
    fn forward(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let mut args = ArgsBuf::new();
        args.tensor("logits", input.logits);
        input.targets.write(&mut args);
        write_features(&mut args, input.features);
        input.ctx.write(&mut args);
        self.0.call(Method::FORWARD, &args)?.take_tensor("loss")
    }

    fn save(&self) -> Result<Option<State>> {
        Ok(State::from_reply(
            self.0.call(Method::SAVE, &ArgsBuf::new())?,
        ))
    }

    fn load(&self, state: &State) -> Result<()> {
        state.load_with(&self.0)
    }
}

#[doc(hidden)]
pub fn serve<T: Loss>(loss: &T, method: Method, args: &Args<'_>) -> Result<Reply> {
    match method {
        Method::FORWARD => {
            let (targets, ctx, features) =
                (Targets::read(args)?, Ctx::read(args)?, read_features(args));
            let input = LossInput {
                logits: args.tensor("logits")?,
                targets: &targets,
                features: &features,
                ctx: &ctx,
            };
            let value = loss.forward(&input)?;
            let mut reply = Reply::new();
            reply.tensor("loss", value);
            Ok(reply)
        }
        Method::SAVE => Ok(State::into_reply(loss.save()?)),
        Method::LOAD => loss.load(&State::read(args)?).map(|()| Reply::new()),
        other => Err(unknown_method(other)),
    }
}

pub(crate) fn write_features<'a>(args: &mut ArgsBuf<'a>, features: &'a [(String, Tensor)]) {
    for (name, feature) in features {
        args.text("feature", name).tensor("feature", feature);
    }
}

pub(crate) fn read_features(args: &Args<'_>) -> Vec<(String, Tensor)> {
    args.texts("feature")
        .map(str::to_owned)
        .zip(args.tensors("feature").cloned())
        .collect()
}
