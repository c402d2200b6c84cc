//! How networks classify the classes seen so far, step by step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::results::mean_std;

/// Top-1 accuracy on the classes seen so far, of networks trained on a memory of one set with one kind of label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContinualRow {
    /// The set that the memory holds images of: `distilled`, `matched`, `random-real`, further draws `random-real-2` and so on.
    pub set: String,
    /// Labels: `hard`, `learned` or the name of a relabeler.
    pub labels: String,
    /// Label of the network.
    pub network: String,
    /// When the images were distilled: `once`, from all classes, or `per-step`, from those that arrive; `once` for real images.
    pub distilled: String,
    /// Classes seen after each step.
    pub classes_seen: Vec<u64>,
    /// Images in memory after each step.
    pub images: Vec<u64>,
    /// Names of the orders in which classes arrive.
    pub orders: Vec<String>,
    /// Seeds, one for each network that is trained in an order and step.
    pub seeds: Vec<u64>,
    /// Accuracy on the test images of the classes seen, percent, after the last epoch: for each order, each seed and each step. The
    /// network answers with any class.
    pub top1: Vec<Vec<Vec<f64>>>,
    /// Mean of each step over orders and seeds.
    pub mean: Vec<f64>,
    /// Sample standard deviation of each step over orders and seeds; null for one training. Where a memory is the same for all
    /// orders, as the last one of a set distilled once, its networks are trained and counted once.
    pub std: Vec<Option<f64>>,
    /// Mean over all steps, orders and seeds.
    pub mean_of_steps: f64,
    /// Sample standard deviation of the mean over the steps, over orders and seeds; absent for one.
    #[serde(default)]
    pub std_of_steps: Option<f64>,
    /// Steps, from 0, whose memory is the same for all orders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_steps: Vec<u64>,
}

impl ContinualRow {
    /// Begins an order; the results of its steps follow.
    pub fn begin_order(&mut self, order: &str) {
        self.orders.push(order.to_owned());
        self.top1.push(vec![Vec::new(); self.seeds.len()]);
    }

    /// Adds a step's accuracies, by seed, to the order that was begun last; `is_shared` says that an earlier order had the same memory.
    pub fn end_step(&mut self, scores: &[f64], is_shared: bool) {
        let Some(of_order) = self.top1.last_mut() else {
            return;
        };
        for (steps, score) in of_order.iter_mut().zip(scores) {
            steps.push(*score);
        }
        let step = of_order.first().map_or(0, Vec::len).saturating_sub(1) as u64;
        if is_shared && !self.shared_steps.contains(&step) {
            self.shared_steps.push(step);
        }
    }

    /// Fills in means and deviations.
    pub fn summarise(&mut self) {
        let counted = |step: usize| match self.shared_steps.contains(&(step as u64)) {
            true => 1,
            false => self.top1.len(),
        };
        let of_step = |step: usize| {
            let orders = self.top1.iter().take(counted(step)).flatten();
            let values: Vec<f64> = orders
                .filter_map(|steps| steps.get(step))
                .copied()
                .collect();
            mean_std(&values)
        };
        let steps: Vec<_> = (0..self.classes_seen.len()).filter_map(of_step).collect();
        let runs = self.top1.iter().flatten();
        let means: Vec<f64> = runs.filter_map(|steps| Some(mean_std(steps)?.0)).collect();
        (self.mean, self.std) = steps.into_iter().unzip();
        (self.mean_of_steps, self.std_of_steps) = mean_std(&means).unwrap_or_default();
    }

    /// Whether it is of a distilled set, not of a control.
    pub fn is_distilled(&self) -> bool {
        matches!(self.set.as_str(), "distilled" | "matched")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two orders of two steps with two seeds; the last step is shared.
    pub(crate) fn row(set: &str, off: f64) -> ContinualRow {
        let mut row = ContinualRow {
            set: set.to_owned(),
            labels: "fkd".to_owned(),
            network: "convnet".to_owned(),
            distilled: "once".to_owned(),
            seeds: vec![0, 1],
            classes_seen: vec![5, 10],
            images: vec![50, 100],
            ..ContinualRow::default()
        };
        for (order, first) in [("order-seed0", [60., 62.]), ("order-seed1", [70., 72.])] {
            row.begin_order(order);
            row.end_step(&first.map(|x| x + off), false);
            row.end_step(&[40. + off, 42. + off], order == "order-seed1");
        }
        row.summarise();
        row
    }

    #[test]
    fn means_are_over_orders_and_seeds_and_a_shared_step_counts_once() {
        let row = row("distilled", 0.);
        assert_eq!(row.top1[1], [[70., 40.], [72., 42.]]);
        assert_eq!(row.mean, [66., 41.]);
        // numpy.std([60, 62, 70, 72], ddof=1), numpy.std([40, 42], ddof=1)
        let expected = [5.887_840_577_551_898, 2f64.sqrt()];
        for (std, expected) in row.std.iter().zip(expected) {
            assert!((std.unwrap() - expected).abs() < 1e-12, "{std:?}");
        }
        assert_eq!(row.mean_of_steps, 53.5);
        // numpy.std([50, 52, 55, 57], ddof=1)
        assert!((row.std_of_steps.unwrap() - 3.109_126_351_029_604_7).abs() < 1e-12);
    }
}
