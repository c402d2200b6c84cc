//! What to know before trusting the figures of a run.

use crate::report::{difference::Verdict, summary::Summary};

use super::Experiment;

/// The warnings of a run, of which the page, the summary and the terminal have the same.
pub fn warnings(experiment: &Experiment, summary: &Summary) -> Vec<String> {
    let mut warnings = Vec::new();
    for stage in &summary.stages {
        let sizes = stage.earlier_batch_sizes.iter().map(u32::to_string);
        let sizes: Vec<String> = sizes.collect();
        if !sizes.is_empty() {
            warnings.push(format!(
                "{} was resumed with another batch_size (before: {}).",
                stage.stage,
                sizes.join(", ")
            ));
        }
    }
    let Some(validate) = &experiment.validate else {
        return warnings;
    };
    if validate.seeds.len() < 3 {
        warnings.push(format!(
            "Accuracies come from {} seed(s); three or more are usual.",
            validate.seeds.len()
        ));
    }
    // Rows of the labels that the experiment is about come first.
    let Some(distilled) = summary.results.iter().find(|row| row.is_distilled()) else {
        return warnings;
    };
    let real = summary.random_real(&distilled.labels_of_real(), &distilled.network);
    let ahead = summary.ahead_of_random_real(distilled);
    if let (Some(real), Some(ahead)) = (real, ahead)
        && ahead.verdict() != Verdict::Above
    {
        let does = match ahead.verdict() {
            Verdict::Below => "does better",
            _ => "may do as well",
        };
        warnings.push(format!(
            "The same number of random real images under the same labels {does} ({:.2} % compared with {:.2} %; {}).",
            real.mean_last,
            distilled.mean_last,
            ahead.interval()
        ));
    }
    warnings
}
