//! Mean and variance of layers' inputs for each class: of a batch, differentiable, and of real images, gathered batch by batch.

use plugin_api::{prelude::*, serde_json::json};

use crate::averages::rounded;

/// Which images of a batch are of which class.
pub(crate) struct Classes {
    /// The classes that occur, ascending, K of them.
    pub(crate) present: Vec<u32>,
    /// Images of each.
    pub(crate) counts: Vec<usize>,
    /// What takes the mean over each class's images, [K, N].
    mean: Tensor,
}

impl Classes {
    /// Of the classes of N images.
    ///
    /// # Errors
    /// When there are none.
    pub(crate) fn of(labels: &[u32], ctx: &Ctx) -> Result<Self> {
        ensure!(!labels.is_empty(), "the host gave no labels of the images");
        let mut present = labels.to_vec();
        present.sort_unstable();
        present.dedup();
        let count = |class: &u32| labels.iter().filter(|label| *label == class).count();
        let counts: Vec<usize> = present.iter().map(count).collect();
        let mut weights = Vec::with_capacity(present.len() * labels.len());
        for (class, &count) in present.iter().zip(&counts) {
            let share = |label: &u32| {
                if label == class {
                    1. / count as f64
                } else {
                    0.
                }
            };
            weights.extend(labels.iter().map(share));
        }
        let mean = ctx.tensor(&weights, &[present.len(), labels.len()])?;
        Ok(Self {
            present,
            counts,
            mean,
        })
    }

    /// Mean and population variance of each channel over all images and places of a class.
    ///
    /// # Shapes
    /// [N, C, H, W], [N, C] or [N, L, C] -> [K, C] each
    ///
    /// # Errors
    /// For another number of dimensions or images.
    pub(crate) fn statistics(&self, x: &Tensor) -> Result<[Tensor; 2]> {
        let places: &[usize] = match x.rank() {
            4 => &[2, 3],
            3 => &[1],
            2 => return self.combined(x, None),
            rank => bail!("an input of {rank} dimensions, expected images, tokens or features"),
        };
        self.combined(&x.mean(places)?, Some(&x.var(places, false)?))
    }

    /// The law of total variance over images with means [N, C] and variances [N, C].
    fn combined(&self, means: &Tensor, vars: Option<&Tensor>) -> Result<[Tensor; 2]> {
        let mean = self.mean.matmul(means)?;
        let mut second = means.sqr()?;
        if let Some(vars) = vars {
            second = (second + vars)?;
        }
        let var = (self.mean.matmul(&second)? - mean.sqr()?)?;
        Ok([mean, var])
    }
}

/// Statistics of the input of one layer for each class, classes x channels values each.
struct Layer {
    name: String,
    mean: Vec<f64>,
    var: Vec<f64>,
}

/// What was gathered of real images.
pub(crate) struct Reference {
    /// Beside which tensors are made.
    like: Tensor,
    /// Images of each class so far.
    counts: Vec<f64>,
    layers: Vec<Layer>,
}

impl Reference {
    /// Nothing yet.
    pub(crate) fn empty(classes: usize, ctx: &Ctx) -> Result<Self> {
        Ok(Self {
            like: ctx.tensor(&[0.], &[1])?,
            counts: vec![0.; classes],
            layers: Vec::new(),
        })
    }

