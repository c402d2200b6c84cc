//! The targets, one for each format.

use std::{fs, path::Path};

use alambic::{
    artifact::{
        ImageSet, LabelReader, LabelWriter, images, labels::LabelIndex, manifest::Manifest,
        tensors, weights, weights::choice::Choice,
    },
    data,
    engine::Value,
    experiment::{Experiment, file},
    plugins::elf,
    report::log,
};
use anyhow::Result;
use candle_core::Device;
use plugin_api::{
    relabeler::{LabelLayout, RecordIndex, SetInfo},
    view::{BeforeRule, ColorRule, CropRule, MixRule, ViewRule},
};
use serde_json::Value as Json;

use crate::Target;

/// Pixels a side of the images that are read.
const SIDE: usize = 4;

/// All targets.
pub const TARGETS: [Target; 11] = [
    Target {
        name: "experiment",
        file: "experiment.toml",
        prepare: nothing,
        read: experiment,
    },
    Target {
        name: "parquet",
        file: "train-00000-of-00001.parquet",
        prepare: nothing,
        read: data_set,
    },
    Target {
        name: "tar",
        file: "train.tar",
        prepare: nothing,
        read: data_set,
    },
    Target {
        name: "cifar",
        file: "data_batch_1.bin",
        prepare: nothing,
        read: data_set,
    },
    Target {
        name: "pth",
        file: "weights.pth",
        prepare: nothing,
        read: weights_of,
    },
    Target {
        name: "safetensors",
        file: "weights.safetensors",
        prepare: nothing,
        read: weights_of,
    },
    Target {
        name: "labels",
        file: "labels-00000.safetensors",
        prepare: a_store,
        read: labels,
    },
    Target {
        name: "set",
        file: "set.json",
        prepare: an_image,
        read: set,
    },
    Target {
        name: "image",
        file: "00000.png",
        prepare: nothing,
        read: |path, _| drop(images::decode(path, SIDE)),
    },
    Target {
        name: "manifest",
        file: "manifest.json",
        prepare: nothing,
        read: manifest,
    },
    Target {
        name: "plugin",
        file: "libplugin.so",
        prepare: nothing,
        read: |_, input| drop(elf::check(input)),
    },
];

fn nothing(_: &Path) -> Result<()> {
    Ok(())
}

fn experiment(path: &Path, _: &[u8]) {
    if let Ok(json) = file::read(path, &[]) {
        drop(serde_json::from_value::<Experiment>(json));
    }
}

/// Counts, sizes, statistics: every image is decoded.
fn data_set(path: &Path, _: &[u8]) {
    drop(data::info(&[path.to_owned()]));
}

fn weights_of(path: &Path, _: &[u8]) {
    drop(weights::read(path, &Choice::default()));
}

const SET: SetInfo = SetInfo {
    images: 2,
    classes: 2,
    resolution: SIDE as u32,
    seed: 0,
    epochs: 1,
    views: ViewRule {
        crop: CropRule::Padded { padding: 1 },
        flip: 0.5,
        mix: MixRule::CutMix { alpha: 1. },
        batch_size: 2,
        color_jitter: ColorRule::NONE,
        before: BeforeRule::NONE,
    },
};

/// A store of labels: one pass of two views.
fn a_store(folder: &Path) -> Result<()> {
    let index = LabelIndex {
        relabeler: Json::Null,
        layout: LabelLayout {
            passes: 1,
            index: RecordIndex::View,
            stores_views: true,
        },
        set: SET,
        class_names: vec!["a".to_owned(), "b".to_owned()],
        shards: Vec::new(),
        complete: false,
    };
    let mut writer = LabelWriter::open(folder, index)?;
    let logits = Value::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
    writer.append(
        vec![2],
        &SET.draw_views(0),
        vec![("logits".to_owned(), logits)],
    )?;
    writer.finish().map(drop)
}

/// A shard under an index that is whole.
fn labels(path: &Path, input: &[u8]) {
    let folder = path.parent().unwrap_or(path);
    let index = folder.join("index.json");
    let text = fs::read(&index).expect("the store has an index");
    let mut json: Json = serde_json::from_slice(&text).expect("the index is JSON");
    json["shards"][0]["bytes"] = input.len().into();
    fs::write(&index, json.to_string()).expect("the folder can be written");
    drop(LabelReader::open(folder).and_then(|mut reader| reader.pass(0)));
}

fn an_image(folder: &Path) -> Result<()> {
    let pixels = vec![7; 3 * SIDE * SIDE];
    let set = ImageSet::new(SIDE, pixels, vec![0], vec!["a".to_owned()]);
    let scaling = images::Scaling {
        mean: [0.5; 3],
        std: [0.5; 3],
    };
    set.save(&folder.join("images"), images::ImageFormat::Png, scaling)
}

fn set(path: &Path, _: &[u8]) {
    drop(ImageSet::load(&path.with_file_name("images")));
}

/// A manifest, a log line by line, and tensors in memory: what a run goes on from.
fn manifest(path: &Path, input: &[u8]) {
    drop(serde_json::from_slice::<Manifest>(input));
    drop(log::read(path));
    drop(tensors::decode(input, &Device::Cpu));
}
