//! SRe2L's alignment with BatchNorm statistics (Yin et al., NeurIPS 2023, section 3.2, R_BN; `SRe2L/recover/utils.py`,
//! `BNFeatureHook`), after DeepInversion (Yin et al., CVPR 2020); with statistics of each class as in LPLD (Xiao and He, NeurIPS 2024)
//! and WMDD (Liu et al., ICCV 2025).

mod averages;
mod classes;
mod layers;

use std::sync::Mutex;

use plugin_api::prelude::*;

use averages::Averages;
use classes::{Classes, observe, real};

/// Whose statistics are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Per {
    /// Those of the batch with the teacher's running ones
    #[default]
    Batch,
    /// Those of each class in the batch with those of its real images (`recover.reference`)
    Class,
}

/// Options of `bn-stats`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Weight of the first BatchNorm in the forward pass, at least 0; the others have weight 1
    #[serde(default = "ten")]
    #[schemars(range(min = 0.0))]
    first_layer: f64,
    /// Weight of the distance of the variances, at least 0; that of the means has weight 1
    #[serde(default = "one")]
    #[schemars(range(min = 0.0))]
    variance: f64,
    /// Whose statistics are compared
    #[serde(default)]
    per: Per,
}

fn ten() -> f64 {
    10.
}
fn one() -> f64 {
    1.
}

/// How far the statistics of each BatchNorm's input are from real ones:
///
/// `sum_l w_l (variance ||V_l - var_l||_2 + ||M_l - mean_l||_2)`, with `w_1 = first_layer` and 1 for the others.
///
/// `V_l` and `M_l` are the teacher's running statistics, or with `per = "class"` those of the real images of a class, and the sum is
/// the mean over the classes in the batch. The norms run over channels and are not squared; `var` is the population variance over
/// (N, H, W), not the unbiased one that the running variance was made of, as in the original code.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "Options")]
struct BnStats {
    options: Options,
    #[serde(skip)]
    real: Mutex<Option<Averages>>,
}

impl TryFrom<Options> for BnStats {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        for (key, weight) in [
            ("first_layer", options.first_layer),
            ("variance", options.variance),
        ] {
            ensure!(
                weight >= 0. && weight.is_finite(),
                "{key}: expected a weight of at least 0, got {weight}"
            );
        }
        Ok(Self {
            options,
            real: Mutex::default(),
        })
    }
}

impl BnStats {
    /// `variance ||V - var||_2 + ||M - mean||_2` over the last dimension, averaged over rows where there are several.
    fn distance(&self, got: [&Tensor; 2], real: [&Tensor; 2]) -> Result<Tensor> {
        let [mean, var] = [0, 1].map(|i| {
            let apart = (real[i] - got[i])?;
            match apart.rank() {
                1 => apart.norm_all(),
                _ => apart.norm(&[1])?.mean_all(),
            }
        });
        (var? * self.options.variance)? + mean?
    }

    fn of_batch(&self, x: &RegularizerInput<'_>) -> Result<Vec<Tensor>> {
        let distances = x.batch_norms.iter().map(|bn| {
            let real = [&bn.running_mean, &bn.running_var];
            let distance = self.distance([&bn.mean, &bn.var], real);
            distance.with_context(|| bn.name.clone())
        });
        distances.collect()
    }

    fn of_classes(&self, x: &RegularizerInput<'_>) -> Result<Vec<Tensor>> {
        let averages = self.lock();
        let Some(averages) = &*averages else {
            bail!(
                "bn-stats: per = \"class\" needs statistics of real images, and it was shown none"
            )
        };
        let classes = Classes::of(x.labels, x.ctx)?;
        let distances = x.layers.iter().map(|layer| {
            let [mean, var] = classes.statistics(&layer.input)?;
            let [real_mean, real_var] = real(averages, &layer.name, &classes.present)?;
            let distance = self.distance([&mean, &var], [&real_mean, &real_var]);
            distance.with_context(|| layer.name.clone())
        });
        distances.collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Averages>> {
        self.real
            .lock()
            .unwrap_or_else(|broken| broken.into_inner())
    }
}

impl Regularizer for BnStats {
    fn forward(&self, x: &RegularizerInput<'_>) -> Result<Tensor> {
        let distances = match self.options.per {
            Per::Batch => self.of_batch(x)?,
            Per::Class => self.of_classes(x)?,
        };
        let [first, others @ ..] = distances.as_slice() else {
            bail!(
                "bn-stats: the network has no BatchNorm; use an architecture with norm = \"batch\", or drop bn-stats"
            )
        };
        others
            .iter()
            .try_fold((first * self.options.first_layer)?, |sum, distance| {
                sum + distance
            })
    }

    fn needs(&self) -> Needs {
        let by_class = self.options.per == Per::Class;
        Needs {
            batch_norm: true,
            layers: by_class
                .then_some(LayerKind::BatchNorm)
                .into_iter()
                .collect(),
            reference: by_class,
            ..Needs::default()
        }
    }

    fn observe(&self, x: &RegularizerInput<'_>) -> Result<()> {
        let [_, classes] = x.logits.dims().context("logits")?;
        let mut averages = self.lock();
        if averages.is_none() {
            *averages = Some(Averages::new(x.ctx)?);
        }
        observe(averages.as_mut().expect("made above"), x, classes)
    }

