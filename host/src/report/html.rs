//! The HTML report: one file that opens offline, with its style, charts and images inside.
//!
//! Every text is escaped by the template engine; only the charts, which [`super::curves`] makes, are inserted as they are.

use anyhow::{Context, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use minijinja::{Value, context};

use super::continual::{of_run, section};
use super::page::environment;
use super::recovery::Recovery;
use super::summary::{ResultRow, StageStatus, Summary};
use super::table::{RESULT_COLUMNS, mean_and_std};
use super::units::{human_bytes, human_count, human_duration};

/// The template's name decides that its output is HTML, so that texts are escaped.
const TEMPLATE: (&str, &str) = ("index.html", include_str!("template.html"));

/// All that a report shows.
#[derive(Clone, Debug)]
pub struct ReportInput<'a> {
    /// The run in figures.
    pub summary: &'a Summary,
    /// The resolved experiment file.
    pub experiment_toml: &'a str,
    /// Charts: title, shown as a caption, and SVG document, trusted and best without a title.
    pub curves: Vec<(String, String)>,
    /// Images: caption (a class) and PNG file, distilled ones on the left and real ones on the right.
    pub gallery: Vec<(String, Vec<u8>)>,
    /// What was left out of them, if anything.
    pub gallery_note: Option<String>,
    /// How the images came to be, where states of them were kept.
    pub recovery: Option<&'a Recovery>,
    /// What the reader should know before trusting a figure.
    pub warnings: &'a [String],
}

/// Renders the report.
///
/// # Errors
/// Fails when the template does, which no input is known to cause.
pub fn render(input: &ReportInput) -> Result<String> {
    let summary = input.summary;
    let curves: Vec<Value> = (input.curves.iter())
        .map(|(title, svg)| context! { title, svg => Value::from_safe_string(svg.clone()) })
        .collect();
    let gallery: Vec<Value> = (input.gallery.iter())
        .map(|(caption, png)| {
            // Base64 needs no escaping, and escaping each slash would make the page larger.
            let src = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png));
            context! { caption, src => Value::from_safe_string(src) }
        })
        .collect();
    let recovery = input.recovery.map(Recovery::section).transpose()?;
    let rows: Vec<Value> = (summary.results.iter())
        .map(|row| {
            let cells = RESULT_COLUMNS.map(|(_, cell)| cell(row)).to_vec();
            context! { distilled => row.is_distilled(), cells }
        })
        .collect();
    let total_secs: f64 = summary.stages.iter().map(|stage| stage.seconds).sum();

    let page = context! {
        name => summary.name.as_str(),
        lead => lead(summary),
        run_facts => run_facts(summary),
        headline => headline(summary),
        columns => RESULT_COLUMNS.map(|(heading, _)| heading).to_vec(),
        rows,
        continual => Value::from_safe_string(section(&of_run(&summary.continual))?),
        recover_facts => recover_facts(summary),
        curves,
        gallery,
        gallery_note => input.gallery_note.as_deref(),
        recovery => recovery.map(Value::from_safe_string),
        costs => costs(summary, total_secs),
        total_time => human_duration(total_secs),
        size_facts => size_facts(summary),
        experiment_toml => input.experiment_toml,
        warnings => input.warnings.to_vec(),
        version => summary.alambic_version.as_str(),
    };
    (environment().render_named_str(TEMPLATE.0, TEMPLATE.1, page)).context("report")
}

/// What was distilled into what, as a sentence.
fn lead(summary: &Summary) -> String {
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
fn headline(summary: &Summary) -> Option<Value> {
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
    let control = summary.random_real(&main.labels, &main.network);
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
        comparison => control.map(|control| comparison(main, &control)),
        bars,
        chance_percent,
        chance => format!("{chance_percent:.1}"),
    })
}

