//! Losses: a scalar from logits and targets.

use crate::{
    Result, Tensor,
    abi::{Args, ArgsBuf, Method, RComponent, Reply},
    bail,
    component::{Ctx, State, read_named, unknown_method, write_named},
};

/// Class labels, two of them under cutmix and mixup.
#[derive(Clone)]
pub struct HardTargets {
    /// Class of each image, u32 `[N]`.
    pub labels: Tensor,
    /// Class of the mixed-in image, u32 `[N]`; absent without a mix.
    pub labels_b: Option<Tensor>,
    /// Weight of `labels`, `[N]`; absent without a mix.
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

    /// The tensors that are there, by the names under which they cross the boundary.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let all = match self {
            Self::Hard(hard) => vec![
                ("labels", Some(&hard.labels)),
                ("labels_b", hard.labels_b.as_ref()),
                ("lambda", hard.lambda.as_ref()),
            ],
            Self::Soft(soft) => vec![
                ("log_probs", Some(&soft.log_probs)),
                ("target_logits", soft.logits.as_ref()),
            ],
        };
        all.into_iter()
            .filter_map(|(key, tensor)| Some((key, tensor?)))
    }

    /// The targets whose tensors `take` gives by these names.
    pub(crate) fn read(mut take: impl FnMut(&str) -> Result<Tensor>) -> Result<Self> {
        if let Ok(log_probs) = take("log_probs") {
            let logits = take("target_logits").ok();
            return Ok(Self::Soft(SoftTargets { log_probs, logits }));
        }
        Ok(Self::Hard(HardTargets {
            labels: take("labels")?,
            labels_b: take("labels_b").ok(),
            lambda: take("lambda").ok(),
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
        for (key, tensor) in input.targets.tensors() {
            args.tensor(key, tensor);
        }
        write_named(&mut args, "feature", input.features);
        input.ctx.write(&mut args);
        self.0.call(Method::FORWARD, &args)?.take_tensor("loss")
    }

    fn save(&self) -> Result<Option<State>> {
        State::saved_by(&self.0)
    }

    fn load(&self, state: &State) -> Result<()> {
        state.load_with(&self.0)
    }
}

#[doc(hidden)]
pub fn serve<T: Loss>(loss: &T, method: Method, args: &Args<'_>) -> Result<Reply> {
    match method {
        Method::FORWARD => {
            let targets = Targets::read(|key| args.tensor(key).cloned())?;
            let (ctx, features) = (Ctx::read(args)?, read_named(args, "feature"));
            let input = LossInput {
                logits: args.tensor("logits")?,
                targets: &targets,
                features: &features,
                ctx: &ctx,
            };
            let mut reply = Reply::new();
            reply.tensor("loss", loss.forward(&input)?);
            Ok(reply)
        }
        Method::SAVE => Ok(State::into_reply(loss.save()?)),
        Method::LOAD => loss.load(&State::read(args)?).map(|()| Reply::new()),
        other => Err(unknown_method(other)),
    }
}
