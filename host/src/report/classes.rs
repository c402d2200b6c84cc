//! How well the networks of a run know each class: accuracies by class, and what each class is taken for.
//!
//! Up to [`MATRIX_CLASSES`] classes a network has its whole confusion matrix, as a heat map with counts, and all classes are listed. Beyond
//! that it has its [`MISTAKES`] most frequent confusions, and of the classes those of the lowest and highest accuracy are listed, [`ENDS`]
//! of each.

use minijinja::{Value, context};

use super::{
    confusion::Confusion,
    summary::{Summary, mean_std},
    units::human_count,
};

/// The most classes of a matrix: more do not fit a page with their counts.
pub const MATRIX_CLASSES: usize = 20;
/// The confusions that stand for a larger matrix.
pub const MISTAKES: usize = 20;
/// The classes at either end of a longer list.
pub const ENDS: usize = 10;

/// What one network takes the test images of each class for.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfusion {
    /// The set that it was trained on.
    pub set: String,
    /// Their labels.
    pub labels: String,
    /// The network.
    pub network: String,
    /// The seed of its training.
    pub seed: u64,
    /// Its answers.
    pub confusion: Confusion,
}

impl NetworkConfusion {
    fn title(&self) -> String {
        let Self {
            set,
            labels,
            network,
            seed,
            ..
        } = self;
        format!("{set}, {labels} labels: {network}, seed {seed}")
    }
}

/// The section of the classes, the first network's in front; `None` without networks.
pub(super) fn classes(summary: &Summary, networks: &[NetworkConfusion]) -> Option<Value> {
    let first = networks.first()?;
    let is_beside = |other: &&NetworkConfusion| {
        other.set == "random-real" && other.labels == first.labels || other.set == "full-data"
    };
    let beside: Vec<&NetworkConfusion> = networks.iter().skip(1).filter(is_beside).collect();
    let columns: Vec<&NetworkConfusion> = [first].into_iter().chain(beside).collect();
    let name = |class: usize| {
        let name = summary.data.class_names.get(class);
        name.cloned().unwrap_or_else(|| class.to_string())
    };
    let row = |class: usize| {
        let cells = columns.iter().map(|network| {
            let accuracy = network.confusion.accuracy(class);
            context! {
                percent => accuracy.unwrap_or(0.),
                text => accuracy.map_or_else(|| "-".to_owned(), |a| format!("{a:.1}")),
            }
        });
        context! { name => name(class), cells => cells.collect::<Vec<_>>() }
    };
    let order = first.confusion.hardest_first();
    let is_whole = order.len() <= MATRIX_CLASSES;
    let rows: Vec<Value> = match is_whole {
        true => order.iter().map(|&class| row(class)).collect(),
        false => {
            let (low, rest) = order.split_at(ENDS);
            let (between, high) = rest.split_at(rest.len() - ENDS);
            let accuracies = between.iter().filter_map(|&c| first.confusion.accuracy(c));
            let mean = mean_std(&accuracies.collect::<Vec<_>>()).map_or(0., |of| of.0);
            let left_out = format!(
                ".. {} classes between them, {mean:.1} on average",
                human_count(between.len() as u64)
            );
            let rows = low.iter().map(|&class| row(class));
            let rows = rows.chain([context! { left_out }]);
            rows.chain(high.iter().map(|&class| row(class))).collect()
        }
    };
    let note = match is_whole {
        true => format!(
            "The first student and seed of each set and kind of labels, on the test images of each class: the lowest accuracy of \"{}\" \
             first. A row of the matrix is a class, a column what its images were taken for, a cell how many they are; its shade is \
             their share of the class.",
            first.set
        ),
        false => format!(
            "The first student and seed of each set and kind of labels, on the test images of each class. With more than \
             {MATRIX_CLASSES} classes these are the {ENDS} of the lowest and the {ENDS} of the highest accuracy of \"{}\", and the \
             {MISTAKES} most frequent confusions.",
            first.set
        ),
    };
    let one = |network: &NetworkConfusion| shown(network, &name);
    Some(context! {
        note,
        columns => columns.iter().map(|n| format!("{}, {}", n.set, n.labels)).collect::<Vec<_>>(),
        rows,
        first => one(first),
        others => networks.iter().skip(1).map(one).collect::<Vec<_>>(),
    })
}

