//! Mean and variance of layers' inputs for each class: of a batch, differentiable, and of real images, gathered batch by batch.

use plugin_api::prelude::*;

use crate::averages::Averages;

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

/// The tables of a layer's means and variances among the averages, a row for each class.
fn tables(layer: &str) -> [String; 2] {
    ["mean", "var"].map(|what| format!("{what}.{layer}"))
}

/// Adds a batch of real images to the averages of some `classes`.
///
/// # Errors
/// When a layer has other channels than before, or there is no such class.
pub(crate) fn observe(
    averages: &mut Averages,
    x: &RegularizerInput<'_>,
    classes: usize,
) -> Result<()> {
    let batch = Classes::of(x.labels, x.ctx)?;
    for layer in x.layers {
        let [mean, var] = batch.statistics(&layer.input).context(&layer.name)?;
        let [_, channels] = mean.dims()?;
        let (mean, var) = (mean.to_vec_f64()?, var.to_vec_f64()?);
        let rows = mean.chunks(channels).zip(var.chunks(channels));
        for ((mean, var), (&class, &images)) in rows.zip(batch.present.iter().zip(&batch.counts)) {
            let place = (class as usize, classes);
            averages.add_moments(&tables(&layer.name), place, [mean, var], images)?;
        }
    }
    Ok(())
}

/// Mean and variance of a layer's input over the real images of some classes, [K, C] each.
///
/// # Errors
/// When the layer or a class was not seen.
pub(crate) fn real(averages: &Averages, layer: &str, classes: &[u32]) -> Result<[Tensor; 2]> {
    let rows: Vec<usize> = classes.iter().map(|&class| class as usize).collect();
    let [mean, var] = tables(layer).map(|table| averages.rows(&table, &rows));
    Ok([mean?, var?])
}
