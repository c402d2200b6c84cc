//! How far two gradients of a network are apart.

use plugin_api::prelude::*;

/// Distance between the gradients of a network's parameters (`match_loss` in the authors' `utils.py`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Distance {
    /// `sum over rows of 1 - cos` of each weight, where a row belongs to one output (`ours`); biases and norms are left out
    Rows,
    /// Sum of squared differences of all parameters (`mse`)
    Squares,
    /// `1 - cos` of all parameters as one vector (`cos`)
    Cosine,
}

/// What keeps the cosine finite.
const EPSILON: f64 = 1e-6;

fn cosine_distance(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let norms = (a.norm(&[1])? * b.norm(&[1])?)?;
    let cosine = ((a * b)?.sum(&[1])? / (norms + EPSILON)?)?;
    cosine.affine(-1., 1.)?.sum_all()
}

impl Distance {
    /// The distance, differentiable by `own`. A parameter without a gradient on either side counts nothing.
    ///
    /// # Errors
    /// When shapes differ or nothing is left to compare.
    pub fn of(self, real: &[Option<Tensor>], own: &[Option<Tensor>]) -> Result<Tensor> {
        let pairs = real
            .iter()
            .zip(own)
            .filter_map(|(a, b)| Some((a.as_ref()?, b.as_ref()?)));
        let parts: Vec<Tensor> = match self {
            Self::Rows => pairs
                .filter(|(a, _)| a.rank() > 1)
                .map(|(a, b)| cosine_distance(&a.flatten_from(1)?, &b.flatten_from(1)?))
                .collect::<Result<_>>()?,
            Self::Squares => pairs
                .map(|(a, b)| (b - a)?.sqr()?.sum_all())
                .collect::<Result<_>>()?,
            Self::Cosine => {
                let (mut all, mut others) = (Vec::new(), Vec::new());
                for (a, b) in pairs {
                    all.push(a.reshape(&[1, a.elem_count()])?);
                    others.push(b.reshape(&[1, b.elem_count()])?);
                }
                let cat = |parts: &[Tensor]| Tensor::cat(&parts.iter().collect::<Vec<_>>(), 1);
                match all.is_empty() {
                    true => Vec::new(),
                    false => vec![cosine_distance(&cat(&all)?, &cat(&others)?)?],
                }
            }
        };
        let sum = parts.into_iter().map(Ok).reduce(|sum, part| sum? + part?);
        sum.unwrap_or_else(|| Err(Error::msg("the network has no gradients to compare")))
    }
}
