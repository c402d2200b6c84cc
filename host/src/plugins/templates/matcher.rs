//! Matcher "__NAME__": mean features of real and of synthetic images (Zhao and Bilen, WACV 2023). An example; replace it with your own.

use plugin_api::prelude::*;

/// `sum over classes of ||mean of real features - mean of synthetic ones||^2`, in a fresh network each iteration.
///
/// A matcher is its own options: each field is a key of `params` in an experiment file, and its documentation is what
/// `alambic plugin show __NAME__` prints.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct __TYPE__ {
    /// Real images per class in each iteration
    #[serde(default = "thirty_two")]
    #[schemars(range(min = 1))]
    real_per_class: usize,
}

fn thirty_two() -> usize {
    32
}

impl Matcher for __TYPE__ {
    fn forward(&self, x: &MatchInput<'_>) -> Result<Matched> {
        let network = x.lab.network()?;
        let values = x.lab.initial(x.ctx.iteration())?;
        Matched::by_class(x.synthetic, |class, own| {
            // one draw for both sides: the same happens to real and to synthetic images
            let mean = |images: &Tensor| -> Result<Tensor> {
                let images = x.lab.augment(images, false, u64::from(class))?;
                network.forward(&values, &images, x.ctx)?.feature("embedding")?.mean(&[0])
            };
            let real = mean(&x.lab.real(class, self.real_per_class, 0)?)?;
            (mean(own)? - real)?.sqr()?.sum_all()
        })
    }

    fn needs(&self) -> MatchNeeds {
        MatchNeeds { real_per_class: self.real_per_class, ..MatchNeeds::default() }
    }
}

export_plugin! { matcher "__NAME__": __TYPE__ = __DESCRIPTION__ }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{serde_json::json, testing};

    #[test]
    fn keeps_the_contract() {
        testing::check_matcher::<__TYPE__>("__NAME__", json!({})).unwrap();
        testing::check_matcher_gradients::<__TYPE__>("__NAME__", json!({"real_per_class": 2})).unwrap();
    }

    #[test]
    fn the_real_images_themselves_are_at_no_distance() {
        let device = testing::device();
        let lab = testing::TestLab::new(&device);
        let images = lab.real(1, 3, 0).unwrap().leaf().unwrap();
        let synthetic = Synthetic { images, classes: vec![1; 3], labels: None, learning_rate: None };
        let input = MatchInput { synthetic: &synthetic, lab: &lab, ctx: &testing::ctx("match") };
        let loss = __TYPE__ { real_per_class: 3 }.forward(&input).unwrap().loss;
        assert!(loss.to_scalar().unwrap().abs() < 1e-20);
    }
}
