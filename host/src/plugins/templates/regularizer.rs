//! Regularizer "__NAME__": total variation of the images (Mahendran and Vedaldi, CVPR 2015). An example; replace it with your own.

use plugin_api::prelude::*;

/// The mean squared difference of neighbours, along rows and along columns:
/// `mean (x[i+1, j] - x[i, j])^2 + mean (x[i, j+1] - x[i, j])^2`.
///
/// A regularizer is its own options: each field is a key of `params` in an experiment file, and its documentation is what
/// `alambic plugin show __NAME__` prints. Its weight in the sum is set in the experiment file, not here.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct __TYPE__ {
    /// Penalise the whole optimised images instead of the augmented view that the network sees
    #[serde(default)]
    canvas: bool,
}

impl Regularizer for __TYPE__ {
    fn forward(&self, x: &RegularizerInput<'_>) -> Result<Tensor> {
        let images = if self.canvas { x.canvas } else { x.view }; // [N, C, H, W]
        let variation = |dim: usize| -> Result<Tensor> {
            let size = images.dim(dim)?;
            ensure!(size > 1, "images of shape {:?}: expected at least 2 rows and columns", images.shape());
            (images.narrow(dim, 1, size - 1)? - images.narrow(dim, 0, size - 1)?)?.sqr()?.mean_all()
        };
        variation(2)? + variation(3)?
    }
}

export_plugin! { regularizer "__NAME__": __TYPE__ = __DESCRIPTION__ }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{serde_json::json, testing};

    #[test]
    fn keeps_the_contract() {
        testing::check_regularizer::<__TYPE__>("__NAME__", json!({})).unwrap();
        testing::check_regularizer::<__TYPE__>("__NAME__", json!({"canvas": true})).unwrap();
    }

    #[test]
    fn a_ramp_varies_by_its_steps() {
        let ctx = testing::ctx("recover");
        // rows differ by 3, columns by 1
        let ramp = ctx.tensor(&[0., 1., 3., 4.], &[1, 1, 2, 2]).unwrap();
        let flat = ramp.zeros_like().unwrap();
        let input = RegularizerInput { canvas: &flat, ..RegularizerInput::new(&ramp, &ctx) };
        let value = |canvas| __TYPE__ { canvas }.forward(&input).unwrap().to_scalar().unwrap();
        assert_eq!((value(false), value(true)), (10., 0.));
    }
}
