//! Each user mistake is reported on one line, with exit code 2, before anything is computed or written.

use crate::common::{Lab, images};

const CLASSES: [&str; 3] = ["a", "b", "c"];

/// Runs with these changes; every part must be in the message, which has one line for each fault.
#[track_caller]
fn refused(lab: &Lab, arguments: &[&str], parts: &[&str]) -> Vec<String> {
    let lines = lab.run(arguments).refused(2, parts);
    assert!(!lab.path("run").exists(), "a run folder was made");
    lines
}

/// The same for one `--set`, and one line.
#[track_caller]
fn set(lab: &Lab, change: &str, parts: &[&str]) {
    let lines = refused(lab, &["--set", change], parts);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[test]
fn keys_types_and_ranges() {
    let lab = Lab::new();
    for (change, parts) in [
        (
            "recover.iteratoins=5",
            ["recover", "iteratoins", "did you mean \"iterations\""],
        ),
        (
            "recvoer.iterations=5",
            ["unknown field \"recvoer\"", "did you mean", "\"recover\""],
        ),
        (
            "recover.iterations=\"many\"",
            ["recover.iterations: ", "an integer", "\"many\""],
        ),
        (
            "recover.iterations=0",
            ["recover.iterations: ", "at least 1", "0"],
        ),
        (
            "recover.keep=\"bset\"",
            ["recover.keep: ", "\"bset\"", "did you mean \"best\""],
        ),
        ("squeeze.flip=1.5", ["squeeze.flip: ", "at most 1", "1.5"]),
        (
            "squeeze.optimizer.kind=\"adamm\"",
            ["squeeze.optimizer", "\"adamm\"", "adam"],
        ),
        (
            "squeeze.color_jitter.hue=0.7",
            ["squeeze.color_jitter: ", "hue: got 0.7", "from 0 to 0.5"],
        ),
        (
            "relabel.color_jitter={ contrast = [1.4, 0.6] }",
            ["relabel.color_jitter: ", "contrast: got [1.4, 0.6]", "two"],
        ),
        (
            "relabel.color_jitter={ brigtness = 0.4 }",
            [
                "relabel.color_jitter: ",
                "\"brigtness\"",
                "did you mean \"brightness\"",
            ],
        ),
        (
            "relabel.color_jitter.saturation=\"high\"",
            ["relabel.color_jitter.saturation: ", "a number", "\"high\""],
        ),
        (
            "relabel.tiles=3",
            ["relabel.tiles: ", "got 3", "a divisor of the 8 pixels"],
        ),
        ("relabel.tiles=8", ["relabel.tiles: ", "at most 4", "8"]),
        (
            "relabel.rand_augment={ ops = 5 }",
            ["relabel.rand_augment.ops: ", "at most 4", "5"],
        ),
        (
            "relabel.rand_augment={ magnitude = 31 }",
            ["relabel.rand_augment.magnitude: ", "at most 30", "31"],
        ),
        (
            "squeeze.tiles=2",
            ["squeeze: ", "unknown field \"tiles\"", "have: "],
        ),
        ("seed=-1", ["seed: ", "at least 0", "-1"]),
        ("name=\"a//b\"", ["name: ", "\"\"", "without slashes"]),
        ("validate.seeds=[]", ["validate.seeds: ", "empty", "one"]),
        (
            "validate.seeds=[1, 1]",
            ["validate.seeds: ", "seed 1", "twice"],
        ),
        (
            "checkpoint_secs=-1",
            ["checkpoint_secs: ", "at least 0", "-1"],
        ),
    ] {
        set(&lab, change, &parts);
    }
}

#[test]
fn overrides_that_mean_nothing() {
    let lab = Lab::new();
    for (change, part) in [
        ("nonsense", "KEY=VALUE"),
        ("recover..iterations=1", "empty name"),
        ("recover.regularizers[4].weight=1", "the list has 1 items"),
        ("recover.regularizers[x].weight=1", "[NUMBER]"),
        ("seed.x=1", "no table"),
    ] {
        set(&lab, change, &[change, part]);
    }
}

#[test]
fn stages_and_tables_that_are_not_there() {
    let lab = Lab::new();
    for flag in ["--from", "--only"] {
        refused(
            &lab,
            &[flag, "recovr"],
            &["unknown stage \"recovr\"", "squeeze, recover"],
        );
    }
    refused(
        &lab,
        &["--from", "validate"],
        &["needs squeeze", "not finished"],
    );
    lab.edit(&[("[relabel]", "[labels]")]);
    let lines = refused(
        &lab,
        &[],
        &["unknown field \"labels\"", "relabel: missing table"],
    );
    assert!(lines.iter().any(|l| l.contains("which [validate] needs")));
    lab.edit(&[("[squeeze]", "[squeze]")]);
    refused(&lab, &[], &["squeeze", "missing"]);
}

#[test]
fn files_that_are_not_there_or_no_toml() {
    let lab = Lab::new();
    set(
        &lab,
        "data.train=\"nowhere/*.parquet\"",
        &["data.train: ", "nowhere/*.parquet"],
    );
    set(
        &lab,
        "data.test=\"nowhere\"",
        &["data.test: ", "no file or folder", "nowhere"],
    );
    set(
        &lab,
        "squeeze.weights=\"none.safetensors\"",
        &["squeeze.weights: ", "none.safetensors", "No such file"],
    );
    set(
        &lab,
        "data.format=\"imagefolder\"",
        &["data.train", "folder"],
    );
    lab.write("data/x.parquet", b"PAR1 but no more");
    set(
        &lab,
        "data.train=\"data/x.parquet\"",
        &["data.train: ", "x.parquet"],
    );
    lab.edit(&[("seed = 0", "seed = = 0")]);
    let lines = refused(&lab, &[], &["experiment.toml: not valid TOML at line 3"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    std::fs::remove_file(lab.path("experiment.toml")).unwrap();
    refused(&lab, &[], &["experiment.toml: cannot read the experiment"]);
}

#[test]
fn data_that_does_not_fit() {
    let lab = Lab::new();
    set(
        &lab,
        "data.image_column=\"img\"",
        &["data.", "\"img\"", "image"],
    );
    set(
        &lab,
        "data.label_column=\"fine\"",
        &["data.", "\"fine\"", "label"],
    );
    set(
        &lab,
        "data.classes=[\"0\", \"ten\"]",
        &["data.classes[1]: ", "unknown class \"ten\""],
    );
    set(
        &lab,
        "recover.images_per_class=150",
        &[
            "recover.images_per_class: 150 real images",
            "\"0\" has 14",
            "more classes",
        ],
    );
    let mut rows: Vec<(Vec<u8>, i64)> = (0..30)
        .map(|i| (images::picture(i % 3, i), (i % 3) as i64))
        .collect();
    let test = lab.path("test.parquet");
    images::write_parquet(&test, &rows, &CLASSES, ["image", "label"]);
    rows[4].1 = 7;
    rows[11].0 = b"this is text".to_vec();
    let train = lab.path("train.parquet");
    images::write_parquet(&train, &rows, &CLASSES, ["image", "label"]);
    let lines = refused(
        &lab,
        &[
            "--set",
            "data.train=\"train.parquet\"",
            "--set",
            "data.test=\"test.parquet\"",
        ],
        &[
            "train.parquet row 4: label 7 is out of range, expected 0 to 2",
            "train.parquet row 11: cannot decode the image's header",
        ],
    );
    assert_eq!(lines.len(), 3, "two faults and their count: {lines:?}");
}

#[test]
fn weights_that_do_not_fit() {
    let lab = Lab::new();
    let trained = Lab::finished();
    let model = trained.path("run/squeeze/model.safetensors");
    std::fs::copy(model, lab.path("teacher.safetensors")).unwrap();
    let weights = "squeeze.weights=\"teacher.safetensors\"";
    let lines = refused(
        &lab,
        &[
            "--set",
            weights,
            "--set",
            "squeeze.architecture.params.width=8",
        ],
        &[
            "squeeze.weights: ",
            "teacher.safetensors",
            "got shape",
            "expected [",
        ],
    );
    assert_eq!(lines.len(), 1, "{lines:?}");
    let lines = refused(
        &lab,
        &[
            "--set",
            weights,
            "--set",
            "squeeze.architecture.params.depth=3",
        ],
        &["squeeze.weights: ", ": missing"],
    );
    assert!(lines[0].len() < 600, "the first few are enough: {lines:?}");
    let lines = refused(
        &lab,
        &[
            "--set",
            weights,
            "--set",
            "data.classes=[1, 0, 2, 3, 4, 5, 6, 7, 8, 9]",
        ],
        &[
            "squeeze.weights: ",
            "teacher: 0 0, 1 1, 2 2",
            "data:    0 1, 1 0, 2 2",
        ],
    );
    assert_eq!(lines.len(), 4, "a line for each order: {lines:?}");
}

#[test]
fn components_and_their_options() {
    let lab = Lab::new();
    for (change, parts) in [
        (
            "recover.loss={ plugin = \"kll\" }",
            ["recover.loss.plugin: ", "unknown loss \"kll\"", "\"kl\""],
        ),
        (
            "relabel.relabeler.plugin=\"fdk\"",
            ["relabel.relabeler.plugin: ", "unknown relabeler", "\"fkd\""],
        ),
        (
            "squeeze.architecture.params.widht=8",
            ["squeeze.architecture.params", "widht", "\"width\""],
        ),
        (
            "relabel.relabeler.params.dtype=\"f17\"",
            ["relabel.relabeler.params.dtype: ", "\"f17\"", "f16"],
        ),
        (
            "recover.regularizers[0].params.first_layer=\"two\"",
            [
                "recover.regularizers[0].params.first_layer: ",
                "a number",
                "\"two\"",
            ],
        ),
        (
            "recover.regularizers[0].params.first_layer=-1",
            [
                "recover.regularizers[0].params.first_layer: ",
                "at least 0",
                "-1",
            ],
        ),
        (
            "squeeze.architecture.params.norm=\"instance\"",
            ["recover.regularizers[0]: ", "bn-stats", "no BatchNorm"],
        ),
        (
            "validate.architectures[0].params.depth=9",
            ["validate.architectures[0]", "depth", "9"],
        ),
    ] {
        set(&lab, change, &parts);
    }
    let twice = "validate.architectures=[{ plugin = \"convnet\" }, { plugin = \"convnet\" }]";
    set(
        &lab,
        twice,
        &["validate.architectures[1]: ", "\"convnet\"", "name"],
    );
}

#[test]
fn devices_that_are_not_there() {
    let lab = Lab::new();
    refused(
        &lab,
        &["--device", "cuda:99"],
        &["device: ", "\"cuda:99\" is not available"],
    );
    set(
        &lab,
        "device=\"tpu\"",
        &["device: unknown device \"tpu\"", "auto, cpu, cuda:N"],
    );
}

#[test]
fn folders_of_others_are_left_alone() {
    let lab = Lab::finished();
    let before = crate::common::files(&lab.path("run"));
    let answer = lab.run(&["--set", "name=\"other\""]);
    let lines = answer.refused(2, &["--out: ", "contains the run \"small\"", "\"other\""]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    crate::common::assert_same(&before, &crate::common::files(&lab.path("run")));

    lab.write("thesis/chapter.txt", b"years of work");
    let answer = lab.run_into("thesis", &[]);
    answer.refused(2, &["--out: ", "thesis contains files but no run"]);
    assert_eq!(crate::common::files(&lab.path("thesis")).len(), 1);
    let answer = lab.run_into("experiment.toml", &[]);
    answer.refused(2, &["--out: ", "is a file, expected a folder"]);
}

#[test]
fn all_faults_of_all_tables_come_together() {
    let lab = Lab::new();
    lab.edit(&[
        ("device = \"cpu\"", "device = \"gpu\""),
        ("resolution = 8", "resolution = 8\nmean = [127.0, 0.5, 0.5]"),
        ("width = 16, norm", "widht = 16, norm"),
        ("iterations = 120", "iterations = \"many\""),
        ("plugin = \"fkd\"", "plugin = \"fkdd\""),
        ("seeds = [0]", "seeds = []"),
        ("loss = { plugin = \"kl\"", "loss = { plugin = \"kk\""),
    ]);
    let lines = refused(&lab, &[], &[]);
    let faults = [
        "device: unknown device \"gpu\"",
        "data.mean: ",
        "squeeze.architecture.params: unknown field \"widht\"",
        "recover.iterations: ",
        "relabel.relabeler.plugin: unknown relabeler \"fkdd\"",
        "validate.loss.plugin: unknown loss \"kk\"",
        "validate.seeds: ",
        "validate.architectures[0].params: unknown field \"widht\"",
    ];
    for fault in faults {
        let found = lines.iter().filter(|l| l.contains(fault)).count();
        assert_eq!(found, 1, "{fault}: {lines:#?}");
    }
    assert_eq!(lines.len(), faults.len() + 1, "{lines:#?}");
    assert_eq!(lines.last().map(String::as_str), Some("8 errors"));
}
