//! `layer-stats`: statistics of convolutions beside those of BatchNorms, as G-VBSM matches them (Shao et al., CVPR 2024), and partly
//! those of each class, as EDC does (Shao et al., NeurIPS 2024).

use std::sync::{Mutex, MutexGuard};

use plugin_api::prelude::*;

use crate::averages::Averages;

/// Options of `layer-stats`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Weight of the first layer in the forward pass, at least 0; the others have weight 1
    #[serde(default = "ten")]
    #[schemars(range(min = 0.0))]
    first_layer: f64,
    /// Side of the patches of a convolution's input that have statistics of their own, in pixels of it; 0 for none
    #[serde(default = "sixteen")]
    patch: u32,
    /// Share of the past in the average of the images' statistics over the iterations, from 0, none, to below 1: 0.8 in G-VBSM's code
    /// for CIFAR, 0.4 for ImageNet
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    average: f64,
    /// Probability of leaving a convolution out of an iteration, from 0 to below 1: 0.4 in G-VBSM's code for CIFAR
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    drop: f64,
    /// Share of the statistics of the images' own classes, from 0 to 1: 0.5 in EDC
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    classes: f64,
}

fn ten() -> f64 {
    10.
}
fn sixteen() -> u32 {
    16
}

/// How far the statistics of each layer's input are from real ones:
///
/// `sum_l w_l ((1 - classes) d(s_l, M_l) + classes d(s_l, C_l))`, `d` the sum of the Euclidean norms of what its statistics differ by,
/// layers in the order of their declaration, `w_1 = first_layer` and 1 for the others.
///
/// `s_l`: mean and population variance of each channel over (N, H, W); for a convolution also one mean and variance of each patch of its
/// input, resized to the next multiple of `patch`, over (N, C, patch, patch). `M_l`: of a BatchNorm the teacher's running ones, of a
/// convolution the mean over the batches of real images. `C_l`: the mean over the images of what their classes have: of a class the
/// mean over its real images of each image's own means and variances. With `average`, `s_l` is `a + x - stop(x)`, `a <- average a +
/// (1 - average) x` from 0 on: it has the value of the average and the gradient of the batch. A convolution that is left out keeps its
/// average. Each batch of images begins anew, where G-VBSM's code goes on with the averages of the batch before.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "Options")]
pub(crate) struct LayerStats {
    options: Options,
    #[serde(skip)]
    real: Mutex<Option<Averages>>,
    #[serde(skip)]
    past: Mutex<Past>,
}

/// The averages of the images' statistics before and after the last iteration.
#[derive(Default)]
struct Past {
    /// Of which batch and iteration the last values are.
    at: Option<(u64, u64)>,
    before: Vec<(String, Tensor)>,
    after: Vec<(String, Tensor)>,
}

impl Past {
    /// Leaves the averages of a layer as they were.
    fn keep(&mut self, layer: &str) {
        let of_layer = |key: &str| key.split_once('.').is_some_and(|(_, name)| name == layer);
        let kept = self.before.iter().filter(|(key, _)| of_layer(key));
        self.after.extend(kept.cloned());
    }
}

impl TryFrom<Options> for LayerStats {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        let Options {
            first_layer,
            average,
            drop,
            classes,
            ..
        } = options;
        ensure!(
            first_layer >= 0. && first_layer.is_finite(),
            "first_layer: expected a weight of at least 0, got {first_layer}"
        );
        for (key, share) in [("average", average), ("drop", drop)] {
            ensure!(
                (0. ..1.).contains(&share),
                "{key}: expected a number from 0 to below 1, got {share}"
            );
        }
        ensure!(
            (0. ..=1.).contains(&classes),
            "classes: expected a number from 0 to 1, got {classes}"
        );
        Ok(Self {
            options,
            real: Mutex::default(),
            past: Mutex::default(),
        })
    }
}

