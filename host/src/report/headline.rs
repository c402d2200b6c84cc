//! The first lines of a report: what was distilled into what, and the main result beside its controls.

use minijinja::{Value, context};

use super::{summary::Summary, table::mean_and_std, units::human_count};

/// What was distilled into what, as a sentence.
pub(super) fn lead(summary: &Summary) -> String {
    let data = &summary.data;
    let real = format!(
        "{} training images of {} classes at {} × {} pixels",
        human_count(data.train_images),
        human_count(data.classes),
        data.resolution,
        data.resolution
    );
    let distilled = summary.results.iter().find(|row| row.is_distilled());
    let recover = summary.recover.as_ref();
    let (images, per_class) = match (distilled, recover) {
        (Some(row), _) => (row.images, row.images_per_class),
        (None, Some(recover)) => (recover.images, Some(recover.images_per_class)),
        (None, None) => return format!("{real}; nothing has been distilled yet."),
    };
    let per_class = per_class.map(|n| format!(", {} per class", human_count(n)));
    format!(
        "{real}, distilled into {} images{}.",
        human_count(images),
        per_class.unwrap_or_default()
    )
}

/// The first distilled row is the main one; the rows of the same network are shown with it.
///
/// The figure is that of the last epoch: the best epoch is chosen on the test set.
pub(super) fn headline(summary: &Summary) -> Option<Value> {
    let main = summary.results.iter().find(|row| row.is_distilled())?;
    let beside = summary
        .results
        .iter()
        .filter(|row| row.network == main.network);
    let bars: Vec<Value> = (beside.clone())
        .map(|row| {
            context! {
                name => row.set.clone(),
                labels => row.labels.clone(),
                value => mean_and_std(row.mean_last, row.std_last),
                percent => row.mean_last.clamp(0., 100.),
                distilled => row.is_distilled(),
            }
        })
        .collect();
    let ahead = summary.ahead_of_random_real(main);
    let chance_percent = 100. / summary.data.classes.max(1) as f64;
    let of_seeds = match main.seeds.len() {
        1 => "one seed".to_owned(),
        count => format!("mean and standard deviation over {count} seeds"),
    };
    Some(context! {
        value => format!("{:.1}", main.mean_last),
        deviation => main.std_last.map(|std| format!("{std:.1}")),
        what => format!(
            "top-1 of {} on {} test images, trained on the {} set with {} labels ({of_seeds})",
            main.network,
            human_count(summary.data.test_images),
            main.set,
            main.labels
        ),
        comparison => ahead.map(|ahead| {
            ahead.sentence("the same number of random real images with the same labels")
        }),
        bars,
        chance_percent,
        chance => format!("{chance_percent:.1}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{row, summary};
    use super::*;

    fn told(summary: &Summary) -> String {
        headline(summary)
            .unwrap()
            .get_attr("comparison")
            .unwrap()
            .to_string()
    }

    #[test]
    fn a_side_is_told_only_where_the_interval_leaves_out_zero() {
        let mut summary = summary();
        let of = |own: &[f64], real: &[f64]| {
            let rows = [("distilled", own), ("random-real", real)];
            rows.map(|(set, top1)| row(set, "soft", "convnet", top1))
                .to_vec()
        };
        summary.results = of(&[92.1, 92.8, 91.9], &[88.4, 89.1, 87.9]);
        assert!(told(&summary).starts_with("3.8 points above the same number of random real"));
        summary.results = of(&[88.4, 89.1, 87.9], &[92.1, 92.8, 91.9]);
        assert!(told(&summary).starts_with("3.8 points below the same number of random real"));
        // Two of sixty test images at one seed.
        summary.data.test_images = 60;
        summary.results = of(&[260. / 3.], &[250. / 3.]);
        let unclear = told(&summary);
        assert!(
            unclear.starts_with("no difference from the same number"),
            "{unclear}"
        );
        assert!(
            !unclear.contains("above") && !unclear.contains("below"),
            "{unclear}"
        );
        assert!(unclear.contains("within ±12.9 points: +3.3"), "{unclear}");
    }

    #[test]
    fn a_matched_set_with_learned_labels_stands_beside_class_labels() {
        let mut summary = summary();
        summary.results = vec![
            row("matched", "learned", "convnet", &[60., 61.]),
            row("random-real", "hard", "convnet", &[40., 41.]),
        ];
        assert!(told(&summary).starts_with("20.0 points above"));
    }
}
