//! The accuracies of networks trained on one set with one kind of label: a row of the summary.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Top-1 accuracy of networks trained on one set with one kind of label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResultRow {
    /// Training set: `distilled`, `matched`, or a control: `random-real`, further draws `random-real-2` and so on, `selected-real`,
    /// `init-only`, `full-data`.
    pub set: String,
    /// Labels: `hard`, `learned` or the name of a relabeler; with the suffix `-unaugmented` if views and augmentation were left out.
    pub labels: String,
    /// Label of the validation network.
    pub network: String,
    /// Number of training images.
    pub images: u64,
    /// Training images per class; absent if classes differ in size.
    #[serde(default)]
    pub images_per_class: Option<u64>,
    /// Seeds, one for each trained network.
    pub seeds: Vec<u64>,
    /// Accuracy on the test set after the last epoch, percent, by seed.
    pub top1_last: Vec<f64>,
    /// Best accuracy over all evaluations, percent, by seed. It is chosen on the test set, so it is optimistic.
    pub top1_best: Vec<f64>,
    /// Mean of `top1_last`.
    pub mean_last: f64,
    /// Sample standard deviation of `top1_last`; absent for one seed.
    #[serde(default)]
    pub std_last: Option<f64>,
    /// Mean of `top1_best`.
    pub mean_best: f64,
    /// Sample standard deviation of `top1_best`; absent for one seed.
    #[serde(default)]
    pub std_best: Option<f64>,
    /// Top-5 accuracy on the test set after the last epoch, percent, by seed; absent below 20 classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top5_last: Vec<f64>,
    /// Mean of `top5_last`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_top5: Option<f64>,
    /// Sample standard deviation of `top5_last`; absent for one seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std_top5: Option<f64>,
    /// Bytes of the set's image files.
    pub image_bytes: u64,
    /// Bytes of the set's stored labels.
    pub label_bytes: u64,
    /// Epochs of training.
    pub epochs: u64,
}

/// Accuracy of one trained network, percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeedScore {
    /// Seed of the training.
    pub seed: u64,
    /// Accuracy after the last epoch.
    pub top1_last: f64,
    /// Best accuracy over all evaluations.
    pub top1_best: f64,
    /// Top-5 accuracy after the last epoch, where there are enough classes.
    pub top5_last: Option<f64>,
}

impl ResultRow {
    /// Fills in the seeds, the accuracies and their means and deviations; `None` without scores.
    pub fn with_scores(mut self, scores: &[SeedScore]) -> Option<Self> {
        self.seeds = scores.iter().map(|score| score.seed).collect();
        self.top1_last = scores.iter().map(|score| score.top1_last).collect();
        self.top1_best = scores.iter().map(|score| score.top1_best).collect();
        (self.mean_last, self.std_last) = mean_std(&self.top1_last)?;
        (self.mean_best, self.std_best) = mean_std(&self.top1_best)?;
        // A version without top-5 may have trained some of them.
        let top5: Option<Vec<f64>> = scores.iter().map(|score| score.top5_last).collect();
        self.top5_last = top5.unwrap_or_default();
        let top5 = mean_std(&self.top5_last);
        (self.mean_top5, self.std_top5) = (top5.map(|t| t.0), top5.and_then(|t| t.1));
        Some(self)
    }

    /// Whether the row is of a distilled set, not of a control.
    pub fn is_distilled(&self) -> bool {
        matches!(self.set.as_str(), "distilled" | "matched")
    }
}

/// Mean and sample standard deviation `sqrt(Σ(x - mean)² / (n - 1))`: no mean of nothing, no deviation of one value.
pub fn mean_std(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let count = values.len() as f64;
    let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / count)?;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    Some((
        mean,
        (values.len() > 1).then(|| (squares / (count - 1.)).sqrt()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_sample_deviation() {
        assert_eq!(mean_std(&[]), None);
        assert_eq!(mean_std(&[41.1]), Some((41.1, None)));
        // numpy.std([2, 4, 4, 4, 5, 5, 7, 9], ddof=1)
        let (mean, std) = mean_std(&[2., 4., 4., 4., 5., 5., 7., 9.]).unwrap();
        assert_eq!(mean, 5.);
        assert!((std.unwrap() - 2.138_089_935_299_395).abs() < 1e-14);
        assert!(ResultRow::default().with_scores(&[]).is_none());
    }

    #[test]
    fn top5_is_that_of_all_seeds_or_of_none() {
        let score = |top5_last| SeedScore {
            seed: 0,
            top1_last: 40.,
            top1_best: 41.,
            top5_last,
        };
        let of = |scores: &[SeedScore]| ResultRow::default().with_scores(scores).unwrap();
        let both = of(&[score(Some(60.)), score(Some(62.))]);
        assert_eq!(both.top5_last, [60., 62.]);
        assert_eq!(
            (both.mean_top5, both.std_top5),
            (Some(61.), Some(2f64.sqrt()))
        );
        let older = of(&[score(None), score(Some(62.))]);
        assert_eq!(older.mean_top5, None);
        let json = serde_json::to_string(&older).unwrap();
        assert!(!json.contains("top5"), "{json}");
    }
}
