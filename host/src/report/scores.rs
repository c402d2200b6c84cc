//! DD-Ranking's scores of a distilled set (Li et al., 2025, arXiv 2505.13300).

use serde::Serialize;

/// DD-Ranking's scores; absent where one of the accuracies that they are made of is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Folder of the run that the accuracies are of.
    pub folder: String,
    /// [`label_robust_score`]
    pub label: Option<f64>,
    /// [`augmentation_robust_score`]
    pub augmentation: Option<f64>,
}

/// DD-Ranking's label-robust score (Li et al., 2025, arXiv 2505.13300) of accuracies in percent, which count as fractions:
/// `(e^a - e^-1) / (e - e^-1)` with `a = (IOR - HLR) / 2`, `HLR = full - hard`, `IOR = own - random_real`.
pub fn label_robust_score(full: f64, hard: f64, own: f64, random_real: f64) -> f64 {
    let (hlr, ior) = ((full - hard) / 100., (own - random_real) / 100.);
    robust_score(0.5 * ior - 0.5 * hlr)
}

/// DD-Ranking's augmentation-robust score (as [`label_robust_score`]) of how many percentage points the set is ahead of as many real
/// images, `augmented` and `plain`: `(e^b - e^-1) / (e - e^-1)` with their mean as a fraction.
pub fn augmentation_robust_score(augmented: f64, plain: f64) -> f64 {
    robust_score(0.5 * (augmented / 100.) + 0.5 * (plain / 100.))
}

/// From [-1, 1] to [0, 1].
fn robust_score(advantage: f64) -> f64 {
    let least = (-1f64).exp();
    (advantage.exp() - least) / (1f64.exp() - least)
}

#[cfg(test)]
mod tests {
    use super::*;

    // python: a = 0.5*(0.60-0.55) - 0.5*(0.85-0.30); (math.exp(a)-math.exp(-1))/(math.e-math.exp(-1))
    #[test]
    fn the_label_robust_score_is_that_of_fractions() {
        let score = label_robust_score(85., 30., 60., 55.);
        assert!((score - 0.174_830_209_551_55).abs() < 1e-12, "{score:.13}");
        // As good as the full data with class labels and as much beyond random as can be: 1.
        assert!((label_robust_score(0., 100., 100., 0.) - 1.).abs() < 1e-12);
        assert!(label_robust_score(100., 0., 0., 100.).abs() < 1e-12);
    }

    // python: b = 0.5*0.12 + 0.5*0.05; (math.exp(b)-math.exp(-1))/(math.e-math.exp(-1))
    #[test]
    fn the_augmentation_robust_score_is_that_of_fractions() {
        let score = augmentation_robust_score(12., 5.);
        assert!((score - 0.306686901538937).abs() < 1e-12, "{score:.13}");
    }
}
