//! Random real images: one draw is luck, so all draws of a run count together.

use super::summary::{ResultRow, SeedScore, Summary};

impl ResultRow {
    /// Whether the row is of a draw of random real images.
    pub fn is_random_real(&self) -> bool {
        let draw = self.set.strip_prefix("random-real");
        draw.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
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
        let scores = seeds
            .zip(tops)
            .map(|(seed, (top1_last, top1_best))| SeedScore {
                seed,
                top1_last,
                top1_best,
            });
        first.with_scores(&scores.collect::<Vec<_>>())
    }
}
