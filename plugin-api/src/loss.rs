//! Losses: a scalar from logits and targets.

use crate::{
    Result, Tensor,
    abi::{Args, ArgsBuf, Method, Reply},
    bail,
    callee::Callee,
    component::{Ctx, State, read_named, scalar, unknown_method, write_named},
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

impl HardTargets {
    fn tensors(&self) -> [(&'static str, Option<&Tensor>); 3] {
        [
            ("labels", Some(&self.labels)),
            ("labels_b", self.labels_b.as_ref()),
            ("lambda", self.lambda.as_ref()),
        ]
    }
}

/// A teacher's distribution over the classes.
#[derive(Clone)]
pub struct SoftTargets {
    /// Log-probabilities, [N, C].
    pub log_probs: Tensor,
    /// The teacher's logits, [N, C], if the labels include them; a temperature can soften them.
    pub logits: Option<Tensor>,
    /// The classes of the images, with the partner's and the share of the first under a mix (API 1.3). A relabeler need not give
    /// them: the host knows them.
    pub classes: Option<HardTargets>,
}

impl SoftTargets {
    /// Log-probabilities [N, C], and the logits [N, C] that they were made of, if there are any.
    pub fn new(log_probs: Tensor, logits: Option<Tensor>) -> Self {
        Self {
            log_probs,
            logits,
            classes: None,
        }
    }

    /// The teacher's logits, [N, C].
    ///
    /// # Errors
    /// When the labels have kept none; `what` says who needs them.
    pub fn logits_for(&self, what: &str) -> Result<&Tensor> {
        match &self.logits {
            Some(logits) => Ok(logits),
            None => bail!(
                "{what} needs the teacher's logits, but these soft labels only contain probabilities; use relabeler \"fkd\" (\"soft\" \
                 provides logits if views are not mixed)"
            ),
        }
    }

    /// The classes of the images.
    ///
    /// # Errors
    /// When the host gave none; `what` says who needs them.
    pub fn classes_for(&self, what: &str) -> Result<&HardTargets> {
        match &self.classes {
            Some(classes) => Ok(classes),
            None => bail!(
                "{what} needs the classes of the images beside their soft labels, and there are none here"
            ),
        }
    }
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

    /// Those of some of the images.
    ///
    /// # Errors
    /// When there are fewer images.
    pub fn narrow(&self, start: usize, count: usize) -> Result<Self> {
        let part = |tensor: &Tensor| tensor.narrow(0, start, count);
        let some = |tensor: &Option<Tensor>| tensor.as_ref().map(part).transpose();
        let hard = |hard: &HardTargets| -> Result<HardTargets> {
            Ok(HardTargets {
                labels: part(&hard.labels)?,
                labels_b: some(&hard.labels_b)?,
                lambda: some(&hard.lambda)?,
            })
        };
        Ok(match self {
            Self::Hard(all) => Self::Hard(hard(all)?),
            Self::Soft(soft) => Self::Soft(SoftTargets {
                log_probs: part(&soft.log_probs)?,
                logits: some(&soft.logits)?,
                classes: soft.classes.as_ref().map(hard).transpose()?,
            }),
        })
    }

    /// The tensors that are there, by the names under which they cross the boundary.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let mut all: Vec<(&'static str, Option<&Tensor>)> = Vec::new();
        match self {
            Self::Hard(hard) => all.extend(hard.tensors()),
            Self::Soft(soft) => {
                all.push(("log_probs", Some(&soft.log_probs)));
                all.push(("target_logits", soft.logits.as_ref()));
                all.extend(soft.classes.iter().flat_map(HardTargets::tensors));
            }
        }
        all.into_iter()
            .filter_map(|(key, tensor)| Some((key, tensor?)))
    }

    /// The targets whose tensors `take` gives by these names.
    pub(crate) fn read(mut take: impl FnMut(&str) -> Result<Tensor>) -> Result<Self> {
        let soft = take("log_probs");
        let logits = take("target_logits").ok();
        let (labels_b, lambda) = (take("labels_b").ok(), take("lambda").ok());
        let classes = take("labels").map(|labels| HardTargets {
            labels,
            labels_b,
            lambda,
        });
        match soft {
            Ok(log_probs) => Ok(Self::Soft(SoftTargets {
                log_probs,
                logits,
                classes: classes.ok(),
            })),
            Err(_) => Ok(Self::Hard(classes?)),
        }
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
pub struct ForeignLoss(Callee);

impl ForeignLoss {
    /// Wraps what an entry of kind loss created.
    pub fn new(component: impl Into<Callee>) -> Self {
        Self(component.into())
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
        self.0.call(Method::FORWARD, &args, |mut reply| {
            scalar(reply.take_tensor("loss")?)
        })
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
