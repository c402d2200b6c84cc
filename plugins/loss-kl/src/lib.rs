//! The divergence of a student from a teacher: knowledge distillation (Hinton et al., 2015) as SRe2L's post-training does it
//! (Yin et al., NeurIPS 2023, section 3.3; `SRe2L/validate/train_FKD.py`).

use plugin_api::prelude::*;

/// Options of `kl`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Temperature T that softens teacher and student, above 0, a number or a curve over the epochs; SRe2L uses 20 with stored logits
    #[serde(default = "one")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    temperature: Curve,
    /// Multiply by T^2, so that gradients keep their scale at any temperature (Hinton et al., 2015, section 2)
    #[serde(default)]
    scale_by_t2: bool,
}

fn one() -> Curve {
    Curve::Constant(1.)
}

/// Kullback-Leibler divergence, as PyTorch's `nn.KLDivLoss(reduction="batchmean")` of `log_softmax(s/T)` against `softmax(t/T)`:
///
/// `1/N sum_nc p_nc (log p_nc - log q_nc)`, with `p = softmax(t/T)` of the teacher and `q = softmax(s/T)` of the student.
///
/// SRe2L's code for ImageNet-1K does not multiply by T^2, its code for Tiny-ImageNet does: hence `scale_by_t2`. At temperature 1
/// the soft labels' own probabilities are taken; at any other the labels must keep the teacher's logits.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "Options")]
struct Kl(Options);

impl TryFrom<Options> for Kl {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        let positive = |t: f64| t > 0. && t.is_finite();
        match options.temperature.fault(positive, "a number above 0") {
            Some(fault) => bail!("temperature: {fault}"),
            None => Ok(Self(options)),
        }
    }
}

impl Kl {
    /// `log_softmax(t/T)` of the teacher, [N, C].
    fn teacher(targets: &SoftTargets, t: f64) -> Result<Tensor> {
        if t == 1. {
            return Ok(targets.log_probs.clone());
        }
        let Some(logits) = &targets.logits else {
            bail!(
                "temperature {t} needs the teacher's logits, but these soft labels only contain probabilities; use relabeler \
                 \"fkd\" (\"soft\" provides logits if views are not mixed), or temperature = 1"
            )
        };
        (logits / t)?.log_softmax(1)
    }
}

impl Loss for Kl {
    fn forward(&self, x: &LossInput<'_>) -> Result<Tensor> {
        let t = self.0.temperature.at(x.ctx.iteration(), x.ctx.total());
        let [n, _classes] = x.logits.dims().context("logits")?;
        let log_p = Self::teacher(&x.targets.soft()?, t)?;
        let (got, expected) = (log_p.shape(), x.logits.shape());
        ensure!(
            got == expected,
            "soft targets have shape {got:?}, but the logits have {expected:?}"
        );
        let log_q = (x.logits / t)?.log_softmax(1)?;
        // A class of probability 0 has log p = -inf and adds 0 log 0 = 0; the clamp keeps it from being 0 * inf.
        let divergence = (log_p.exp()? * (log_p.clamp(-1e4, 0.)? - log_q))?.sum_all()?;
        divergence * (if self.0.scale_by_t2 { t * t } else { 1. } / n as f64)
    }
}

export_plugin! { loss "kl": Kl = "divergence of the student's softened distribution from the teacher's" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, serde_json::json, testing};

    const TEACHER: [f64; 6] = [2., 1., 0., 0.5, 3., -1.];

    fn value(options: &str, targets: impl Fn(&Ctx) -> Result<Targets>) -> Result<f64> {
        let ctx = testing::ctx("validate").at(150, 300);
        let loss: Kl = parse_options(options)?;
        let logits = ctx.tensor(&[1., 2., 3., 0.5, -1., 0.25], &[2, 3])?;
        let targets = targets(&ctx)?;
        loss.forward(&LossInput {
            logits: &logits,
            targets: &targets,
            features: &[],
            ctx: &ctx,
        })?
        .to_scalar()
    }

    fn with_logits(ctx: &Ctx) -> Result<Targets> {
        let logits = ctx.tensor(&TEACHER, &[2, 3])?;
        Ok(Targets::Soft(SoftTargets::new(
            logits.log_softmax(1)?,
            Some(logits),
        )))
    }

    fn probabilities_alone(ctx: &Ctx) -> Result<Targets> {
        let log_probs = ctx.tensor(&TEACHER, &[2, 3])?.log_softmax(1)?;
        Ok(Targets::Soft(SoftTargets::new(log_probs, None)))
    }

    // s = np.array([[1, 2, 3], [0.5, -1, 0.25]]); t = np.array([[2, 1, 0], [0.5, 3, -1]])
    // lsm = lambda z: z - np.log(np.exp(z).sum(1, keepdims=True)); p, q = lsm(t / T), lsm(s / T)
    // (np.exp(p) * (p - q)).sum() / 2
    #[test]
    fn values_are_numpys() {
        let close = |got: Result<f64>, expected: f64| {
            let got = got.unwrap();
            assert!(
                (got - expected).abs() < 1e-12,
                "got {got}, expected {expected}"
            );
        };
        close(value("{}", with_logits), 1.4315463354844389);
        close(value("{}", probabilities_alone), 1.4315463354844389);
        close(
            value(r#"{"temperature": 20}"#, with_logits),
            0.00485127093712974,
        );
        close(
            value(r#"{"temperature": 20, "scale_by_t2": true}"#, with_logits),
            400. * 0.00485127093712974,
        );
        // The middle of a line from 30 to 10.
        let line = r#"{"temperature": {"from": 30, "to": 10, "shape": "linear"}}"#;
        close(value(line, with_logits), 0.00485127093712974);
    }

    #[test]
    fn a_class_of_probability_zero_adds_nothing() {
        let one_hot = |ctx: &Ctx| {
            let log_probs = ctx.tensor(&[0., 0., 1., 1., 0., 0.], &[2, 3])?.log()?;
            Ok(Targets::Soft(SoftTargets::new(log_probs, None)))
        };
        // the cross-entropy of the labels 2 and 0: -q[[0, 1], [2, 0]].mean()
        let got = value("{}", one_hot).unwrap();
        assert!((got - 0.5508590754231472).abs() < 1e-12, "got {got}");
    }

    #[test]
    fn targets_that_do_not_fit_are_refused() {
        let error = value(r#"{"temperature": 20}"#, probabilities_alone)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("temperature 20 needs the teacher's logits"),
            "{error}"
        );
        let hard = |ctx: &Ctx| Ok(Targets::labels(ctx.indices(&[2, 0], &[2])?));
        let error = value("{}", hard).unwrap_err().to_string();
        assert!(error.contains("needs soft labels"), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        let error = value(r#"{"temperature": 0}"#, with_logits).unwrap_err();
        assert_eq!(
            error.to_string(),
            "temperature: got 0, expected a number above 0"
        );
    }

    #[test]
    fn keeps_the_contract() {
        testing::check_loss::<Kl>("kl", json!({})).unwrap();
        testing::check_loss::<Kl>("kl", json!({"temperature": 4.0, "scale_by_t2": true})).unwrap();
        let curve = json!({"temperature": {"from": 20.0, "to": 2.0}});
        testing::check_loss::<Kl>("kl", curve).unwrap();
    }
}