fn comparison(main: &ResultRow, control: &ResultRow) -> String {
    let points = main.mean_last - control.mean_last;
    let direction = if points < 0. { "below" } else { "above" };
    format!(
        "{:.1} points {direction} the same number of random real images with the same labels",
        points.abs()
    )
}

fn run_facts(summary: &Summary) -> Vec<Value> {
    let started = summary.started.as_deref();
    let finished = summary.finished.as_deref().unwrap_or("not yet");
    let mut facts = vec![
        fact("seed", summary.seed.to_string()),
        fact("device", summary.device.as_str()),
    ];
    facts.extend(started.map(|time| fact("started", time)));
    facts.push(fact("finished", finished));
    facts
}

/// How well the distilled images answer what was asked of them.
fn recover_facts(summary: &Summary) -> Vec<Value> {
    let mut facts = Vec::new();
    if let Some(teacher) = &summary.teacher {
        facts.push(fact("teacher", teacher.architecture.as_str()));
        if let Some(parameters) = teacher.parameters {
            facts.push(fact("parameters", human_count(parameters)));
        }
        let accuracy = format!("{:.1} %", teacher.top1);
        facts.push(fact("teacher on test images", accuracy));
    }
    let Some(recover) = &summary.recover else {
        return facts;
    };
    let accuracy = format!("{:.1} %", recover.teacher_accuracy_on_distilled);
    facts.push(fact("teacher on distilled images", accuracy));
    if let (Some(first), Some(last)) = (
        recover.bn_statistics_loss_first,
        recover.bn_statistics_loss_last,
    ) {
        let change = format!("{} → {}", figure(first), figure(last));
        facts.push(fact("BatchNorm-statistics loss", change));
    }
    for (term, value) in &recover.loss_terms_last {
        facts.push(fact(&format!("last {term}"), figure(*value)));
    }
    facts.push(fact("iterations", human_count(recover.iterations)));
    let time = human_duration(recover.seconds_per_image);
    facts.push(fact("time per image", time));
    facts
}

fn costs(summary: &Summary, total_secs: f64) -> Vec<Value> {
    (summary.stages.iter())
        .map(|stage| {
            context! {
                stage => stage.stage.clone(),
                status => match stage.status {
                    StageStatus::Done => "done",
                    StageStatus::Partial => "partial",
                    StageStatus::Pending => "pending",
                    StageStatus::Stale => "stale",
                },
                time => human_duration(stage.seconds),
                share_percent => if total_secs > 0. {
                    100. * stage.seconds / total_secs
                } else {
                    0.
                },
                memory => stage
                    .peak_bytes
                    .map_or_else(|| "not measured".into(), human_bytes),
                profile => stage.profile.as_ref().map(|p| p.table(&stage.stage)),
            }
        })
        .collect()
}

fn size_facts(summary: &Summary) -> Vec<Value> {
    let bytes = summary.bytes;
    let mut facts = vec![
        fact("distilled images", human_bytes(bytes.images)),
        fact("stored labels", human_bytes(bytes.labels)),
    ];
    if bytes.images > 0 {
        let ratio = bytes.labels as f64 / bytes.images as f64;
        facts.push(fact("label bytes per image byte", figure(ratio)));
    }
    facts
}

fn fact(label: &str, value: impl Into<String>) -> Value {
    context! { label, value => value.into() }
}

