//! The label store of a set: shards of named tensors, one row for each view (or image), and `index.json`.
//!
//! A shard holds some passes one after the other. The views ([`super::view_columns`]) are beside the records where the relabeler
//! asks for it, so that nothing is guessed from a seed and any batch size may read. Shards are mapped into memory: of one that
//! is larger than memory only the pass in use is read.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use candle_core::safetensors::MmapedSafetensors;
use plugin_api::{
    relabeler::{LabelLayout, SetInfo},
    view::View,
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::engine::Value;

use super::{atomic, tensors, view_columns};

/// `index.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelIndex {
    /// The relabeler, as the experiment names it.
    pub relabeler: Json,
    /// What it stores.
    pub layout: LabelLayout,
    /// The set.
    pub set: SetInfo,
    /// Names of the classes, in the order of the logits.
    pub class_names: Vec<String>,
    /// Finished shards, in order.
    pub shards: Vec<Shard>,
    /// Every pass is stored.
    pub complete: bool,
}

/// One file of labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its name in the folder.
    pub file: String,
    /// The first pass in it.
    pub first_pass: u32,
    /// Rows of each of its passes.
    pub rows: Vec<u32>,
    /// Its size.
    pub bytes: u64,
}

impl LabelIndex {
    /// Bytes of all labels.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.bytes).sum()
    }
}

/// Writes a label store shard by shard; a store that was interrupted goes on after its last whole shard.
pub struct LabelWriter {
    folder: PathBuf,
    index: LabelIndex,
}

impl LabelWriter {
    /// Opens or begins the store at `folder`.
    ///
    /// # Errors
    /// When another store stands there or the disk says no.
    pub fn open(folder: &Path, fresh: LabelIndex) -> Result<Self> {
        let path = folder.join("index.json");
        let index = if path.exists() {
            atomic::read_json(&path)?
        } else {
            fresh.clone()
        };
        ensure!(
            index.set == fresh.set
                && index.layout == fresh.layout
                && index.relabeler == fresh.relabeler,
            "the labels in {} belong to another set or relabeler",
            folder.display()
        );
        fs::create_dir_all(folder)?;
        atomic::sweep(folder);
        Ok(Self {
            folder: folder.to_owned(),
            index,
        })
    }

    /// The pass that comes next.
    pub fn next_pass(&self) -> u32 {
        self.index
            .shards
            .last()
            .map_or(0, |s| s.first_pass + s.rows.len() as u32)
    }

    /// What is stored so far.
    pub fn index(&self) -> &LabelIndex {
        &self.index
    }

    /// Appends a shard: records of passes of so many rows, and their views where the layout stores them.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn append(
        &mut self,
        rows: Vec<u32>,
        views: &[View],
        mut records: Vec<(String, Value)>,
    ) -> Result<()> {
        if self.index.layout.stores_views {
            records.extend(view_columns::to_columns(views)?);
        }
        let first_pass = self.next_pass();
        let file = format!("labels-{first_pass:05}.safetensors");
        let path = self.folder.join(&file);
        tensors::save(&path, &records, &BTreeMap::new())?;
        let bytes = fs::metadata(&path)?.len();
        self.index.shards.push(Shard {
            file,
            first_pass,
            rows,
            bytes,
        });
        self.write_index()
    }

    /// Marks the store as whole.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn finish(mut self) -> Result<LabelIndex> {
        self.index.complete = true;
        self.write_index()?;
        Ok(self.index)
    }

    fn write_index(&self) -> Result<()> {
        atomic::write_json(&self.folder.join("index.json"), &self.index)
    }
}

/// Reads a whole label store.
pub struct LabelReader {
    folder: PathBuf,
    index: LabelIndex,
    held: Option<(usize, MmapedSafetensors)>,
}

/// The records of one pass.
pub struct Pass {
    /// The views, where they are stored.
    pub views: Option<Vec<View>>,
    /// Named tensors with a row for each view or image.
    pub records: Vec<(String, Value)>,
}

impl LabelReader {
    /// Opens the store at `folder`.
    ///
    /// # Errors
    /// When it is missing or not whole.
    pub fn open(folder: &Path) -> Result<Self> {
        let index: LabelIndex = atomic::read_json(&folder.join("index.json"))?;
        ensure!(
            index.complete,
            "the labels in {} are not complete; run the relabel stage again",
            folder.display()
        );
        Ok(Self {
            folder: folder.to_owned(),
            index,
            held: None,
        })
    }

    /// What is stored.
    pub fn index(&self) -> &LabelIndex {
        &self.index
    }

    /// The records of a pass, on the CPU.
    ///
    /// # Errors
    /// When a shard is missing or damaged.
    pub fn pass(&mut self, pass: u32) -> Result<Pass> {
        let holds = |s: &Shard| (s.first_pass..s.first_pass + s.rows.len() as u32).contains(&pass);
        let at = self.index.shards.iter().position(holds);
        let at =
            at.with_context(|| format!("no labels of pass {pass} in {}", self.folder.display()))?;
        let path = self.folder.join(&self.index.shards[at].file);
        self.hold(at, &path)
            .and_then(|()| self.read(at, pass))
            .with_context(|| format!("cannot read labels from {}", path.display()))
    }

    /// Maps a shard, and compares its length with the one that was written.
    fn hold(&mut self, at: usize, path: &Path) -> Result<()> {
        if self.held.as_ref().is_some_and(|(held, _)| *held == at) {
            return Ok(());
        }
        let (got, expected) = (fs::metadata(path)?.len(), self.index.shards[at].bytes);
        ensure!(
            got == expected,
            "it has {got} bytes, expected {expected}; redo the labels (--from relabel)"
        );
        // SAFETY: shards are written beside and renamed, and never written to afterwards.
        let mapped = unsafe { MmapedSafetensors::new(path)? };
        self.held = Some((at, mapped));
        Ok(())
    }

    fn read(&self, at: usize, pass: u32) -> Result<Pass> {
        let shard = &self.index.shards[at];
        let (before, from) = shard.rows.split_at((pass - shard.first_pass) as usize);
        let start = before.iter().map(|rows| *rows as usize).sum();
        let (rows, all) = (
            from[0] as usize,
            shard.rows.iter().map(|r| *r as usize).sum(),
        );
        let (_, mapped) = self.held.as_ref().context("no shard in memory")?;
        let (mut views, mut records) = (BTreeMap::new(), Vec::new());
        for (name, tensor) in mapped.tensors() {
            let part =
                tensors::rows(&tensor, start, rows, all).with_context(|| format!("\"{name}\""))?;
            match name.starts_with(view_columns::PREFIX) {
                true => drop(views.insert(name, part)),
                false => records.push((name, part)),
            }
        }
        records.sort_by(|(a, _), (b, _)| a.cmp(b));
        let stored = self.index.layout.stores_views;
        let views = stored.then(|| view_columns::from_columns(&views, rows));
        let (views, set) = (views.transpose()?, &self.index.set);
        for (row, view) in views.iter().flatten().enumerate() {
            if let Some(fault) = view.fault(set.images, set.resolution) {
                bail!("view {row} of pass {pass}: {fault}; redo the labels (--from relabel)");
            }
        }
        Ok(Pass { views, records })
    }
}

#[cfg(test)]
mod tests {
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
            let mut reader = LabelReader::open(dir.path()).unwrap();
            format!("{:#}", reader.pass(3).err().unwrap())
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
}
