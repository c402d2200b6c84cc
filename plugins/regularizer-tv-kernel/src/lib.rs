//! Total variation as `image-prior` computes it, in two passes over the images where tensor operations take a dozen: an example of
//! a plugin with kernels of its own, on slices of the CPU and in CUDA C++ ([`plugin_api::kernel`]).

mod tv;

use plugin_api::{kernel::apply, prelude::*};

use tv::TotalVariation;

/// Which images the penalty applies to.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Images {
    /// The augmented view that the network sees
    #[default]
    View,
    /// The whole optimised image
    Canvas,
}

/// Options of `tv-kernel`; at least one weight is above 0.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Weight of the mean absolute differences between neighbouring pixels, at least 0
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    tv_l1: f64,
    /// Weight of the Frobenius norms of differences of neighbours, at least 0
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    tv_l2: f64,
    /// Which images: the view or the canvas
    #[serde(default)]
    on: Images,
}

/// The total variation of `image-prior`, whose formula and source stand there.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "Options")]
struct TvKernel(Options);

impl TryFrom<Options> for TvKernel {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        for (name, weight) in [("tv_l1", options.tv_l1), ("tv_l2", options.tv_l2)] {
            ensure!(
                weight >= 0. && weight.is_finite(),
                "{name}: expected a weight of at least 0, got {weight}"
            );
        }
        ensure!(
            options.tv_l1 + options.tv_l2 > 0.,
            "both weights are 0; give tv_l1 or tv_l2 a weight above 0"
        );
        Ok(Self(options))
    }
}

impl Regularizer for TvKernel {
    fn forward(&self, x: &RegularizerInput<'_>) -> Result<Tensor> {
        let Options { tv_l1, tv_l2, on } = self.0;
        let images = match on {
            Images::View => x.view,
            Images::Canvas => x.canvas,
        };
        apply(TotalVariation { tv_l1, tv_l2 }, &[images])
    }
}

export_plugin! { regularizer "tv-kernel": TvKernel = "total variation of the images, with its own kernels" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, serde_json::json, testing};

    // The images and the values of image-prior's own test, which are NumPy's.
    fn value(options: &str) -> Result<f64> {
        let ctx = testing::ctx("recover");
        let pixels: Vec<f64> = (0..24).map(|i| f64::from(i * 7 % 11) / 4. - 1.).collect();
        let images = ctx.tensor(&pixels, &[2, 1, 3, 4])?;
        let others = (&images * 3.)?;
        let input = RegularizerInput {
            canvas: &others,
            ..RegularizerInput::new(&images, &ctx)
        };
        parse_options::<TvKernel>(options)?
            .forward(&input)?
            .to_scalar()
    }

    #[track_caller]
    fn assert_close(options: &str, expected: f64) {
        let got = value(options).unwrap();
        assert!(
            (got - expected).abs() < 1e-12 * expected,
            "got {got}, expected {expected}"
        );
    }

    #[test]
    fn values_are_those_of_image_prior() {
        assert_close(r#"{"tv_l1": 1}"#, 3.822916666666667);
        assert_close(r#"{"tv_l2": 1}"#, 16.13399983708494);
        assert_close(r#"{"tv_l1": 1, "on": "canvas"}"#, 3. * 3.822916666666667);
    }

    #[test]
    fn nonsense_is_refused() {
        let error = |options| value(options).unwrap_err().to_string();
        assert_eq!(
            error("{}"),
            "both weights are 0; give tv_l1 or tv_l2 a weight above 0"
        );
        assert_eq!(
            error(r#"{"tv_l2": -1}"#),
            "tv_l2: expected a weight of at least 0, got -1"
        );
    }

    #[test]
    fn keeps_the_contract() {
        let check = testing::check_regularizer::<TvKernel>;
        check("tv-kernel", json!({"tv_l2": 1e-4})).unwrap();
        check("tv-kernel", json!({"tv_l1": 1.0, "on": "canvas"})).unwrap();
    }
}
