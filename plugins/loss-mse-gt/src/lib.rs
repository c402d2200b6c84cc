//! The students' loss of G-VBSM (Shao et al., CVPR 2024, `MSE-GT`; `train/direct_train.py`) and of EDC (Shao et al., NeurIPS 2024).

use plugin_api::prelude::*;

/// Options of `mse-gt`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Weight of the cross-entropy with the class, at least 0: 0.15 and 0.1 in G-VBSM, 0.025 in EDC
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0))]
    class_weight: f64,
}

fn tenth() -> f64 {
    0.1
}

/// `mean_nc (s_nc - t_nc)^2 + class_weight CE(s, y)`, s the student's logits, t the teacher's, y the class of the first image under
/// a mix. There is no temperature.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "Options")]
struct MseGt(Options);

impl TryFrom<Options> for MseGt {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        let weight = options.class_weight;
        ensure!(
            weight >= 0. && weight.is_finite(),
            "class_weight: expected a number of at least 0, got {weight}"
        );
        Ok(Self(options))
    }
}

impl Loss for MseGt {
    fn forward(&self, x: &LossInput<'_>) -> Result<Tensor> {
        let soft = x.targets.soft()?;
        let distance = (x.logits - soft.logits_for("mse-gt")?)?.sqr()?.mean_all()?;
        if self.0.class_weight == 0. {
            return Ok(distance);
        }
        let [n, _classes] = x.logits.dims().context("logits")?;
        let classes = soft.classes_for("mse-gt with a class_weight above 0")?;
        let log_probs = x.logits.log_softmax(1)?;
        let own = log_probs.gather(&classes.labels.reshape(&[n, 1])?, 1)?;
        distance + (own.mean_all()? * -self.0.class_weight)?
    }
}

export_plugin! { loss "mse-gt": MseGt = "squared distance from the teacher's logits, with a share of cross-entropy (G-VBSM, EDC)" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, serde_json::json, testing};

    fn value(options: &str, classes: Option<&[u32]>) -> Result<f64> {
        let ctx = testing::ctx("validate");
        let student = ctx.tensor(&[1., -0.5, 2., 0.25, 0., -1.], &[2, 3])?;
        let teacher = ctx.tensor(&[3., 0., -1., 0.5, 1.5, -2.], &[2, 3])?;
        let mut soft = SoftTargets::new(teacher.log_softmax(1)?, Some(teacher));
        if let Some(labels) = classes {
            let Targets::Hard(hard) = Targets::labels(ctx.indices(labels, &[2])?) else {
                bail!("class labels are hard targets")
            };
            soft.classes = Some(hard);
        }
        let input = LossInput {
            logits: &student,
            targets: &Targets::Soft(soft),
            features: &[],
            ctx: &ctx,
        };
        parse_options::<MseGt>(options)?
            .forward(&input)?
            .to_scalar()
    }

    // s = torch.tensor([[1, -.5, 2], [.25, 0, -1]], dtype=torch.float64); y = torch.tensor([2, 0])
    // t = torch.tensor([[3, 0, -1], [.5, 1.5, -2]], dtype=torch.float64)
    // [F.mse_loss(s, t) + w * F.cross_entropy(s, y) for w in (0, .1, .025)]
    #[test]
    fn values_are_pytorchs() {
        for (options, expected) in [
            (r#"{"class_weight": 0}"#, 2.7604166666666665),
            ("{}", 2.815257528062369),
            (r#"{"class_weight": 0.025}"#, 2.774126882015592),
        ] {
            let got = value(options, Some(&[2, 0])).unwrap();
            assert!((got - expected).abs() < 1e-12, "{options}: {got}");
        }
    }

    #[test]
    fn the_class_is_needed_only_with_a_weight() {
        assert!(value(r#"{"class_weight": 0}"#, None).is_ok());
        let error = value("{}", None).unwrap_err().to_string();
        assert!(error.contains("needs the classes of the images"), "{error}");
        let error = value(r#"{"class_weight": -1}"#, None).unwrap_err();
        assert!(error.to_string().contains("at least 0"), "{error}");
    }

    #[test]
    fn keeps_the_contract() {
        testing::check_loss::<MseGt>("mse-gt", json!({})).unwrap();
        testing::check_loss::<MseGt>("mse-gt", json!({"class_weight": 0.0})).unwrap();
    }
}
