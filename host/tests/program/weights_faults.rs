//! Weights that do not match, and files that are not weights: the message says where and what was expected, and no file is left.

use std::{collections::BTreeMap, fs};

use crate::common::desk::{Desk, NETWORK, load, saved};
use alambic::artifact::{tensors, weights::choice::Choice};
use candle_core::{DType, Device, Tensor};
use serde_json::Value as Json;

#[test]
fn files_that_are_damaged_or_something_else() {
    let desk = Desk::new();
    let whole = fs::read(saved("checkpoint.pth")).unwrap();
    for length in (5..whole.len()).step_by(97).chain([whole.len() - 1]) {
        let cut = desk.put("cut.pth", &whole[..length]);
        desk.refused(&cut, &NETWORK, &["cut.pth: truncated or damaged"]);
    }
    let half: Vec<u8> = [17f32, 18., 19.]
        .iter()
        .flat_map(|v| half::f16::from_f32(v / 64.).to_le_bytes())
        .collect();
    let at = whole
        .windows(half.len())
        .position(|w| w == half)
        .expect("weights in a row");
    let mut flipped = whole.clone();
    flipped[at] ^= 1;
    let flipped = desk.put("flipped.pth", &flipped);
    desk.refused(
        &flipped,
        &NETWORK,
        &["flipped.pth", "tensor ", "data/", "damaged", "checksum"],
    );

    let page = desk.put("page.pth", b"<html>404: not found</html>");
    desk.refused(
        &page,
        &NETWORK,
        &[
            "page.pth: ",
            "starts with \"<html>404",
            "expected a zip file",
        ],
    );
    desk.refused(
        &saved("legacy.pth"),
        &NETWORK,
        &["legacy.pth: ", "legacy format", "torch.save(torch.load("],
    );
    let module = [
        "module.pth: ",
        "torch.nn.modules.linear.Linear",
        "model.state_dict()",
    ];
    desk.refused(&saved("module.pth"), &NETWORK, &module);
    desk.refused(
        &desk.path("none.pth"),
        &NETWORK,
        &["none.pth: ", "No such file"],
    );

    desk.import(&saved("plain.pth"), "a.safetensors", &NETWORK)
        .done();
    let whole = fs::read(desk.path("a.safetensors")).unwrap();
    for length in [0, 7, 8, 100, whole.len() - 1] {
        let cut = desk.put("cut.safetensors", &whole[..length]);
        desk.refused(
            &cut,
            &NETWORK,
            &["cut.safetensors: ", "truncated", "expected"],
        );
    }
    let zip = desk.put(
        "empty.pth",
        b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    );
    desk.refused(&zip, &NETWORK, &["empty.pth", "starts with"]);
}

/// Bytes of every kind at every tenth place: a message each time, and never a panic.
#[test]
fn no_damaged_byte_makes_the_reader_panic() {
    let desk = Desk::new();
    for file in ["plain.pth", "views.pt"] {
        let whole = fs::read(saved(file)).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= [0x01, 0xff, 0x80][at % 3];
            let path = desk.put("x.pth", &bytes);
            // Some bytes of a zip file mean nothing; reading is then right.
            if let Err(error) = alambic::artifact::weights::read(&path, &Choice::default()) {
                assert!(format!("{error:#}").contains("x.pth: "), "{error:#}");
            }
        }
    }
}

#[test]
fn tensors_that_do_not_fit_are_told_with_what_would() {
    let desk = Desk::new();
    let plain = saved("plain.pth");
    let mut other = NETWORK;
    other[3] = "{ depth = 1, width = 2, norm = \"instance\" }";
    other[5] = "1000";
    let parts = [
        "plain.pth: the weights do not match the architecture \"convnet\": 4 of its 6 tensors match, 2 have another shape",
        "classifier.weight: got shape [3, 32], expected [1000, 32]",
        "features.1.running_mean: not in the architecture, shape [2]",
        "all match with --classes 3 --params '{ depth = 1, norm = \"batch\", width = 2 }'",
    ];
    desk.refused(&plain, &other, &parts);

    let mut deeper = NETWORK;
    deeper[3] = "depth = 2, width = 2, norm = \"batch\"";
    let flags = [&deeper[..], &["--json"]].concat();
    let answer = desk.import(&plain, "new.safetensors", &flags);
    answer.refused(
        2,
        &["features.4.weight: missing, expected shape [2, 2, 3, 3]"],
    );
    let report: Json = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(
        (
            &report["written"],
            report["missing"].as_array().unwrap().len()
        ),
        (&Json::Null, 6)
    );
    assert_eq!(report["mismatched"][0]["got"], serde_json::json!([3, 32]));
    assert!(!desk.path("new.safetensors").exists());

    // Tensors beyond the architecture's are another network, unless they are named.
    desk.import(&plain, "a.safetensors", &NETWORK).done();
    let mut tensors: Vec<(String, Tensor)> = load(desk.path("a.safetensors")).into_iter().collect();
    let extra = Tensor::ones((3, 4), DType::F32, &Device::Cpu).unwrap();
    tensors.push(("aux.classifier.weight".to_owned(), extra));
    let more = desk.path("more.safetensors");
    tensors::save(&more, &tensors, &BTreeMap::new()).unwrap();
    desk.refused(
        &more,
        &NETWORK,
        &["aux.classifier.weight: not in the architecture"],
    );
    let without = [&NETWORK[..], &["--leave-out", "aux."]].concat();
    desk.import(&more, "b.safetensors", &without).done();
    assert_eq!(
        fs::read(desk.path("b.safetensors")).unwrap(),
        fs::read(desk.path("a.safetensors")).unwrap()
    );

    let last = tensors.len() - 2;
    tensors[last].1 = (&tensors[last].1 * f64::NAN).unwrap();
    tensors.pop();
    let name = tensors[last].0.clone();
    tensors::save(&more, &tensors, &BTreeMap::new()).unwrap();
    desk.refused(
        &more,
        &NETWORK,
        &[&format!("more.safetensors: {name} contains NaN")],
    );
}

#[test]
fn all_that_is_wrong_with_a_request_is_told_at_once() {
    let desk = Desk::new();
    let names = desk.put("names.txt", b"cat\ndog\n");
    let names = names.to_string_lossy();
    desk.put("new.safetensors", b"years of work");
    let flags = [
        "--architecture",
        "convnet",
        "--params",
        "widht = 2",
        "--classes",
        "3",
        "--resolution",
        "8",
        "--class-names",
        &names,
        "--leave-out",
        "aux.",
    ];
    let lines = desk.refused(
        &saved("plain.pth"),
        &flags,
        &[
            "--params: unknown field \"widht\"",
            "--to: ",
            "--class-names: ",
            "got 2 lines, expected one name for each of 3 classes",
            "--leave-out: no tensor begins with \"aux.\"",
        ],
    );
    assert_eq!(lines.len(), 5, "{lines:?}");
    let mut unknown = NETWORK;
    unknown[1] = "convnt";
    desk.refused(
        &saved("plain.pth"),
        &unknown,
        &["--architecture: unknown architecture \"convnt\""],
    );
    let mut params = NETWORK;
    params[3] = "depth: 1";
    desk.refused(
        &saved("plain.pth"),
        &params,
        &["--params: got depth: 1, expected options"],
    );
}
