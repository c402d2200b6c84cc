//! Label stores: passes in any order, damage told with its place, sizes.

use candle_core::Device;
use plugin_api::{
    relabeler::RecordIndex,
    view::{BeforeRule, ColorRule, CropRule, MixRule, ViewRule},
};

use super::*;

const SET: SetInfo = SetInfo {
    images: 3,
    classes: 2,
    resolution: 8,
    seed: 5,
    epochs: 4,
    views: ViewRule {
        crop: CropRule::Padded { padding: 1 },
        flip: 0.5,
        mix: MixRule::CutMix { alpha: 1. },
        batch_size: 2,
        color_jitter: ColorRule::NONE,
        before: BeforeRule::NONE,
    },
};

fn fresh(set: SetInfo) -> LabelIndex {
    LabelIndex {
        relabeler: Json::Null,
        layout: LabelLayout {
            passes: set.epochs,
            index: RecordIndex::View,
            stores_views: true,
        },
        set,
        class_names: vec!["a".into(), "b".into()],
        shards: Vec::new(),
        complete: false,
    }
}

/// Logits that say which row of which pass they are.
fn logits(passes: std::ops::Range<u32>) -> Vec<(String, Value)> {
    let rows = passes.flat_map(|pass| (0..3).map(move |row| [pass as f32, row as f32]));
    let rows: Vec<f32> = rows.flatten().collect();
    let count = rows.len() / 2;
    let value = Value::from_vec(rows, (count, 2), &Device::Cpu).unwrap();
    vec![("logits".to_owned(), value)]
}

fn store(folder: &Path) -> LabelIndex {
    let mut writer = LabelWriter::open(folder, fresh(SET)).unwrap();
    let views = |passes: std::ops::Range<u32>| -> Vec<View> {
        passes.flat_map(|pass| SET.draw_views(pass)).collect()
    };
    writer
        .append(vec![3, 3, 3], &views(0..3), logits(0..3))
        .unwrap();
    drop(writer);
    let mut writer = LabelWriter::open(folder, fresh(SET)).unwrap();
    assert_eq!(writer.next_pass(), 3);
    writer.append(vec![3], &views(3..4), logits(3..4)).unwrap();
    writer.finish().unwrap()
}

#[test]
fn passes_come_back_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path());
    let mut reader = LabelReader::open(dir.path()).unwrap();
    for pass in [2, 0, 3, 1] {
        let read = reader.pass(pass).unwrap();
        assert_eq!(read.views.unwrap(), SET.draw_views(pass));
        let rows = read.records[0].1.to_vec2::<f32>().unwrap();
        let p = pass as f32;
        assert_eq!(rows, [[p, 0.], [p, 1.], [p, 2.]]);
    }
    let error = reader.pass(4).err().unwrap().to_string();
    assert!(error.starts_with("no labels of pass 4 in"), "{error}");
}

#[test]
fn damaged_shards_are_refused_with_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let index = store(dir.path());
    let path = dir.path().join(&index.shards[1].file);
    let whole = fs::read(&path).unwrap();
    let error = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        format!("{:#}", LabelReader::open(dir.path()).err().unwrap())
    };
    let short = error(&whole[..whole.len() - 9]);
    let expected = format!("has {} bytes, expected {}", whole.len() - 9, whole.len());
    assert!(
        short.contains("labels-00003.safetensors") && short.contains(&expected),
        "{short}"
    );
    let mut broken = whole.clone();
    broken[9..40].fill(b'?');
    let broken = error(&broken);
    assert!(
        broken.contains("cannot read labels from") && broken.contains("labels-00003"),
        "{broken}"
    );
}

/// They panicked in the renderer, in the middle of a student's training.
#[test]
fn a_stored_view_that_is_none_of_its_set_is_refused_at_opening() {
    let dir = tempfile::tempdir().unwrap();
    let index = store(dir.path());
    let path = dir.path().join(&index.shards[1].file);
    let (whole, _) = tensors::load(&path, &Device::Cpu).unwrap();
    let error = |name: &str, value: Value| {
        let mut all = whole.clone();
        all.insert(name.to_owned(), value);
        let all: Vec<_> = all.into_iter().collect();
        tensors::save(&path, &all, &BTreeMap::new()).unwrap();
        format!("{:#}", LabelReader::open(dir.path()).err().unwrap())
    };
    let images = Value::new(&[0, u32::MAX, 1], &Device::Cpu).unwrap();
    let told = error("view.image", images);
    assert!(told.contains("labels-00003.safetensors: row 1: "), "{told}");
    let end = "view.image: image is 4294967295, expected 0 to 2; redo the labels (--from relabel)";
    assert!(told.ends_with(end), "{told}");
    let mut crops = whole["view.crop"].to_vec2::<i16>().unwrap();
    crops[0][3] = 0;
    let crops = Value::new(crops, &Device::Cpu).unwrap();
    let told = error("view.crop", crops);
    let end = "row 0: view.crop: width is 0, expected 1 to 8; redo the labels (--from relabel)";
    assert!(told.ends_with(end), "{told}");
}

#[test]
fn an_index_with_a_gap_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = store(dir.path());
    index.shards[1].first_pass = u32::MAX;
    atomic::write_json(&dir.path().join("index.json"), &index).unwrap();
    let error = LabelReader::open(dir.path()).err().unwrap().to_string();
    assert!(
        error.contains(
            "labels-00003.safetensors begins with pass 4294967295 in index.json, expected 3"
        ),
        "{error}"
    );
}

/// SRe2L's labels of ImageNet-1K at 50 images per class for 300 epochs, from the bytes of a real shard.
#[test]
fn labels_of_the_paper_take_under_28_and_a_half_gibibytes() {
    let dir = tempfile::tempdir().unwrap();
    let set = SetInfo {
        images: 512,
        classes: 1000,
        resolution: 224,
        epochs: 1,
        ..SET
    };
    let views = set.draw_views(0);
    let logits = Value::zeros((512, 1000), candle_core::DType::F16, &Device::Cpu).unwrap();
    let mut writer = LabelWriter::open(dir.path(), fresh(set)).unwrap();
    writer
        .append(vec![512], &views, vec![("logits".to_owned(), logits)])
        .unwrap();
    let bytes = writer.finish().unwrap().bytes();
    let whole_run = bytes as f64 / 512. * 50. * 1000. * 300.;
    let gibibytes = whole_run / f64::from(1 << 30);
    assert!(gibibytes <= 28.5 && gibibytes > 28., "{gibibytes}");
}