/// Three significant digits, so that a loss reads the same at any size.
fn figure(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "not finite".into(),
        0. => "0".into(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size => format!(
            "{value:.*}",
            (2 - size.log10().floor() as i32).max(0) as usize
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cost::StageProfile;
    use super::super::curves::{ChartOptions, Curve, line_chart};
    use super::super::summary::tests::{row, summary};
    use super::*;

    fn page(summary: &Summary, caption: &str, warnings: &[String]) -> String {
        let input = ReportInput {
            summary,
            experiment_toml: "name = \"x\"  # a < b\n",
            curves: vec![("Squeeze & co".into(), "<svg id=\"chart\"></svg>".into())],
            gallery: vec![(caption.into(), b"foobar".to_vec())],
            gallery_note: None,
            recovery: None,
            warnings,
        };
        render(&input).unwrap()
    }

    #[test]
    fn shows_the_result_beside_its_controls() {
        let mut summary = summary();
        summary.stages[1].profile = Some(StageProfile::default());
        let html = page(&summary, "3", &[]);
        for text in [
            "profile of recover: peak heap 0 B",
            "<h1>sre2l_digits_convnet_ipc10</h1>",
            "1,438 training images of 10 classes at 8 × 8 pixels, distilled into 100 images, 10 per class.",
            "3.8 points above the same number of random real images",
            "mean and standard deviation over 3 seeds",
            "92.27 ± 0.47",
            "random-real",
            "52.4 → 3.17",
            "<svg id=\"chart\"></svg>",
            "data:image/png;base64,Zm9vYmFy",
            "8 min 05 s",
            "340 MiB",
            "600 KiB",
            "a &lt; b",
        ] {
            assert!(html.contains(text), "{text}");
        }
        assert!(!html.contains("Warnings"));
    }

    #[test]
    fn untrusted_text_is_escaped() {
        let attack = "\"><script>alert('x')</script>";
        let mut summary = summary();
        summary.name = attack.into();
        summary.device = attack.into();
        summary
            .results
            .push(row("distilled", attack, attack, &[1.]));
        summary
            .recover
            .as_mut()
            .unwrap()
            .loss_terms_last
            .insert(attack.into(), 1.);
        let html = page(&summary, attack, &[attack.to_owned()]);
        assert!(!html.contains("<script"), "no script, ours included");
        assert!(html.matches("&lt;script&gt;").count() >= 7);
        assert!(html.contains("Warnings"));
    }

    #[test]
    fn needs_nothing_from_outside() {
        let html = page(&summary(), "3", &[]);
        for outside in ["http://", "https://", "src=\"/", "@import", "<link"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn the_style_recolours_charts_by_the_colours_they_are_drawn_with() {
        let curves = [Curve {
            name: "loss".into(),
            points: vec![(0., 1.), (1., 2.)],
            ..Curve::default()
        }];
        let svg = line_chart(&curves, &ChartOptions::default())
            .unwrap()
            .unwrap();
        let selectors: Vec<&str> = TEMPLATE.1.split(".charts svg [").skip(1).collect();
        assert_eq!(selectors.len(), 4);
        for selector in selectors {
            let attribute = selector.split(']').next().unwrap();
            assert!(svg.contains(attribute), "{attribute}");
        }
    }

    #[test]
    fn a_partial_run_is_shown_as_far_as_it_went() {
        let mut partial = summary();
        partial.results.clear();
        partial.recover = None;
        partial.finished = None;
        partial.stages.truncate(1);
        partial.stages[0].status = StageStatus::Partial;
        partial.stages[0].peak_bytes = None;
        let html = page(&partial, "3", &[]);
        assert!(html.contains("nothing has been distilled yet") && html.contains("not measured"));
        assert!(html.contains("not yet") && html.contains("partial"));
        assert!(!html.contains("<h2>Results"), "no empty table");
    }

    #[test]
    fn figures_have_three_digits() {
        let cases = [
            (0., "0"),
            (52.41, "52.4"),
            (0.0021, "0.00210"),
            (3.4e-7, "3.40e-7"),
            (1234.5, "1234"),
        ];
        for (value, expected) in cases {
            assert_eq!(figure(value), expected);
        }
        assert_eq!(figure(f64::NAN), "not finite");
    }

    #[test]
    fn vectors_of_rfc_4648_section_10() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(BASE64_STANDARD.encode(bytes), expected);
        }
        assert_eq!(BASE64_STANDARD.encode([0xfb, 0xff, 0xfe]), "+//+");
    }
}