    fn reference(&self) -> Result<Option<State>> {
        self.lock().as_ref().map(Averages::to_state).transpose()
    }

    fn refer_to(&self, state: &State) -> Result<()> {
        *self.lock() = Some(Averages::of_state(state)?);
        Ok(())
    }
}

export_plugin! {
    regularizer "bn-stats": BnStats =
        "distance of BatchNorm statistics from the teacher's running ones, or from those of each class's real images",
    regularizer "layer-stats": layers::LayerStats =
        "distance of the statistics of BatchNorms, convolutions and patches from those of real images (G-VBSM, EDC)",
}

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
            batch_norms: &all[..layers],
            ..RegularizerInput::new(&images, &ctx)
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
        // r = n(a([0.3, 0, 0]) - a([0, 0.1, -0.2])) + 11 * n(a([1.5, 1, 1]) - a([1, 0.5, 2]))
        close(value(r#"{"variance": 11}"#, 1), 138.46359323984873); // 10 * r
    }

    /// `((arange(n) * k % 17) / 4 - 2).reshape(dims)`.
    fn made(ctx: &Ctx, dims: &[usize], k: usize) -> Result<Tensor> {
        let values = (0..dims.iter().product()).map(|i: usize| (i * k % 17) as f64 / 4. - 2.);
        ctx.tensor(&values.collect::<Vec<_>>(), dims)
    }

    /// What goes into a convolutional and a fully connected BatchNorm.
    fn inputs(ctx: &Ctx, images: usize, k: [usize; 2]) -> Result<Vec<LayerInput>> {
        let layer = |index: usize, dims: &[usize]| -> Result<LayerInput> {
            Ok(LayerInput {
                index,
                name: format!("bn{index}"),
                kind: LayerKind::BatchNorm,
                input: made(ctx, dims, k[index])?,
            })
        };
        Ok(vec![layer(0, &[images, 2, 2, 2])?, layer(1, &[images, 4])?])
    }

    fn observe(bn_stats: &BnStats, labels: &[u32], k: [usize; 2]) -> Result<()> {
        let ctx = testing::ctx("recover");
        let logits = ctx.tensor(&vec![0.; 2 * labels.len()], &[labels.len(), 2])?;
        let layers = inputs(&ctx, labels.len(), k)?;
        bn_stats.observe(&RegularizerInput {
            logits: &logits,
            labels,
            layers: &layers,
            ..RegularizerInput::new(&logits, &ctx)
        })
    }

    fn class_value(bn_stats: &BnStats) -> Result<f64> {
        let ctx = testing::ctx("recover");
        let layers = inputs(&ctx, 3, [3, 11])?;
        let view = made(&ctx, &[3, 1], 1)?;
        let input = RegularizerInput {
            labels: &[1, 0, 1],
            layers: &layers,
            ..RegularizerInput::new(&view, &ctx)
        };
        bn_stats.forward(&input)?.to_scalar()
    }

    // gen = lambda shape, k: ((np.arange(np.prod(shape)) * k % 17) / 4 - 2).reshape(shape)
    // real = [[(gen((2, 2, 2, 2), 5), [1, 1]), (gen((3, 2, 2, 2), 7), [0, 1, 0])],
    //         [(gen((2, 4), 13), [1, 1]), (gen((3, 4), 6), [0, 1, 0])]]
    // x = [gen((3, 2, 2, 2), 3), gen((3, 4), 11)]; of = lambda a, l, c: a[np.array(l) == c]
    // axes = lambda a: (0, 2, 3) if a.ndim == 4 else 0
    // def dist(x, real, v, c):
    //     r, g = np.concatenate([of(a, l, c) for a, l in real]), of(x, [1, 0, 1], c); d = axes(x)
    //     return n(g.mean(d) - r.mean(d)) + v * n(g.var(d) - r.var(d))
    // [sum(w * np.mean([dist(x[i], real[i], v, c) for c in (0, 1)]) for i, w in enumerate((10, 1))) for v in (1, 11)]
    #[test]
    fn statistics_of_classes_are_numpys() {
        for (options, expected) in [
            (r#"{"per": "class"}"#, 22.262464827148285),
            (r#"{"per": "class", "variance": 11}"#, 140.8428329752307),
        ] {
            let bn_stats: BnStats = parse_options(options).unwrap();
            observe(&bn_stats, &[1, 1], [5, 13]).unwrap();
            // Another goes on from where this one is.
            let going_on: BnStats = parse_options(options).unwrap();
            let state = bn_stats.reference().unwrap().unwrap();
            going_on.refer_to(&state).unwrap();
            for bn_stats in [bn_stats, going_on] {
                observe(&bn_stats, &[0, 1, 0], [7, 6]).unwrap();
                let got = class_value(&bn_stats).unwrap();
                assert!(
                    (got - expected).abs() < 1e-12,
                    "got {got}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn classes_without_statistics_are_told() {
        let bn_stats: BnStats = parse_options(r#"{"per": "class"}"#).unwrap();
        let error = class_value(&bn_stats).unwrap_err().to_string();
        assert!(error.contains("statistics of real images"), "{error}");
        observe(&bn_stats, &[1, 1], [5, 13]).unwrap();
        let error = class_value(&bn_stats).unwrap_err().to_string();
        assert!(error.contains("no real image of class 0"), "{error}");
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
        testing::check_regularizer::<BnStats>("bn-stats", json!({"per": "class"})).unwrap();
    }
}
