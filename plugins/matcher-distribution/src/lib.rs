//! Distribution matching: in randomly initialised networks, features of synthetic images should lie where those of real ones do.
//!
//! DM: Zhao and Bilen, "Dataset condensation with distribution matching", WACV 2023, as in `main_DM.py` of
//! VICO-UoE/DatasetCondensation.

use plugin_api::prelude::*;

/// `sum over classes and features of ||mean over real images - mean over synthetic images||^2`, in a fresh network each iteration.
///
/// With `moments = 2` the difference of the variances is added in the same way.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Distribution {
    /// Features, by the names under which the architecture taps them; all their elements count
    #[schemars(length(min = 1))]
    features: Vec<String>,
    /// Moments to match over the images: 1 for the mean, 2 for mean and variance
    #[schemars(range(min = 1, max = 2))]
    moments: u32,
    /// Real images per class in each iteration
    #[schemars(range(min = 1))]
    real_per_class: usize,
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            features: vec!["embedding".to_owned()],
            moments: 1,
            real_per_class: 256,
        }
    }
}

impl Distribution {
    /// The squared distance between the moments of two batches of a feature, [N, ..] and [M, ..].
    fn distance(&self, real: &Tensor, own: &Tensor) -> Result<Tensor> {
        let (real, own) = (real.flatten_from(1)?, own.flatten_from(1)?);
        let of_means = (real.mean(&[0])? - own.mean(&[0])?)?.sqr()?.sum_all()?;
        if self.moments == 1 {
            return Ok(of_means);
        }
        let of_variances = (real.var(&[0], false)? - own.var(&[0], false)?)?;
        of_means + of_variances.sqr()?.sum_all()?
    }
}

impl Matcher for Distribution {
    fn forward(&self, x: &MatchInput<'_>) -> Result<Matched> {
        let network = x.lab.network()?;
        let values = x.lab.initial(x.ctx.iteration())?;
        Matched::by_class(x.synthetic, |class, own| {
            let features = |images: &Tensor| {
                let images = x.lab.augment(images, false, u64::from(class))?;
                let answer = network.forward(&values, &images, x.ctx)?;
                let found = self
                    .features
                    .iter()
                    .map(|name| answer.feature(name).cloned());
                found.collect::<Result<Vec<_>>>()
            };
            let real = features(&x.lab.real(class, self.real_per_class, 0)?)?;
            let own = features(own)?;
            let distances = real.iter().zip(&own).map(|(r, o)| self.distance(r, o));
            let sum = distances.reduce(|sum, one| sum? + one?);
            sum.unwrap_or_else(|| Err(Error::msg("features: expected at least one name")))
        })
    }

    fn needs(&self) -> MatchNeeds {
        MatchNeeds {
            real_per_class: self.real_per_class,
            features: self.features.clone(),
            ..MatchNeeds::default()
        }
    }
}

export_plugin! { matcher "distribution": Distribution = "distance between mean features of real and synthetic images (DM)" }

#[cfg(test)]
mod tests;
