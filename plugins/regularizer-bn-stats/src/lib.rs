//! SRe2L's alignment with BatchNorm statistics (Yin et al., NeurIPS 2023, section 3.2, R_BN; `SRe2L/recover/utils.py`,
//! `BNFeatureHook`), after DeepInversion (Yin et al., CVPR 2020).

use plugin_api::prelude::*;

/// Options of `bn-stats`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Weight of the first BatchNorm in the forward pass, at least 0; the others have weight 1
    #[serde(default = "ten")]
    #[schemars(range(min = 0.0))]
    first_layer: f64,
}

fn ten() -> f64 {
    10.
}

/// How far the statistics of each BatchNorm's input are from the teacher's running ones:
///
/// `sum_l w_l (||running_var_l - var_l||_2 + ||running_mean_l - mean_l||_2)`, with `w_1 = first_layer` and 1 for the others.
///
/// The norms run over channels and are not squared; `var` is the population variance over (N, H, W), not the unbiased one that
/// the running variance was made of, as in the original code.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "Options")]
struct BnStats(Options);

impl TryFrom<Options> for BnStats {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        let weight = options.first_layer;
        ensure!(
            weight >= 0. && weight.is_finite(),
            "first_layer: expected a weight of at least 0, got {weight}"
        );
        Ok(Self(options))
    }
}

impl Regularizer for BnStats {
    fn forward(&self, x: &RegularizerInput<'_>) -> Result<Tensor> {
        let distances = x
            .batch_norms
            .iter()
            .map(|bn| distance(bn).with_context(|| bn.name.clone()));
        let distances = distances.collect::<Result<Vec<Tensor>>>()?;
        let [first, others @ ..] = distances.as_slice() else {
            bail!(
                "bn-stats: the network has no BatchNorm; use an architecture with norm = \"batch\", or drop bn-stats"
            )
        };
        others
            .iter()
            .try_fold((first * self.0.first_layer)?, |sum, distance| {
                sum + distance
            })
    }

    fn needs(&self) -> Needs {
        Needs {
            batch_norm: true,
            ..Needs::default()
        }
    }
}

/// `||running_var - var||_2 + ||running_mean - mean||_2` of one layer.
fn distance(bn: &BatchNormInput) -> Result<Tensor> {
    let var = (&bn.running_var - &bn.var)?.norm_all()?;
    let mean = (&bn.running_mean - &bn.mean)?.norm_all()?;
    var + mean
}

export_plugin! { regularizer "bn-stats": BnStats = "distance of BatchNorm statistics from the teacher's running ones" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, serde_json::json, testing};

    fn layer(
        ctx: &Ctx,
        name: &str,
        [mean, var, running_mean, running_var]: [&[f64]; 4],
    ) -> Result<BatchNormInput> {
        let tensor = |values: &[f64]| ctx.tensor(values, &[values.len()]);
        Ok(BatchNormInput {
            name: name.to_owned(),
            mean: tensor(mean)?,
            var: tensor(var)?,
            running_mean: tensor(running_mean)?,
            running_var: tensor(running_var)?,
        })
    }

    fn value(options: &str, layers: usize) -> Result<f64> {
        let ctx = testing::ctx("recover");
        let regularizer: BnStats = parse_options(options)?;
        let images = ctx.tensor(&[0.; 4], &[1, 1, 2, 2])?;
        let all = [
            layer(
                &ctx,
                "bn1",
                [
                    &[0., 0.1, -0.2],
                    &[1., 0.5, 2.],
                    &[0.3, 0., 0.],
                    &[1.5, 1., 1.],
                ],
            )?,
            layer(
                &ctx,
                "bn2",
                [&[1., -1.], &[0.2, 0.4], &[0., 0.5], &[1., 1.]],
            )?,
        ];
        let input = RegularizerInput {
            view: &images,
            canvas: &images,
            batch_norms: &all[..layers],
            features: &[],
            ctx: &ctx,
        };
        regularizer.forward(&input)?.to_scalar()
    }

    // n = np.linalg.norm; a = np.array
    // r1 = n(a([1.5, 1, 1]) - a([1, 0.5, 2])) + n(a([0.3, 0, 0]) - a([0, 0.1, -0.2]))  # 1.598910610068983
    // r2 = n(a([1, 1]) - a([0.2, 0.4])) + n(a([0, 0.5]) - a([1, -1]))                  # 2.802775637731995
    #[test]
    fn values_are_numpys() {
        let close = |got: Result<f64>, expected: f64| {
            let got = got.unwrap();
            assert!(
                (got - expected).abs() < 1e-12,
                "got {got}, expected {expected}"
            );
        };
        close(value("{}", 2), 18.791881738421825); // 10 * r1 + r2
        close(value("{}", 1), 15.98910610068983); // 10 * r1
        close(value(r#"{"first_layer": 1}"#, 2), 4.401686247800978); // r1 + r2
    }

    #[test]
    fn a_network_without_batch_norm_is_refused() {
        assert!(parse_options::<BnStats>("{}").unwrap().needs().batch_norm);
        let error = value("{}", 0).unwrap_err().to_string();
        assert!(error.contains("the network has no BatchNorm"), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        let error = value(r#"{"first_layer": -1}"#, 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "first_layer: expected a weight of at least 0, got -1"
        );
    }

    #[test]
    fn keeps_the_contract() {
        testing::check_regularizer::<BnStats>("bn-stats", json!({})).unwrap();
        testing::check_regularizer::<BnStats>("bn-stats", json!({"first_layer": 1.0})).unwrap();
    }
}
