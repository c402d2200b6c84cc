//! Loss "__NAME__": focal cross-entropy (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017). An example; replace it with your own.

use plugin_api::prelude::*;

/// `mean over images of -(1 - p)^gamma log p`, with p the probability of the image's class.
///
/// A loss is its own options: each field is a key of `params` in an experiment file, and its documentation is what
/// `alambic plugin show __NAME__` prints.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct __TYPE__ {
    /// How strongly easy images are down-weighted; 0 is plain cross-entropy
    #[serde(default = "two")]
    #[schemars(range(min = 0.0))]
    gamma: f64,
}

fn two() -> f64 {
    2.
}

impl Loss for __TYPE__ {
    fn forward(&self, x: &LossInput<'_>) -> Result<Tensor> {
        ensure!(self.gamma >= 0., "gamma: expected at least 0, got {}", self.gamma);
        let [n, _classes] = x.logits.dims().context("logits")?;
        let targets = x.targets.hard()?;
        let all_log_p = x.logits.log_softmax(1)?; // [N, C]
        let of = |labels: &Tensor| -> Result<Tensor> {
            let log_p = all_log_p.gather(&labels.reshape(&[n, 1])?, 1)?.reshape(&[n])?;
            let weight = log_p.exp()?.affine(-1., 1.)?.powf(self.gamma)?;
            (weight * &log_p)?.neg() // [N]
        };
        let own = of(&targets.labels)?;
        match (&targets.labels_b, &targets.lambda) {
            // cutmix and mixup: each image has two labels, and lambda is the share of the first
            (Some(labels_b), Some(lambda)) => {
                let partner = (of(labels_b)? * lambda.affine(-1., 1.)?)?;
                ((own * lambda)? + partner)?.mean_all()
            }
            _ => own.mean_all(),
        }
    }
}

export_plugin! { loss "__NAME__": __TYPE__ = __DESCRIPTION__ }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{serde_json::json, testing};

    #[test]
    fn keeps_the_contract() {
        testing::check_loss::<__TYPE__>("__NAME__", json!({})).unwrap();
        testing::check_loss::<__TYPE__>("__NAME__", json!({"gamma": 0.0})).unwrap();
    }

    #[test]
    fn easy_images_count_less() {
        let ctx = testing::ctx("recover");
        let logits = ctx.tensor(&[0., 0.], &[1, 2]).unwrap();
        let targets = Targets::labels(ctx.indices(&[1], &[1]).unwrap());
        let input = LossInput { logits: &logits, targets: &targets, features: &[], ctx: &ctx };
        let value = |gamma| __TYPE__ { gamma }.forward(&input).unwrap().to_scalar().unwrap();
        // p = 1/2: ln 2 for gamma 0, and a quarter of it for gamma 2
        assert!((value(0.) - 2f64.ln()).abs() < 1e-12);
        assert!((value(2.) - 2f64.ln() / 4.).abs() < 1e-12);
    }
}
