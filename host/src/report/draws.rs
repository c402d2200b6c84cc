//! Random real images: one draw is luck, so all draws of a run count together.

use super::summary::{ResultRow, SeedScore, Summary};

impl ResultRow {
    /// Whether the row is of a draw of random real images.
    pub fn is_random_real(&self) -> bool {
        let draw = self.set.strip_prefix("random-real");
        draw.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// The labels of the real images that the row is compared with: those that a matcher learned belong to its own images, beside class
    /// labels.
    pub fn labels_of_real(&self) -> String {
        self.labels.replace("learned", "hard")
    }
}

impl Summary {
    /// All draws of random real images under some labels as one row, with the students of each; `None` without any.
    pub fn random_real(&self, labels: &str, network: &str) -> Option<ResultRow> {
        let draws = self
            .results
            .iter()
            .filter(|row| row.is_random_real() && row.labels == labels && row.network == network);
        let draws: Vec<&ResultRow> = draws.collect();
        let first = (*draws.first()?).clone();
        let all =
            |of: fn(&ResultRow) -> &Vec<f64>| draws.iter().flat_map(move |row| of(row).clone());
        let seeds = draws.iter().flat_map(|row| row.seeds.clone());
        let tops = all(|row| &row.top1_last).zip(all(|row| &row.top1_best));
        // None for rows of a version without top-5.
        let top5 = all(|row| &row.top5_last).map(Some);
        let tops = tops.zip(top5.chain(std::iter::repeat(None)));
        let scores = seeds
            .zip(tops)
            .map(|(seed, ((top1_last, top1_best), top5_last))| SeedScore {
                seed,
                top1_last,
                top1_best,
                top5_last,
            });
        first.with_scores(&scores.collect::<Vec<_>>())
    }

    /// What the spread of random real images is taken from: the means of the draws, or, of one draw alone, its students.
    pub fn random_real_values(&self, labels: &str, network: &str) -> Vec<f64> {
        let is_one = |row: &&ResultRow| {
            row.is_random_real() && row.labels == labels && row.network == network
        };
        let draws: Vec<&ResultRow> = self.results.iter().filter(is_one).collect();
        match draws.as_slice() {
            [one] => one.top1_last.clone(),
            draws => draws.iter().map(|row| row.mean_last).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{row, summary};

    #[test]
    fn students_of_one_draw_are_not_as_good_as_draws() {
        let mut summary = summary();
        let values = |summary: &super::Summary| summary.random_real_values("soft", "convnet");
        assert_eq!(values(&summary), [88.4, 89.1, 87.9]);
        let second = row("random-real-2", "soft", "convnet", &[80., 82.]);
        summary.results.push(second);
        let means = values(&summary);
        assert!(
            (means[0] - 265.4 / 3.).abs() < 1e-9 && means[1] == 81.,
            "{means:?}"
        );
        assert_eq!(
            summary.random_real("soft", "convnet").unwrap().seeds.len(),
            5
        );
    }
}
