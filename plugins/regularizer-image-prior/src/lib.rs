//! Priors of natural images: total variation and L2 norm (Mahendran and Vedaldi, CVPR 2015), as in DeepInversion (Yin et al.,
//! CVPR 2020) and in SRe2L's recover stage (Yin et al., NeurIPS 2023, section 3.2; `SRe2L/recover/utils.py`, `get_image_prior_losses`).

use plugin_api::prelude::*;

/// Which images the prior applies to.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Images {
    /// The augmented view that the network sees
    #[default]
    View,
    /// The whole optimised image
    Canvas,
}

/// Options of `image-prior`; at least one weight is above 0.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Weight of the mean absolute differences between neighbouring pixels, at least 0
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    tv_l1: f64,
    /// Weight of the Frobenius norms of differences between neighbouring pixels, at least 0; 1e-4 by default in SRe2L's code
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    tv_l2: f64,
    /// Weight of the mean L2 norm of an image, at least 0; 1e-5 by default in SRe2L's code
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    l2: f64,
    /// Which images: the view (as in SRe2L) or the canvas
    #[serde(default)]
    on: Images,
}

/// `tv_l1 sum_d mean|d| + tv_l2 sum_d ||d||_F + l2 1/N sum_n ||x_n||_2`, where `d` runs over the differences of horizontal,
/// vertical and both diagonal neighbours in the normalised images `x`, the whole batch at once.
///
/// The Frobenius norms are not divided by the batch size, as in the original code, so `tv_l2` is not independent of it.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "Options")]
struct ImagePrior(Options);

impl TryFrom<Options> for ImagePrior {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        let weights = [
            ("tv_l1", options.tv_l1),
            ("tv_l2", options.tv_l2),
            ("l2", options.l2),
        ];
        for (name, weight) in weights {
            ensure!(
                weight >= 0. && weight.is_finite(),
                "{name}: expected a weight of at least 0, got {weight}"
            );
        }
        ensure!(
            weights.iter().any(|(_, w)| *w > 0.),
            "all weights are 0; give tv_l1, tv_l2 or l2 a weight above 0"
        );
        Ok(Self(options))
    }
}

impl Regularizer for ImagePrior {
    fn forward(&self, x: &RegularizerInput<'_>) -> Result<Tensor> {
        let Options {
            tv_l1,
            tv_l2,
            l2,
            on,
        } = self.0;
        let images = match on {
            Images::View => x.view,
            Images::Canvas => x.canvas,
        };
        let mut terms = Vec::new();
        if tv_l1 > 0. || tv_l2 > 0. {
            for difference in neighbour_differences(images)? {
                if tv_l1 > 0. {
                    terms.push((difference.abs()?.mean_all()? * tv_l1)?);
                }
                if tv_l2 > 0. {
                    terms.push((difference.norm_all()? * tv_l2)?);
                }
            }
        }
        if l2 > 0. {
            terms.push((images.flatten_from(1)?.norm(&[1])?.mean_all()? * l2)?);
        }
        Tensor::stack(&terms.iter().collect::<Vec<_>>(), 0)?.sum_all()
    }
}

/// Each pixel minus its neighbour: to the right, below, above right and below right.
fn neighbour_differences(images: &Tensor) -> Result<[Tensor; 4]> {
    let [_, _, height, width] = images.dims().context("images")?;
    ensure!(
        height > 1 && width > 1,
        "image-prior: images of {height}x{width} have no neighbouring pixels; expected at least 2x2"
    );
    let (rows, columns) = (height - 1, width - 1);
    let (upper, lower) = (images.narrow(2, 0, rows)?, images.narrow(2, 1, rows)?);
    let left = |x: &Tensor| x.narrow(3, 0, columns);
    let right = |x: &Tensor| x.narrow(3, 1, columns);
    Ok([
        (left(images)? - right(images))?,
        (&upper - &lower)?,
        (left(&lower)? - right(&upper))?,
        (left(&upper)? - right(&lower))?,
    ])
}

export_plugin! { regularizer "image-prior": ImagePrior = "total variation and L2 norm of the images" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, serde_json::json, testing};

    // x = ((np.arange(24) * 7 % 11) / 4 - 1).reshape(2, 1, 3, 4)
    // d = [x[..., :, :-1] - x[..., :, 1:], x[..., :-1, :] - x[..., 1:, :],
    //      x[..., 1:, :-1] - x[..., :-1, 1:], x[..., :-1, :-1] - x[..., 1:, 1:]]
    fn value(options: &str) -> Result<f64> {
        let ctx = testing::ctx("recover");
        let pixels: Vec<f64> = (0..24).map(|i| f64::from(i * 7 % 11) / 4. - 1.).collect();
        let images = ctx.tensor(&pixels, &[2, 1, 3, 4])?;
        let others = (&images * 3.)?;
        let input = RegularizerInput {
            canvas: &others,
            ..RegularizerInput::new(&images, &ctx)
        };
        parse_options::<ImagePrior>(options)?
            .forward(&input)?
            .to_scalar()
    }

    #[track_caller]
    fn assert_close(got: Result<f64>, expected: f64) {
        let got = got.unwrap();
        assert!(
            (got - expected).abs() < 1e-12 * expected,
            "got {got}, expected {expected}"
        );
    }

    const TV_L1: f64 = 3.822916666666667; // sum(abs(e).mean() for e in d)
    const TV_L2: f64 = 16.13399983708494; // sum(np.linalg.norm(e.ravel()) for e in d)
    const L2: f64 = 2.888306770213876; // np.linalg.norm(x.reshape(2, -1), axis=1).mean()

    #[test]
    fn values_are_numpys() {
        assert_close(value(r#"{"tv_l1": 1}"#), TV_L1);
        assert_close(value(r#"{"tv_l2": 1}"#), TV_L2);
        assert_close(value(r#"{"l2": 1}"#), L2);
        assert_close(
            value(r#"{"tv_l1": 0.5, "tv_l2": 2, "l2": 3}"#),
            0.5 * TV_L1 + 2. * TV_L2 + 3. * L2,
        );
    }

    #[test]
    fn the_canvas_can_be_chosen() {
        assert_close(value(r#"{"l2": 1, "on": "canvas"}"#), 3. * L2);
    }

    #[test]
    fn nonsense_is_refused() {
        let error = |options| value(options).unwrap_err().to_string();
        assert_eq!(
            error("{}"),
            "all weights are 0; give tv_l1, tv_l2 or l2 a weight above 0"
        );
        assert_eq!(
            error(r#"{"tv_l2": -1}"#),
            "tv_l2: expected a weight of at least 0, got -1"
        );
    }

    #[test]
    fn a_single_pixel_has_no_neighbours() {
        let pixel = testing::ctx("recover")
            .tensor(&[1.], &[1, 1, 1, 1])
            .unwrap();
        let error = neighbour_differences(&pixel).err().unwrap().to_string();
        assert!(
            error.contains("images of 1x1 have no neighbouring pixels"),
            "{error}"
        );
    }

    #[test]
    fn keeps_the_contract() {
        let check = testing::check_regularizer::<ImagePrior>;
        check("image-prior", json!({"tv_l2": 1e-4, "l2": 1e-5})).unwrap();
        check("image-prior", json!({"tv_l1": 1.0, "on": "canvas"})).unwrap();
    }
}
