//! States of images on their way: what a run keeps of them, what it draws, and what happens where they are asked for late.

use std::{fs, io::Cursor};

use alambic::{
    artifact::Frames,
    experiment::compare,
    report::{
        film::{Film, Subject},
        gallery::{ClassRow, MosaicOptions, class_figures},
        html::{ReportInput, render},
        recovery::{PAGE_BYTES, Recovery},
        summary::Summary,
        thumbnails::thumbnails,
    },
};
use image::{AnimationDecoder, Rgb, RgbImage, codecs::png::PngDecoder};

use crate::common::{Answer, Lab, alambic, assert_same, files};

const POOLED: &str = r#"plugin = "resnet", params = { depth = 18, stem = "small", width = 2 }"#;
const STATES: [&str; 2] = ["--set", "recover.frames=9"];

fn kept(lab: &Lab, stage: &str) -> Frames {
    let path = lab.path("run").join(stage).join("frames.safetensors");
    Frames::load(&path)
        .expect("states")
        .expect("a file of them")
}

/// Bytes of a PNG file, [3, R, R].
fn planes(file: &[u8]) -> Vec<u8> {
    let image = image::load_from_memory(file).expect("a PNG").to_rgb8();
    let channels = (0..3).map(|c| image.pixels().map(move |p| p.0[c]));
    channels.flatten().collect()
}

/// The last state of every image is the file of the image.
#[track_caller]
fn ends_as_stored(lab: &Lab, stage: &str) {
    let frames = kept(lab, stage);
    let stored = files(&lab.path("run").join(stage).join("images"));
    let last = frames.states.last().expect("a state");
    assert_eq!(frames.images.len(), stored.len(), "two of each digit");
    for (index, image) in frames.images.iter().enumerate() {
        let (class, number) = (image.class, image.number);
        let name = format!("{class:05}_{}/{number:05}.png", image.class_name);
        assert!(planes(&stored[&name]) == last.image(index), "{name}");
        assert!(frames.states[0].image(index) != last.image(index), "{name}");
    }
}