    /// Adds a batch. Every sum is rounded to the element type of a state, so that a state loses nothing.
    ///
    /// # Errors
    /// When the layers are others than before, or a class is unknown.
    pub(crate) fn add(&mut self, labels: &[u32], layers: &[LayerInput], ctx: &Ctx) -> Result<()> {
        let (batch, all) = (Classes::of(labels, ctx)?, self.counts.len());
        if let Some(class) = batch.present.iter().find(|&&c| c as usize >= all) {
            bail!("an image of class {class} of {all}");
        }
        for (i, input) in layers.iter().enumerate() {
            let [mean, var] = batch.statistics(&input.input).context(&input.name)?;
            let [_, channels] = mean.dims()?;
            if i == self.layers.len() {
                let zeros = vec![0.; all * channels];
                self.layers.push(Layer {
                    name: input.name.clone(),
                    mean: zeros.clone(),
                    var: zeros,
                });
            }
            let layer = &mut self.layers[i];
            ensure!(
                layer.name == input.name && layer.mean.len() == all * channels,
                "layer \"{}\" was \"{}\" before",
                input.name,
                layer.name
            );
            let found = (mean.to_vec_f64()?, var.to_vec_f64()?);
            for (row, (&class, &count)) in batch.present.iter().zip(&batch.counts).enumerate() {
                let class = class as usize;
                let before = self.counts[class];
                let share = count as f64 / (before + count as f64);
                for channel in 0..channels {
                    let (at, from) = (class * channels + channel, row * channels + channel);
                    let apart = found.0[from] - layer.mean[at];
                    let var = layer.var[at] + share * (found.1[from] - layer.var[at]);
                    let between = share * (1. - share) * apart * apart;
                    layer.mean[at] = rounded(&self.like, layer.mean[at] + share * apart);
                    layer.var[at] = rounded(&self.like, var + between);
                }
            }
        }
        for (&class, &count) in batch.present.iter().zip(&batch.counts) {
            self.counts[class as usize] += count as f64;
        }
        Ok(())
    }

    /// Mean and variance of a layer's input for some classes, [K, C] each.
    ///
    /// # Errors
    /// When the layer or a class was not seen.
    pub(crate) fn of(&self, layer: &str, classes: &[u32]) -> Result<[Tensor; 2]> {
        let Some(found) = self.layers.iter().find(|l| l.name == layer) else {
            bail!("no real image went through layer \"{layer}\"");
        };
        let channels = found.mean.len() / self.counts.len();
        let mut picked = [Vec::new(), Vec::new()];
        for &class in classes {
            let row = class as usize * channels..(class as usize + 1) * channels;
            let seen = self.counts.get(class as usize).is_some_and(|&n| n > 0.);
            ensure!(seen, "no real image of class {class} was observed");
            picked[0].extend_from_slice(&found.mean[row.clone()]);
            picked[1].extend_from_slice(&found.var[row]);
        }
        let dims = [classes.len(), channels];
        let [mean, var] = picked.map(|values| self.like.new_like(&values, &dims));
        Ok([mean?, var?])
    }

    /// All of it, to be stored.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub(crate) fn to_state(&self) -> Result<State> {
        let all = self.counts.len();
        let mut tensors = vec![(
            "counts".to_owned(),
            self.like.new_like(&self.counts, &[all])?,
        )];
        for layer in &self.layers {
            let dims = [all, layer.mean.len() / all];
            for (what, values) in [("mean", &layer.mean), ("var", &layer.var)] {
                let name = format!("{what}.{}", layer.name);
                tensors.push((name, self.like.new_like(values, &dims)?));
            }
        }
        let names: Vec<&str> = self.layers.iter().map(|l| l.name.as_str()).collect();
        Ok(State {
            tensors,
            json: json!({ "layers": names }).to_string(),
        })
    }

    /// What [`Reference::to_state`] gave.
    ///
    /// # Errors
    /// When something is missing.
    pub(crate) fn of_state(state: &State) -> Result<Self> {
        let tensor = |name: &str| match state.tensors.iter().find(|(n, _)| n == name) {
            Some((_, tensor)) => Ok(tensor),
            None => bail!("the statistics have no \"{name}\""),
        };
        let names: Names = plugin_api::component::parse_options(&state.json)?;
        let counts = tensor("counts")?;
        let layers = names.layers.into_iter().map(|name| {
            Ok(Layer {
                mean: tensor(&format!("mean.{name}"))?.to_vec_f64()?,
                var: tensor(&format!("var.{name}"))?.to_vec_f64()?,
                name,
            })
        });
        Ok(Self {
            like: counts.clone(),
            counts: counts.to_vec_f64()?,
            layers: layers.collect::<Result<_>>()?,
        })
    }
}

/// The names of the layers, in a state.
#[derive(Deserialize)]
struct Names {
    layers: Vec<String>,
}
