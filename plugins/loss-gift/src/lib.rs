//! GIFT, the students' loss that needs no temperature (Shang et al., ICLR 2025; `validate/losses_benchmark.py` of LINs-lab/GIFT).

use plugin_api::prelude::*;

/// Options of `gift`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Weight of the smoothed class in the target, at least 0
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0))]
    class_weight: f64,
    /// What label smoothing takes from the class and gives to the others, at least 0 and below 1
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0))]
    smoothing: f64,
}

fn tenth() -> f64 {
    0.1
}

/// `1 - mean_n cos(s_n, t_n / |t_n| + class_weight q_n / |q_n|)`, s the student's logits, t the teacher's, and q the class of the
/// first image, smoothed: `1 - smoothing` on it, `smoothing / (C - 1)` on the others. That is the code; the paper's convex form differs.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "Options")]
struct Gift(Options);

impl TryFrom<Options> for Gift {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        let Options {
            class_weight,
            smoothing,
        } = options;
        ensure!(
            class_weight >= 0. && class_weight.is_finite(),
            "class_weight: expected a number of at least 0, got {class_weight}"
        );
        ensure!(
            (0. ..1.).contains(&smoothing),
            "smoothing: expected a number from 0 to below 1, got {smoothing}"
        );
        Ok(Self(options))
    }
}

/// PyTorch's `cosine_similarity` and `normalize` take no length below these.
const LEAST_PRODUCT: f64 = 1e-8;
const LEAST_LENGTH: f64 = 1e-12;

impl Gift {
    /// The smoothed classes at length 1, [N, C].
    fn classes(&self, labels: &Tensor, classes: usize, ctx: &Ctx) -> Result<Tensor> {
        let [n] = labels.dims()?;
        let own = 1. - self.0.smoothing;
        let other = self.0.smoothing / (classes.max(2) - 1) as f64;
        let length = (own * own + other * other * (classes - 1) as f64).sqrt();
        let mut values = vec![other / length; n * classes];
        for (row, label) in labels.to_vec_u32()?.into_iter().enumerate() {
            ensure!((label as usize) < classes, "class {label} of {classes}");
            values[row * classes + label as usize] = own / length;
        }
        ctx.tensor(&values, &[n, classes])
    }
}

impl Loss for Gift {
    fn forward(&self, x: &LossInput<'_>) -> Result<Tensor> {
        let soft = x.targets.soft()?;
        let [_, classes] = x.logits.dims().context("logits")?;
        let teacher = soft.logits_for("gift")?;
        let length = teacher.norm_keepdim(&[1])?.clamp(LEAST_LENGTH, f64::MAX)?;
        let mut target = (teacher / length)?;
        if self.0.class_weight > 0. {
            let labels = &soft.classes_for("gift")?.labels;
            let class = self.classes(labels, classes, x.ctx)?;
            target = (target + (class * self.0.class_weight)?)?;
        }
        let product = (x.logits * &target)?.sum(&[1])?;
        let lengths = [x.logits, &target].map(|v| v.norm(&[1])?.clamp(LEAST_PRODUCT, f64::MAX));
        let [student, target] = lengths;
        let cosine = (product / (student? * target?)?)?;
        cosine.mean_all()?.affine(-1., 1.)
    }
}

export_plugin! { loss "gift": Gift = "cosine distance from the teacher's logits and the class (GIFT)" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, serde_json::json, testing};

    fn value(options: &str) -> Result<f64> {
        let ctx = testing::ctx("validate");
        let student = ctx.tensor(&[1., -0.5, 2., 0.25, 0., -1.], &[2, 3])?;
        let teacher = ctx.tensor(&[3., 0., -1., 0.5, 1.5, -2.], &[2, 3])?;
        let mut soft = SoftTargets::new(teacher.log_softmax(1)?, Some(teacher));
        soft.classes = Some(HardTargets {
            labels: ctx.indices(&[2, 0], &[2])?,
            labels_b: None,
            lambda: None,
        });
        let input = LossInput {
            logits: &student,
            targets: &Targets::Soft(soft),
            features: &[],
            ctx: &ctx,
        };
        parse_options::<Gift>(options)?.forward(&input)?.to_scalar()
    }

    // s = torch.tensor([[1, -.5, 2], [.25, 0, -1]], dtype=torch.float64); y = torch.tensor([2, 0])
    // t = torch.tensor([[3, 0, -1], [.5, 1.5, -2]], dtype=torch.float64)
    // def gift(w, a):
    //     q = torch.full((2, 3), a / 2, dtype=torch.float64); q[torch.arange(2), y] = 1 - a
    //     return 1 - F.cosine_similarity(s, F.normalize(t) + w * F.normalize(q)).mean()
    // [gift(.1, .1), gift(0, .1), gift(.5, .3)]
    #[test]
    fn values_are_pytorchs() {
        for (options, expected) in [
            ("{}", 0.4800659379463402),
            (r#"{"class_weight": 0}"#, 0.5266896740344446),
            (
                r#"{"class_weight": 0.5, "smoothing": 0.3}"#,
                0.3805018304959005,
            ),
        ] {
            let got = value(options).unwrap();
            assert!((got - expected).abs() < 1e-12, "{options}: {got}");
        }
        assert!(value(r#"{"smoothing": 1}"#).is_err());
    }

    #[test]
    fn keeps_the_contract() {
        testing::check_loss::<Gift>("gift", json!({})).unwrap();
        testing::check_loss::<Gift>("gift", json!({"class_weight": 0.0})).unwrap();
    }
}
