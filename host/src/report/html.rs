//! The HTML report: one file that opens offline, with its style, charts and images inside.
//!
//! Every text is escaped by the template engine; only the charts, which [`super::curves`] makes, are inserted as they are.

use anyhow::{Context, Result};
use minijinja::{Value, context};

use super::{
    classes::{NetworkConfusion, classes},
    continual::{of_run, section},
    facts::{costs, recover_facts, run_facts, size_facts},
    headline::{headline, lead},
    page::{STYLE, environment, inlined},
    recovery::Recovery,
    summary::{StageStatus, Summary},
    table::{NUM_WORD_COLUMNS, result_columns},
    units::human_duration,
};

/// The template's name decides that its output is HTML, so that texts are escaped.
const TEMPLATE: (&str, &str) = ("index.html", include_str!("template.html"));

/// All that a report shows.
#[derive(Clone, Debug)]
pub struct ReportInput<'a> {
    /// The run in figures.
    pub summary: &'a Summary,
    /// The resolved experiment file.
    pub experiment_toml: &'a str,
    /// What is not at its default: key, value, default.
    pub changed: Vec<[String; 3]>,
    /// Charts: title, shown as a caption, and SVG document, trusted and best without a title.
    pub curves: Vec<(String, String)>,
    /// What networks take the classes for; the first is the main one.
    pub confusions: Vec<NetworkConfusion>,
    /// Images: caption (a class) and PNG file, distilled ones on the left and real ones on the right.
    pub gallery: Vec<(String, Vec<u8>)>,
    /// What of the images is shown.
    pub gallery_note: String,
    /// Whether images are so small that their pixels are to be seen.
    pub coarse: bool,
    /// How the images came to be, where states of them were kept.
    pub recovery: Option<&'a Recovery>,
    /// Files of the run folder: what they are, and where, relative to the page.
    pub files: Vec<(String, String)>,
    /// Versions and machine: what, and which.
    pub versions: Vec<(String, String)>,
    /// Plugins: name, version, the beginning of the file's SHA-256.
    pub plugins: Vec<[String; 3]>,
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
        .map(|(caption, png)| context! { caption, src => inlined(png) })
        .collect();
    let recovery = input.recovery.map(Recovery::section).transpose()?;
    let columns = result_columns(&summary.results);
    let rows: Vec<Value> = (summary.results.iter())
        .map(|row| {
            let cells: Vec<String> = columns.iter().map(|(_, cell)| cell(row)).collect();
            context! { distilled => row.is_distilled(), cells }
        })
        .collect();
    let total_secs: f64 = summary.stages.iter().map(|stage| stage.seconds).sum();
    let outstanding = summary
        .stages
        .iter()
        .filter(|s| s.status != StageStatus::Done);
    let outstanding: Vec<String> = outstanding.map(|stage| stage.stage.clone()).collect();

    let page = context! {
        style => Value::from_safe_string(STYLE.to_owned()),
        name => summary.name.as_str(),
        lead => lead(summary),
        run_facts => run_facts(summary),
        outstanding,
        headline => headline(summary),
        columns => columns.iter().map(|(heading, _)| *heading).collect::<Vec<_>>(),
        words => NUM_WORD_COLUMNS,
        rows,
        classes => classes(summary, &input.confusions),
        continual => Value::from_safe_string(section(&of_run(&summary.continual))?),
        recover_facts => recover_facts(summary),
        recovery => recovery.map(Value::from_safe_string),
        curves,
        gallery,
        gallery_note => input.gallery_note.as_str(),
        coarse => input.coarse,
        costs => costs(summary, total_secs),
        total_time => human_duration(total_secs),
        size_facts => size_facts(summary),
        changed => input.changed.clone(),
        experiment_toml => input.experiment_toml,
        files => input.files.clone(),
        versions => input.versions.clone(),
        plugins => input.plugins.clone(),
        warnings => summary.warnings.clone(),
        version => summary.alambic_version.as_str(),
    };
    (environment().render_named_str(TEMPLATE.0, TEMPLATE.1, page)).context("report")
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::super::cost::StageProfile;
    use super::super::{
        classes::tests::network,
        curve::Curve,
        curves::{ChartOptions, line_chart},
    };
    use super::super::{
        summary::tests::{row, summary},
        thumbnails::MAX_PIXELS,
    };
    use super::*;

    fn input<'a>(summary: &'a Summary, caption: &str) -> ReportInput<'a> {
        let text = || caption.to_owned();
        ReportInput {
            summary,
            experiment_toml: "name = \"x\"  # a < b\n",
            changed: vec![[text(), text(), text()]],
            curves: vec![("Squeeze & co".into(), "<svg id=\"chart\"></svg>".into())],
            confusions: vec![network("distilled", 10)],
            gallery: vec![(text(), b"foobar".to_vec())],
            gallery_note: text(),
            coarse: true,
            recovery: None,
            files: vec![(text(), "../manifest.json".into())],
            versions: vec![(text(), text())],
            plugins: vec![[text(), text(), text()]],
        }
    }

    fn page(summary: &Summary, caption: &str) -> String {
        render(&input(summary, caption)).unwrap()
    }

    #[test]
    fn shows_the_result_beside_its_controls() {
        let mut summary = summary();
        summary.stages[1].profile = Some(StageProfile::default());
        let html = page(&summary, "3");
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
            "href=\"..&#x2f;manifest.json\"",
            "7 taken for 8: 10 of 30",
        ] {
            assert!(html.contains(text), "{text}");
        }
        assert!(!html.contains("Warnings") && !html.contains("Outstanding"));
    }

    /// The most bytes of a report: what a browser opens at once, and a mail takes.
    const MAX_BYTES: usize = 5_000_000;

    #[test]
    fn a_large_run_stays_a_page_of_at_most_five_megabytes() {
        let mut summary = summary();
        summary.data.class_names = (0..1000).map(|i| format!("class number {i}")).collect();
        let sets = (0..12).map(|i| format!("set-{i}"));
        summary.results = sets
            .clone()
            .map(|set| row(&set, "fkd", "resnet", &[40., 41.]))
            .collect();
        let points: Vec<(f64, f64)> = (0..5000)
            .map(|i| (f64::from(i), f64::from(i % 97)))
            .collect();
        let shifted = points.iter().map(|(x, y)| (*x, y + 1.)).collect();
        let lines: Vec<Curve> = sets
            .clone()
            .map(|set| Curve::over(&set, &[points.clone(), Vec::clone(&shifted)]))
            .collect();
        let svg = line_chart(&lines, &ChartOptions::default())
            .unwrap()
            .unwrap();
        let html = render(&ReportInput {
            curves: vec![("chart".to_owned(), svg); 5],
            confusions: sets.map(|set| network(&set, 1000)).collect(),
            // As many incompressible bytes as the budget of thumbnails allows, in 20 figures.
            gallery: vec![("class".to_owned(), vec![0; 3 * MAX_PIXELS as usize / 20]); 20],
            ..input(&summary, "x")
        });
        let bytes = html.unwrap().len();
        assert!(bytes < MAX_BYTES, "{bytes}");
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
        summary.warnings = vec![attack.into()];
        summary.data.class_names[3] = attack.into();
        let html = page(&summary, attack);
        assert!(!html.contains("<script"), "no script, ours included");
        assert!(html.matches("&lt;script&gt;").count() >= 20);
        assert!(html.contains("Warnings"));
    }

    #[test]
    fn needs_nothing_from_outside() {
        let html = page(&summary(), "3");
        for outside in ["http://", "https://", "src=\"/", "@import", "<link"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn the_style_recolours_charts_by_the_colours_they_are_drawn_with() {
        let seeds = [[(0., 1.), (1., 2.)], [(0., 2.), (1., 3.)]].map(|points| points.to_vec());
        let curves = [Curve::over("loss", &seeds)];
        let svg = line_chart(&curves, &ChartOptions::default())
            .unwrap()
            .unwrap();
        let selectors: Vec<&str> = STYLE.split(".charts svg [").skip(1).collect();
        assert_eq!(selectors.len(), 5);
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
        let html = page(&partial, "3");
        assert!(html.contains("nothing has been distilled yet") && html.contains("not measured"));
        assert!(html.contains("not yet") && html.contains("partial"));
        assert!(html.contains("Outstanding: squeeze."), "what is left to do");
        assert!(!html.contains("<h2>Results"), "no empty table");
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