/// A network's matrix, or its most frequent confusions.
fn shown(network: &NetworkConfusion, name: &dyn Fn(usize) -> String) -> Value {
    let confusion = &network.confusion;
    let title = network.title();
    if confusion.classes() > MATRIX_CLASSES {
        let mistakes = confusion.mistakes();
        let mistakes = mistakes.iter().take(MISTAKES).map(|m| {
            let share = confusion.share(m.class, m.answer).unwrap_or(0.);
            context! {
                name => name(m.class),
                answer => name(m.answer),
                images => human_count(m.images),
                share => format!("{share:.1} %"),
            }
        });
        return context! { title, mistakes => mistakes.collect::<Vec<_>>() };
    }
    let classes = 0..confusion.classes();
    let row = |class: usize| {
        let cells = classes.clone().map(|answer| {
            let share = confusion.share(class, answer).unwrap_or(0.) / 100.;
            let count = confusion.count(class, answer);
            let told = format!(
                "{} taken for {}: {count} of {}",
                name(class),
                name(answer),
                confusion.images(class)
            );
            context! { count, share => (share * 1e3).round() / 1e3, told, right => class == answer }
        });
        context! { name => name(class), cells => cells.collect::<Vec<_>>() }
    };
    context! {
        title,
        names => classes.clone().map(name).collect::<Vec<_>>(),
        matrix => classes.clone().map(row).collect::<Vec<_>>(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::summary::tests::summary;
    use super::*;

    /// A network that takes every third image of a class for the next one.
    pub(crate) fn network(set: &str, classes: usize) -> NetworkConfusion {
        let labels: Vec<u32> = (0..classes as u32).flat_map(|class| [class; 30]).collect();
        let taken = |(i, &label): (usize, &u32)| match i % 3 {
            0 => (label + 1) % classes as u32,
            _ => label,
        };
        let answers: Vec<u32> = labels.iter().enumerate().map(taken).collect();
        NetworkConfusion {
            set: set.to_owned(),
            labels: "fkd".to_owned(),
            network: "convnet".to_owned(),
            seed: 0,
            confusion: Confusion::of(classes, &labels, &answers),
        }
    }

    fn count(value: &Value, list: &str) -> usize {
        let list = value.get_attr(list).unwrap();
        list.len().unwrap_or(0)
    }

    #[test]
    fn few_classes_have_a_matrix_and_many_their_confusions() {
        let summary = summary();
        let few = classes(
            &summary,
            &[network("distilled", 20), network("init-only", 20)],
        )
        .unwrap();
        let first = few.get_attr("first").unwrap();
        assert_eq!((count(&first, "matrix"), count(&few, "rows")), (20, 20));
        assert_eq!((count(&few, "columns"), count(&few, "others")), (1, 1));
        let networks = [network("distilled", 21), network("random-real", 21)];
        let many = classes(&summary, &networks).unwrap();
        let first = many.get_attr("first").unwrap();
        assert_eq!(
            (count(&first, "matrix"), count(&first, "mistakes")),
            (0, 20)
        );
        assert_eq!(count(&many, "rows"), ENDS + 1 + ENDS);
        assert_eq!(count(&many, "columns"), 2);
        let left_out = many.get_attr("rows").unwrap();
        let left_out = left_out.get_item_by_index(ENDS).unwrap().to_string();
        assert!(
            left_out.contains(".. 1 classes between them, 66.7"),
            "{left_out}"
        );
        assert!(classes(&summary, &[]).is_none());
    }
}
