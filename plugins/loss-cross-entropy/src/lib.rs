//! Cross-entropy: the loss of the squeeze stage, the class term of SRe2L's recover stage (Yin et al., NeurIPS 2023, section 3.2)
//! and the loss of students on class labels.

use plugin_api::prelude::*;

/// Options of `cross-entropy`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Fraction of each target spread evenly over all classes, in [0, 1] (Szegedy et al., 2016)
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    label_smoothing: f64,
}

/// Cross-entropy, as PyTorch's `F.cross_entropy` with the mean reduction:
///
/// `-1/N sum_n [(1 - eps) sum_c p_nc log q_nc + eps/C sum_c log q_nc]`, with `q = softmax(logits)` and `eps` the label smoothing.
///
/// `p` is one-hot for class labels, `lambda onehot(a) + (1 - lambda) onehot(b)` for the two labels of cutmix and mixup, and the
/// teacher's distribution for soft labels.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "Options")]
struct CrossEntropy(Options);

impl TryFrom<Options> for CrossEntropy {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        let eps = options.label_smoothing;
        ensure!(
            (0. ..=1.).contains(&eps),
            "label_smoothing: expected a number from 0 to 1, got {eps}"
        );
        Ok(Self(options))
    }
}

impl Loss for CrossEntropy {
    fn forward(&self, x: &LossInput<'_>) -> Result<Tensor> {
        let log_q = x.logits.log_softmax(1)?;
        let expected = match x.targets {
            Targets::Hard(hard) => of_labels(&log_q, hard)?,
            Targets::Soft(soft) => of_distribution(&log_q, &soft.log_probs)?,
        };
        let eps = self.0.label_smoothing;
        if eps == 0. {
            return expected.mean_all()?.neg();
        }
        let spread = (log_q.mean(&[1])? * eps)?;
        ((expected * (1. - eps))? + spread)?.mean_all()?.neg()
    }
}

/// The log-likelihood of each image's label, [N]; under a mix that of both labels, weighted.
fn of_labels(log_q: &Tensor, targets: &HardTargets) -> Result<Tensor> {
    let [n, _classes] = log_q.dims().context("logits")?;
    let pick = |labels: &Tensor| {
        let count = labels.elem_count();
        ensure!(count == n, "labels: got {count} for logits of {n} images");
        log_q.gather(&labels.reshape(&[n, 1])?, 1)?.squeeze(1)
    };
    let own = pick(&targets.labels)?;
    match (&targets.labels_b, &targets.lambda) {
        (None, None) => Ok(own),
        (Some(labels_b), Some(lambda)) => {
            let partner = pick(labels_b)?;
            // lambda own + (1 - lambda) partner
            &partner + lambda * (own - &partner)
        }
        _ => bail!("mixed targets need both labels_b and lambda, but only one was given"),
    }
}

/// The expectation of `log_q` under the targets, [N].
fn of_distribution(log_q: &Tensor, log_p: &Tensor) -> Result<Tensor> {
    let (got, expected) = (log_p.shape(), log_q.shape());
    ensure!(
        got == expected,
        "soft targets have shape {got:?}, but the logits have {expected:?}"
    );
    (log_p.exp()? * log_q)?.sum(&[1])
}

export_plugin! { loss "cross-entropy": CrossEntropy = "cross-entropy with class labels (mixed ones too) or soft labels" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, serde_json::json, testing};

    // z = np.array([[1, 2, 3], [0.5, -1, 0.25]]); q = z - np.log(np.exp(z).sum(1, keepdims=True)); eps = 0.1
    // a, b = -q[[0, 1], [2, 0]], -q[[0, 1], [0, 1]]; lam = np.array([0.7, 0.25]); m = lam * a + (1 - lam) * b
    // p = np.array([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])
    fn value(options: &str, targets: impl Fn(&Ctx) -> Result<Targets>) -> Result<f64> {
        let ctx = testing::ctx("validate");
        let loss: CrossEntropy = parse_options(options)?;
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

    fn labels(ctx: &Ctx) -> Result<Targets> {
        Ok(Targets::labels(ctx.indices(&[2, 0], &[2])?))
    }

    fn mixed(ctx: &Ctx) -> Result<Targets> {
        let (labels, labels_b) = (ctx.indices(&[2, 0], &[2])?, ctx.indices(&[0, 1], &[2])?);
        let lambda = ctx.tensor(&[0.7, 0.25], &[2])?;
        Ok(Targets::Hard(HardTargets {
            labels,
            labels_b: Some(labels_b),
            lambda: Some(lambda),
        }))
    }

    fn soft(ctx: &Ctx) -> Result<Targets> {
        let log_probs = ctx
            .tensor(&[0.2, 0.3, 0.5, 0.6, 0.1, 0.3], &[2, 3])?
            .log()?;
        Ok(Targets::Soft(SoftTargets::new(log_probs, None)))
    }

    #[track_caller]
    fn assert_close(got: Result<f64>, expected: f64) {
        let got = got.unwrap();
        assert!(
            (got - expected).abs() < 1e-12,
            "got {got}, expected {expected}"
        );
    }

    #[test]
    fn values_are_numpys() {
        assert_close(value("{}", labels), 0.5508590754231472); // a.mean()
        assert_close(value("{}", mixed), 1.413359075423147); // m.mean()
        assert_close(value("{}", soft), 1.0133590754231472); // -(p * q).sum(1).mean()
    }

    #[test]
    fn smoothed_values_are_numpys() {
        let options = r#"{"label_smoothing": 0.1}"#;
        assert_close(value(options, labels), 0.6300257420898139); // ((1 - eps) * a - eps * q.mean(1)).mean()
        assert_close(value(options, mixed), 1.4062757420898138); // ((1 - eps) * m - eps * q.mean(1)).mean()
        assert_close(value(options, soft), 1.0462757420898139); // -(((1 - eps) * p + eps / 3) * q).sum(1).mean()
    }

    #[test]
    fn targets_that_do_not_fit_are_refused() {
        let error = value("{}", |ctx| Ok(Targets::labels(ctx.indices(&[0], &[1])?))).unwrap_err();
        assert_eq!(error.to_string(), "labels: got 1 for logits of 2 images");
        let narrow = |ctx: &Ctx| {
            Ok(Targets::Soft(SoftTargets::new(
                ctx.tensor(&[0., 0.], &[2, 1])?,
                None,
            )))
        };
        let error = value("{}", narrow).unwrap_err();
        assert_eq!(
            error.to_string(),
            "soft targets have shape [2, 1], but the logits have [2, 3]"
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let error = value(r#"{"label_smoothing": 2}"#, labels).unwrap_err();
        assert_eq!(
            error.to_string(),
            "label_smoothing: expected a number from 0 to 1, got 2"
        );
    }

    #[test]
    fn keeps_the_contract() {
        testing::check_loss::<CrossEntropy>("cross-entropy", json!({})).unwrap();
        testing::check_loss::<CrossEntropy>("cross-entropy", json!({"label_smoothing": 0.1}))
            .unwrap();
    }
}