/// The statistics of one layer: what each is called, and its values.
type Statistics = Vec<(&'static str, Tensor)>;

impl LayerStats {
    /// Mean and variance of the channels, and of the patches of a convolution, over a batch or, with `each`, for each image.
    ///
    /// # Shapes
    /// [N, C, H, W] -> [C] and [patches], or with `each` [N, C] and [N, patches]
    fn statistics(&self, layer: &LayerInput, each: bool) -> Result<Statistics> {
        let x = &layer.input;
        let x = match x.shape().as_slice() {
            [_, _, _, _] => x.clone(),
            [n, c] => x.reshape(&[*n, *c, 1, 1])?,
            [_, _, _] => x.permute(&[0, 2, 1])?.unsqueeze(3)?,
            shape => bail!("an input of shape {shape:?}, expected images, tokens or features"),
        };
        let places: &[usize] = if each { &[2, 3] } else { &[0, 2, 3] };
        let mut all = vec![("mean", x.mean(places)?), ("var", x.var(places, false)?)];
        let side = self.options.patch as usize;
        if layer.kind == LayerKind::Conv && side > 0 {
            let [n, channels, height, width] = x.dims()?;
            let [rows, columns] = [height.div_ceil(side), width.div_ceil(side)];
            let whole = CropBox {
                top: 0.,
                left: 0.,
                height: height as f64,
                width: width as f64,
            };
            let resized = match (height, width) == (rows * side, columns * side) {
                true => x,
                false => x.crop_resize(&[whole], rows * side, columns * side)?,
            };
            // [N, C, rows, side, columns, side], a patch at (rows, columns).
            let patches = resized.reshape(&[n, channels, rows, side, columns, side])?;
            let within: &[usize] = if each { &[1, 3, 5] } else { &[0, 1, 3, 5] };
            let flat = |t: Tensor| match each {
                true => t.reshape(&[n, rows * columns]),
                false => t.reshape(&[rows * columns]),
            };
            all.push(("patch_mean", flat(patches.mean(within)?)?));
            all.push(("patch_var", flat(patches.var(within, false)?)?));
        }
        Ok(all)
    }

    /// The statistics of a layer with what its name in tables begins with, averaged over the iterations.
    fn averaged(&self, name: &str, statistics: Statistics, past: &mut Past) -> Result<Statistics> {
        let alpha = self.options.average;
        if alpha == 0. {
            return Ok(statistics);
        }
        let averaged = statistics.into_iter().map(|(what, x)| {
            let key = format!("{what}.{name}");
            let own = x.detach()?;
            let new = (&own * (1. - alpha))?;
            let new = match past.before.iter().find(|(n, _)| *n == key) {
                Some((_, before)) => (new + (before * alpha)?)?,
                None => new,
            };
            past.after.push((key, new.clone()));
            // The value of the average, the gradient of the batch.
            Ok((what, (x + (new - own)?)?))
        });
        averaged.collect()
    }

    /// What a layer's statistics are compared with: of all real images, and of the images' classes.
    fn real(
        &self,
        x: &RegularizerInput<'_>,
        layer: &LayerInput,
        what: &str,
    ) -> Result<[Option<Tensor>; 2]> {
        let share = self.options.classes;
        let averages = lock(&self.real);
        let averages = || match &*averages {
            Some(averages) => Ok(averages),
            None => bail!("layer-stats needs statistics of real images, and it was shown none"),
        };
        let name = |of: &str| format!("{of}.{what}.{}.{}", layer.index, layer.name);
        let global = match (share < 1., layer.kind, what) {
            (false, ..) => None,
            (true, LayerKind::BatchNorm, _) => {
                let Some(norm) = x.batch_norms.iter().find(|norm| norm.name == layer.name) else {
                    bail!("BatchNorm \"{}\" has no running statistics", layer.name);
                };
                let running = match what {
                    "mean" => &norm.running_mean,
                    _ => &norm.running_var,
                };
                Some(running.clone())
            }
            (true, ..) => Some(averages()?.rows(&name("all"), &[0])?.squeeze(0)?),
        };
        let own = match share > 0. {
            false => None,
            true => {
                let rows: Vec<usize> = x.labels.iter().map(|&class| class as usize).collect();
                Some(averages()?.rows(&name("class"), &rows)?.mean(&[0])?)
            }
        };
        Ok([global, own])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|broken| broken.into_inner())
}

impl Regularizer for LayerStats {
    fn forward(&self, x: &RegularizerInput<'_>) -> Result<Tensor> {
        let mut past = lock(&self.past);
        let at = (x.ctx.batch(), x.ctx.iteration());
        if past.at != Some(at) {
            // Another batch has other images: their average begins anew.
            let goes_on = past.at.is_some_and(|(batch, _)| batch == at.0);
            past.before = match goes_on {
                true => std::mem::take(&mut past.after),
                false => Vec::new(),
            };
            past.at = Some(at);
        }
        past.after.clear();
        let mut rng = x.ctx.rng("layer-stats");
        let mut sum: Option<Tensor> = None;
        for (i, layer) in x.layers.iter().enumerate() {
            let dropped = layer.kind == LayerKind::Conv && rng.coin(self.options.drop);
            let place = || layer.name.clone();
            let name = format!("{}.{}", layer.index, layer.name);
            if dropped {
                past.keep(&name);
                continue;
            }
            let statistics = self.statistics(layer, false).with_context(place)?;
            let statistics = self
                .averaged(&name, statistics, &mut past)
                .with_context(place)?;
            let weight = if i == 0 { self.options.first_layer } else { 1. };
            for (what, got) in statistics {
                let [global, own] = self.real(x, layer, what).with_context(place)?;
                let shares = [1. - self.options.classes, self.options.classes];
                for (real, share) in [global, own].into_iter().zip(shares) {
                    let Some(real) = real else { continue };
                    let apart = ((real - &got)?.norm_all()? * (weight * share))?;
                    sum = Some(match sum {
                        None => apart,
                        Some(sum) => (sum + apart)?,
                    });
                }
            }
        }
        match sum {
            Some(sum) => Ok(sum),
            None if x.layers.is_empty() => {
                bail!("layer-stats: the network has neither convolutions nor BatchNorms")
            }
            None => x.view.mean_all()? * 0.,
        }
    }

    fn needs(&self) -> Needs {
        Needs {
            layers: vec![LayerKind::BatchNorm, LayerKind::Conv],
            reference: true,
            ..Needs::default()
        }
    }

    fn observe(&self, x: &RegularizerInput<'_>) -> Result<()> {
        let [n, classes] = x.logits.dims().context("logits")?;
        let mut real = lock(&self.real);
        if real.is_none() {
            *real = Some(Averages::new(x.ctx)?);
        }
        let averages = real.as_mut().expect("made above");
        for layer in x.layers {
            let name = |of: &str, what: &str| format!("{of}.{what}.{}.{}", layer.index, layer.name);
            if layer.kind == LayerKind::Conv {
                for (what, values) in self.statistics(layer, false)? {
                    averages.add(&name("all", what), (0, 1), &values.to_vec_f64()?, n)?;
                }
            }
            if self.options.classes > 0. {
                for (what, values) in self.statistics(layer, true)? {
                    let [_, width] = values.dims()?;
                    let rows = values.to_vec_f64()?;
                    for (row, &class) in rows.chunks(width).zip(x.labels) {
                        averages.add(&name("class", what), (class as usize, classes), row, 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn reference(&self) -> Result<Option<State>> {
        lock(&self.real)
            .as_ref()
            .map(Averages::to_state)
            .transpose()
    }

    fn refer_to(&self, state: &State) -> Result<()> {
        *lock(&self.real) = Some(Averages::of_state(state)?);
        Ok(())
    }

    fn save(&self) -> Result<Option<State>> {
        let past = lock(&self.past);
        let Some((batch, iteration)) = past.at.filter(|_| self.options.average > 0.) else {
            return Ok(None);
        };
        let place = At { batch, iteration };
        let named = |prefix: &str, all: &[(String, Tensor)]| -> Vec<(String, Tensor)> {
            let named = all.iter();
            named
                .map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone()))
                .collect()
        };
        Ok(Some(State {
            tensors: [named(BEFORE, &past.before), named(AFTER, &past.after)].concat(),
            json: plugin_api::serde_json::to_string(&place)?,
        }))
    }

    fn load(&self, state: &State) -> Result<()> {
        let At { batch, iteration } = plugin_api::component::parse_options(&state.json)?;
        let under = |prefix: &str| -> Vec<(String, Tensor)> {
            let named = state.tensors.iter();
            let own = named
                .filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_owned(), t.clone())));
            own.collect()
        };
        *lock(&self.past) = Past {
            at: Some((batch, iteration)),
            before: under(BEFORE),
            after: under(AFTER),
        };
        Ok(())
    }
}

/// What the names of averages in a state begin with.
const BEFORE: &str = "before.";
const AFTER: &str = "after.";

/// Of which batch and iteration a state's averages are.
#[derive(Serialize, Deserialize)]
struct At {
    batch: u64,
    iteration: u64,
}

#[cfg(test)]
mod tests;
