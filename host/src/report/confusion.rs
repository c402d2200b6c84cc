//! What a network takes the images of each class for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How often images of a class were taken for each class. Pairs that never occurred are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// For each class by label, the answers and how many of its images got them.
    pub answers: Vec<BTreeMap<u32, u64>>,
}

/// Images of one class that were taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Their class.
    pub class: usize,
    /// What they were taken for.
    pub answer: usize,
    /// How many they are.
    pub images: u64,
}

impl Confusion {
    /// Counts the answers of a network to images of so many classes.
    pub fn of(classes: usize, labels: &[u32], answers: &[u32]) -> Self {
        let mut counted = vec![BTreeMap::new(); classes];
        for (&label, &answer) in labels.iter().zip(answers) {
            if let Some(row) = counted.get_mut(label as usize) {
                *row.entry(answer).or_default() += 1;
            }
        }
        Self { answers: counted }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.answers.len()
    }

    /// How many images of a class were taken for another, or for itself.
    pub fn count(&self, class: usize, answer: usize) -> u64 {
        let row = self.answers.get(class);
        let count = row.and_then(|row| row.get(&(answer as u32)));
        count.copied().unwrap_or(0)
    }

    /// How many images of a class there are.
    pub fn images(&self, class: usize) -> u64 {
        self.answers.get(class).map_or(0, |row| row.values().sum())
    }

    /// Share of a class's images that were taken for a class, percent; `None` where the class has no images.
    pub fn share(&self, class: usize, answer: usize) -> Option<f64> {
        let images = self.images(class);
        (images > 0).then(|| 100. * self.count(class, answer) as f64 / images as f64)
    }

    /// Share of a class's images that were classified correctly, percent; `None` where it has none.
    pub fn accuracy(&self, class: usize) -> Option<f64> {
        self.share(class, class)
    }

    /// The classes that have images, those of the lowest accuracy first.
    pub fn hardest_first(&self) -> Vec<usize> {
        let classes = (0..self.classes()).filter(|&class| self.images(class) > 0);
        let mut classes: Vec<usize> = classes.collect();
        let accuracy = |class: usize| self.accuracy(class).unwrap_or(0.);
        classes.sort_by(|&a, &b| accuracy(a).total_cmp(&accuracy(b)));
        classes
    }

    /// The mistakes, those of the most images first.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let rows = self.answers.iter().enumerate();
        let all = rows.flat_map(|(class, row)| {
            row.iter().map(move |(&answer, &images)| Mistake {
                class,
                answer: answer as usize,
                images,
            })
        });
        let mut mistakes: Vec<Mistake> = all.filter(|m| m.answer != m.class).collect();
        mistakes.sort_by_key(|m| std::cmp::Reverse(m.images));
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // sklearn.metrics.confusion_matrix([0, 0, 0, 1, 1, 3], [0, 1, 1, 1, 0, 3], labels=range(4))
    // [[1 2 0 0] [1 1 0 0] [0 0 0 0] [0 0 0 1]]
    #[test]
    fn a_small_case_is_counted_right() {
        let confusion = Confusion::of(4, &[0, 0, 0, 1, 1, 3], &[0, 1, 1, 1, 0, 3]);
        let rows: Vec<Vec<u64>> = (0..4)
            .map(|class| {
                (0..4)
                    .map(|answer| confusion.count(class, answer))
                    .collect()
            })
            .collect();
        assert_eq!(
            rows,
            [[1, 2, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
        );
        assert_eq!(confusion.accuracy(0), Some(100. / 3.));
        assert_eq!(confusion.accuracy(2), None, "a class without images");
        assert_eq!(confusion.hardest_first(), [0, 1, 3]);
        let mistakes = confusion.mistakes();
        let told: Vec<_> = mistakes
            .iter()
            .map(|m| (m.class, m.answer, m.images))
            .collect();
        assert_eq!(told, [(0, 1, 2), (1, 0, 1)]);
    }

    #[test]
    fn survives_json() {
        let confusion = Confusion::of(3, &[0, 2, 2], &[2, 2, 0]);
        let json = serde_json::to_string(&confusion).unwrap();
        assert_eq!(json, r#"{"answers":[{"2":1},{},{"0":1,"2":1}]}"#);
        assert_eq!(serde_json::from_str::<Confusion>(&json).unwrap(), confusion);
    }
}