#[test]
fn a_run_keeps_states_that_end_with_the_stored_images_and_shows_them() {
    let lab = Lab::new();
    lab.run(&STATES).done();
    ends_as_stored(&lab, "recover");
    let frames = kept(&lab, "recover");
    // 120 iterations.
    assert_eq!(frames.iterations(), [0, 2, 3, 6, 11, 20, 36, 66, 120]);

    let file = fs::read(lab.path("run/report/recovery.png")).unwrap();
    let decoder = PngDecoder::new(Cursor::new(&file)).unwrap();
    let drawn = decoder
        .apng()
        .unwrap()
        .into_frames()
        .collect_frames()
        .unwrap();
    assert_eq!(drawn.len(), 9);
    // Ten images of 64 pixels side by side, in two lines below the iteration.
    let size = (4 + 10 * 68, 20 + 2 * 68);
    assert!(drawn.iter().all(|f| f.buffer().dimensions() == size));
    // The second image of digit 0 stands beside the first; its pixels are eight times as wide.
    let second = frames
        .images
        .iter()
        .position(|i| (i.class, i.number) == (0, 1));
    let pixels = frames.states[8].image(second.unwrap());
    let shown = drawn[8].buffer().get_pixel(4 + 68 + 8 * 3, 20 + 8 * 2).0;
    let expected = [0, 1, 2].map(|c| pixels[c * 64 + 2 * 8 + 3]);
    assert_eq!(shown[..3], expected);
    let page = fs::read_to_string(lab.path("run/report/index.html")).unwrap();
    for text in [
        "How the images came to be",
        "20 images after 0, 2, 3, 6, 11, 20, 36, 66, 120 iterations",
        "Classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9.",
    ] {
        assert!(page.contains(text), "no {text:?}");
    }
    let events = fs::read(lab.path("run/events/recover/images/events.out.tfevents.0.alambic"));
    let events = String::from_utf8_lossy(&events.unwrap()).into_owned();
    assert_eq!(events.matches("recover/7").count(), 9, "one for each state");

    let verify = || {
        let mut verify = alambic();
        verify.arg("verify").arg(lab.path("run"));
        Answer::of(verify.output().unwrap())
    };
    verify().done();
    let path = lab.path("run/recover/frames.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    verify().refused(2, &["frames.safetensors has changed", "--from recover"]);
    lab.run(&STATES)
        .refused(2, &["frames.safetensors has changed"]);
}

/// States change no result: a finished stage stays, and says what it lacks.
#[test]
fn states_that_are_asked_for_later_are_told_and_taken_on_demand() {
    let lab = Lab::finished();
    let before = lab.results("run");
    let told = lab.run(&STATES).done().stderr;
    let line = "recover.frames asks for 9 states, and the finished stage has kept 0: --from recover takes them";
    assert!(told.contains(line), "{told}");
    assert!(told.contains("recover: finished, skipped"), "{told}");
    assert_same(&before, &lab.results("run"));

    lab.run(&[&STATES[..], &["--from", "recover"]].concat())
        .done();
    let again = lab.run(&STATES).done().stderr;
    assert!(!again.contains("asks for"), "{again}");
    let mut with = lab.results("run");
    assert!(with.remove("recover/frames.safetensors").is_some());
    assert_same(&before, &with);
    assert!(lab.path("run/report/recovery.png").exists());

    lab.run(&["--from", "recover"]).done();
    assert_same(&before, &lab.results("run"));
    assert!(!lab.path("run/report/recovery.png").exists());
}

/// Half a sequence would be none: a stage goes on with what it was begun with.
#[test]
fn a_stage_under_way_keeps_the_number_of_states_it_began_with() {
    let lab = Lab::new();
    let options = ["--set", "checkpoint_secs=0"];
    let mut run = lab.start(&options);
    let checkpoint = lab.path("run/recover/checkpoint.safetensors");
    run.until("an iteration of recover", || checkpoint.exists());
    run.kill();
    let told = lab.run(&[&options[..], &STATES].concat()).done().stderr;
    let line = "recover: began with frames = 0 and goes on so; frames = 9 takes --from recover";
    assert!(told.contains(line), "{told}");
    assert!(!lab.path("run/recover/frames.safetensors").exists());
}

#[test]
fn a_matched_set_has_states_too() {
    let lab = Lab::matching();
    lab.run(&["--set", "match.frames=5"]).done();
    ends_as_stored(&lab, "match");
    assert_eq!(kept(&lab, "match").iterations(), [0, 2, 5, 13, 30]);
    assert!(lab.path("run/report/recovery-strip.png").exists());
}

#[test]
fn states_of_several_resolutions_are_kept_as_they_were() {
    let lab = Lab::new();
    // A network that takes images of any size.
    lab.edit(&[
        (
            "plugin = \"convnet\", params = { depth = 2, width = 16, norm = \"batch\" }",
            POOLED,
        ),
        ("epochs = 4\n", "epochs = 1\n"),
    ]);
    let stages = "recover.resolutions=[{ iterations = 20, resolution = 4 }, { iterations = 100, resolution = 8 }]";
    for stage in ["squeeze", "recover"] {
        let only = [
            "--only",
            stage,
            "--set",
            stages,
            "--set",
            "recover.frames=5",
        ];
        lab.run(&only).done();
    }
    ends_as_stored(&lab, "recover");
    let sides = kept(&lab, "recover").states.into_iter();
    let sides: Vec<_> = sides.map(|s| (s.iteration, s.resolution)).collect();
    // The start has the data's resolution; what is seen after 11 iterations is small.
    assert_eq!(sides, [(0, 8), (3, 4), (11, 4), (36, 8), (120, 8)]);
}

#[test]
fn numbers_of_states_that_make_no_sense_are_refused() {
    let lab = Lab::new();
    let refused = |changes: &[&str], part: &str| {
        let changes = changes.iter().flat_map(|change| ["--set", change]);
        let lines = lab.run(&changes.collect::<Vec<_>>()).refused(2, &[part]);
        assert_eq!(lines.len(), 1, "{lines:?}");
    };
    refused(
        &["recover.frames=1"],
        "recover.frames: got 1, expected 0 for none, or at least 2",
    );
    refused(&["recover.frames=65"], "recover.frames: ");
    let none = [
        "recover.frames=3",
        "recover.iterations=0",
        "recover.init=\"real\"",
    ];
    refused(
        &none,
        "recover.frames: got 3, expected 0 where there are no iterations",
    );
    let large = [
        "recover.frames=64",
        "data.resolution=1024",
        "recover.batch_size=1",
    ];
    refused(
        &large,
        "64 states of an image of 1024 px take 192 MiB, expected at most 32.0 MiB; lower it to 10",
    );
}

/// Pictures that no encoder makes smaller.
fn noise(side: u32, seed: u32) -> RgbImage {
    RgbImage::from_fn(side, side, |x, y| {
        let value = (x * 7919 + y * 104_729 + seed * 31).wrapping_mul(2_654_435_761);
        let mixed = (value ^ value >> 15).wrapping_mul(2_246_822_519);
        let [a, b, c, _] = (mixed ^ mixed >> 13).to_le_bytes();
        Rgb([a, b, c])
    })
}

/// Of a thousand classes the report shows twenty, five images of each and five real ones; states as many as memory has room for.
#[test]
fn a_report_of_many_large_images_stays_below_its_limit() {
    let lab = Lab::finished();
    let summary = compare::read(&lab.path("run/report/summary.json")).unwrap();
    let summary = Summary::from_json(&summary).unwrap();
    let side = 224;
    let small = |class: u32, from: u32| {
        let images = (from..from + 5).map(|i| noise(side, class * 10 + i));
        thumbnails(images.collect(), 200)
    };
    let rows: Vec<ClassRow> = (0..20)
        .map(|class| ClassRow {
            class_name: format!("a class with a rather long name {class}"),
            distilled: small(class, 0),
            real: small(class, 5),
        })
        .collect();
    let gallery = class_figures(&rows, &MosaicOptions::default()).unwrap();
    let film = Film {
        subjects: (0..9)
            .map(|class| Subject {
                class_name: format!("a class with a rather long name {class}"),
                number: 0,
            })
            .collect(),
        states: (0..24)
            .map(|state| (state * 170, (0..9).map(|i| noise(side, 1000 + i)).collect()))
            .collect(),
    };
    let recovery = Recovery::of(&film).unwrap().unwrap();
    let toml = fs::read_to_string(lab.path("run/experiment.toml")).unwrap();
    let html = render(&ReportInput {
        summary: &summary,
        experiment_toml: &toml,
        changed: Vec::new(),
        // Four charts with as many points as charts have: 100 kB each.
        curves: vec![("curve".to_owned(), "0,0 ".repeat(25_000)); 4],
        confusions: Vec::new(),
        gallery,
        gallery_note: String::new(),
        coarse: false,
        recovery: Some(&recovery),
        files: Vec::new(),
        versions: Vec::new(),
        plugins: Vec::new(),
    });
    let html = html.unwrap();
    assert!(html.len() < PAGE_BYTES, "{} bytes", html.len());
    assert!(
        html.len() > PAGE_BYTES / 4,
        "there is room for {}",
        html.len()
    );
    assert_eq!(html.matches(", so that this page stays small.").count(), 2);
}
