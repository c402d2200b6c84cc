//! Tables of runs in every format.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::report::{
    difference::{Basis, Difference},
    scores::Scores,
};

fn accuracy(mean: f64) -> Accuracy {
    Accuracy {
        mean,
        std: Some(0.5),
        seeds: 3,
    }
}

fn row() -> Row {
    Row {
        run: "dc, <small>".to_owned(),
        folder: "runs/dc".to_owned(),
        method: "match: gradient".to_owned(),
        network: "convnet".to_owned(),
        student: Some("convnet".to_owned()),
        labels: Some("hard".to_owned()),
        images_per_class: Some(10),
        own: Some(accuracy(44.9)),
        hard: Some(accuracy(44.9)),
        random_real: Some(accuracy(26.)),
        full_data: None,
        ahead: Some(Difference {
            points: 18.9,
            half_width: 1.25,
            basis: Basis::Spread,
        }),
        image_bytes: Some(300_000),
        label_bytes: Some(0),
        seconds_per_image: Some(12.5),
        making_seconds: 1250.,
        peak_bytes: Some(400 << 20),
        common: None,
        scores: Scores::default(),
        continual: Vec::new(),
        unfinished: None,
        keys: BTreeMap::new(),
    }
}

fn of(rows: Vec<Row>) -> Comparison {
    Comparison {
        rows,
        ..Comparison::default()
    }
}

/// Runs of four temperatures, given out of order, and one that stopped early.
fn temperatures() -> Comparison {
    let at = |t: f64| Row {
        run: format!("a-run-with-quite-a-long-name-t{t}"),
        keys: BTreeMap::from([("validate.loss.params.temperature".to_owned(), json!(t))]),
        ..row()
    };
    let stopped = Row {
        run: "stopped".to_owned(),
        unfinished: Some("relabel".to_owned()),
        keys: BTreeMap::from([("validate.loss.params.temperature".to_owned(), json!(2.0))]),
        ..Row::default()
    };
    Comparison {
        keys: vec!["validate.loss.params.temperature".to_owned()],
        ..of(vec![at(1.), at(16.), stopped, at(4.)])
    }
}

#[test]
fn every_format_has_the_figures() {
    let comparison = of(vec![row()]);
    let of = |format| comparison.write(format, 1000).unwrap();
    let terminal = of(Format::Terminal);
    for part in [
        "44.90 ± 0.50",
        "26.00 ± 0.50",
        "+18.90 ± 1.25",
        "20 min 50 s",
        "12.50",
        "400 MiB",
    ] {
        assert!(terminal.contains(part), "{part}: {terminal}");
    }
    for absent in ["common", "LRS", "left out", "state"] {
        assert!(!terminal.contains(absent), "{terminal}");
    }
    assert!(of(Format::Markdown).starts_with("| run "));
    let text = of(Format::Csv);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let record = reader.records().next().unwrap().unwrap();
    assert_eq!(
        (&record[0], &record[7], &record[14]),
        ("dc, <small>", "44.9", "")
    );
    assert_eq!(record.len(), reader.headers().unwrap().len());
    let json: serde_json::Value = serde_json::from_str(&of(Format::Json)).unwrap();
    assert_eq!(json[0]["random_real"]["mean"], 26.);
    let page = of(Format::Html);
    assert!(
        page.contains("dc, &lt;small&gt;") && page.contains("44.90 ±\u{a0}0.50"),
        "{page}"
    );
}

#[test]
fn a_terminal_of_eighty_columns_shows_what_fits_and_names_the_rest() {
    let table = temperatures().write(Format::Terminal, 80).unwrap();
    for line in table
        .lines()
        .take_while(|line| !line.starts_with("left out"))
    {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let first: Vec<&str> = table.lines().collect();
    assert!(
        first[0].contains("temperature") && first[0].contains("top-1 (%)"),
        "{table}"
    );
    assert!(table.contains("left out to fit 80 columns"), "{table}");
    let left_out = table
        .lines()
        .find(|line| line.starts_with("left out"))
        .unwrap();
    assert!(
        left_out.contains("network") && left_out.contains("making"),
        "{left_out}"
    );
    assert!(
        table.contains("temperature: validate.loss.params.temperature"),
        "{table}"
    );
}

#[test]
fn rows_are_in_the_order_of_the_key_and_an_unfinished_run_is_one_of_them() {
    let comparison = temperatures();
    let table = comparison.write(Format::Markdown, 80).unwrap();
    let place = |text: &str| {
        table
            .find(text)
            .unwrap_or_else(|| panic!("no {text} in {table}"))
    };
    let places = ["name-t1 ", "| stopped", "name-t4 ", "name-t16 "].map(place);
    assert!(places.is_sorted(), "{table}");
    let stopped = table
        .lines()
        .find(|line| line.contains("| stopped"))
        .unwrap();
    assert!(stopped.contains("relabel unfinished"), "{stopped}");
    // Programs get the rows as the runs were given.
    let json: serde_json::Value =
        serde_json::from_str(&comparison.write(Format::Json, 80).unwrap()).unwrap();
    assert_eq!(json[1]["keys"]["validate.loss.params.temperature"], 16.);
    assert_eq!(json[2]["unfinished"], "relabel");
}

#[test]
fn the_page_has_a_chart_and_images_of_one_class() {
    let comparison = Comparison {
        chart: Some("<svg id=\"all\"></svg>".to_owned()),
        class: Some("<cat>".to_owned()),
        images: vec![("dc".to_owned(), b"foobar".to_vec())],
        ..temperatures()
    };
    let page = comparison.write(Format::Html, 80).unwrap();
    for part in [
        "<svg id=\"all\"></svg>",
        "&lt;cat&gt;",
        "data:image/png;base64,Zm9vYmFy",
        "validate.loss.params.temperature",
        "relabel unfinished",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["http://", "https://", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn many_keys_have_a_table_of_their_own_on_a_page() {
    let keys: Vec<String> = (0..BESIDE + 1).map(|i| format!("recover.k{i}")).collect();
    let at = |run: &str, value: u32| Row {
        run: run.to_owned(),
        folder: format!("runs/{run}"),
        keys: keys.iter().map(|key| (key.clone(), json!(value))).collect(),
        ..row()
    };
    // Two students of the first run are one column.
    let mut all = of(vec![at("a", 1), at("a", 1), at("b", 22)]);
    all.keys.clone_from(&keys);
    let page = all.write(Format::Html, 80).unwrap();
    assert!(page.contains("What differs"));
    for key in &keys {
        let line = format!(
            "<code>{key}</code></th><td class=\"word\" data-label=\"a\">1</td><td class=\"word\" data-label=\"b\">22</td></tr>"
        );
        assert_eq!(page.matches(&line).count(), 1, "{key}: {page}");
    }
    // Fewer stand beside the figures.
    all.keys.truncate(BESIDE);
    let page = all.write(Format::Html, 80).unwrap();
    assert!(!page.contains("What differs"));
    assert_eq!(page.matches("data-label=\"k0\">22<").count(), 1, "{page}");
}
