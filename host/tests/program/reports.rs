//! What a report says of a run, and when: of the first student's answers by class, between two stages, and of what is outstanding.

use std::{collections::BTreeMap, fs};

use alambic::report::confusion::Confusion;
use serde_json::Value as Json;

use crate::common::{Answer, Lab, alambic, assert_same};

const FIRST: &str = "validate/distilled/convnet-seed0";

fn compare(lab: &Lab, arguments: &[&str]) -> Answer {
    let mut command = alambic();
    let command = command
        .current_dir(lab.path(""))
        .arg("compare")
        .args(arguments);
    Answer::of(command.output().expect("the program starts"))
}

#[test]
fn the_first_student_leaves_what_it_takes_each_class_for() {
    let lab = Lab::finished();
    let confusion: Confusion =
        serde_json::from_value(lab.json(&format!("{FIRST}/confusion.json"))).unwrap();
    let tests = lab.json("report/summary.json")["data"]["test_images"]
        .as_u64()
        .unwrap();
    let images: u64 = (0..10).map(|class| confusion.images(class)).sum();
    assert_eq!(images, tests);
    let correct: u64 = (0..10).map(|class| confusion.count(class, class)).sum();
    let top1 = lab.json(&format!("{FIRST}/metrics.json"))["top1_last"]
        .as_f64()
        .unwrap();
    assert!(
        (100. * correct as f64 / tests as f64 - top1).abs() < 1e-9,
        "{top1}"
    );
    let files = &lab.json("manifest.json")["stages"]["validate"]["files"];
    assert!(
        files[&format!("{FIRST}/confusion.json")].is_string(),
        "{files}"
    );
    let page = fs::read_to_string(lab.path("run/report/index.html")).unwrap();
    let cell = format!(
        "3 taken for 3: {} of {}",
        confusion.count(3, 3),
        confusion.images(3)
    );
    assert!(page.contains(&cell), "no {cell:?}");
    for part in [
        "Changed from the defaults",
        "squeeze.architecture.params.depth",
        "convnet",
    ] {
        assert!(page.contains(part), "no {part:?}");
    }
    // Of one seed alone, and a run without the file is as good as one with it.
    let other = "validate/distilled/convnet-seed1";
    lab.run(&["--set", "validate.seeds=[0, 1]"]).done();
    assert!(lab.path(&format!("run/{other}/metrics.json")).exists());
    assert!(!lab.path(&format!("run/{other}/confusion.json")).exists());
    lab.forget_checksums();
    fs::remove_file(lab.path(&format!("run/{FIRST}/confusion.json"))).unwrap();
    let before = lab.results("run");
    lab.run(&["--set", "validate.seeds=[0, 1]"]).done();
    assert_same(&before, &lab.results("run"));
    let page = fs::read_to_string(lab.path("run/report/index.html")).unwrap();
    let title = "fkd labels: convnet, seed 0";
    assert!(!page.contains(&format!("distilled, {title}")));
    assert!(page.contains(&format!("random-real, {title}")));
}

#[test]
fn a_kill_after_the_last_evaluation_loses_no_answers() {
    let lab = Lab::new();
    let [confusion, metrics] =
        ["confusion", "metrics"].map(|file| lab.path(&format!("run/{FIRST}/{file}.json")));
    let mut run = lab.start(&["--set", "checkpoint_secs=0"]);
    run.until("the answers of the first student", || confusion.exists());
    assert!(!metrics.exists());
    run.kill();
    lab.run(&[]).done();
    assert_same(&lab.results("run"), &Lab::finished().results("run"));
}

#[test]
fn a_report_between_two_stages_is_in_the_manifest_and_says_what_is_outstanding() {
    let lab = Lab::new();
    let page = lab.path("run/report/index.html");
    let manifest = || fs::read_to_string(lab.path("run/manifest.json")).unwrap_or_default();
    let mut run = lab.start(&["--set", "recover.iterations=130"]);
    run.until("the report of squeeze", || {
        manifest().contains("\"report/index.html\"")
    });
    run.kill();
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.contains("Outstanding: recover, relabel, validate."));
    assert!(text.contains("Squeeze: accuracy on test images"));
    let mut verify = alambic();
    Answer::of(verify.arg("verify").arg(lab.path("run")).output().unwrap()).done();
    // An unfinished run is a row of a comparison that says so, beside one that is finished.
    let finished = Lab::finished();
    let whole = finished.path("run");
    let both = ["run", whole.to_str().unwrap()];
    let table = compare(&lab, &both).done().stdout;
    assert!(table.contains("recover unfinished"), "{table}");
    for line in table
        .lines()
        .filter(|line| !line.starts_with("- ") && !line.starts_with("left"))
    {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let json = compare(&lab, &[&both[..], &["--format", "json"]].concat())
        .done()
        .stdout;
    let rows: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(rows[0]["unfinished"], "recover");
    assert!(rows[1]["unfinished"].is_null() && rows[1]["own"]["mean"].is_number());
    let keys: BTreeMap<String, Json> = serde_json::from_value(rows[0]["keys"].clone()).unwrap();
    assert_eq!(
        keys,
        BTreeMap::from([("recover.iterations".to_owned(), Json::from(130))]),
        "the one key in which they differ"
    );
    let page = ["--format", "html", "--class", "7"];
    let html = compare(&lab, &[&both[..], &page].concat()).done().stdout;
    assert!(
        html.contains("Images of class 7") && html.contains("<svg"),
        "a chart and images"
    );
    let wrong = ["--format", "html", "--class", "cat"];
    compare(&lab, &[&both[..], &wrong].concat()).refused(2, &["--class: got \"cat\"", "0 to 9"]);
    compare(&lab, &[&both[..], &["--class", "7"]].concat()).refused(2, &["--class: ", "html"]);
}

#[test]
fn what_a_report_warns_of_is_told_at_the_end_of_a_run() {
    let lab = Lab::finished();
    let told = lab.run(&[]).done().stdout;
    let warnings = lab.json("report/summary.json")["warnings"].clone();
    let warnings: Vec<String> = serde_json::from_value(warnings).unwrap();
    assert!(
        warnings.iter().any(|w| w.contains("1 seed(s)")),
        "{warnings:?}"
    );
    let page = fs::read_to_string(lab.path("run/report/index.html")).unwrap();
    for warning in &warnings {
        assert!(told.contains(&format!("warning: {warning}")), "{told}");
        let start = warning.split(['\'', '"', '<']).next().unwrap();
        assert!(page.contains(start), "{warning}");
    }
}
