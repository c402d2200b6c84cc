//! The label store of a set: shards of named tensors, one row for each view (or image), and `index.json`.
//!
//! A shard holds some passes one after the other. `views` (I32 [rows, 18], see `plugin_api::view`) is beside the records where
//! the relabeler asks for it, so that nothing is guessed from a seed and any batch size may read.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use plugin_api::{
    relabeler::{LabelLayout, SetInfo},
    view::{VIEW_COLUMNS, View},
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::engine::Value;

use super::{atomic, tensors};

const VIEWS: &str = "views";

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
    /// How many passes.
    pub passes: u32,
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
            .map_or(0, |s| s.first_pass + s.passes)
    }

    /// What is stored so far.
    pub fn index(&self) -> &LabelIndex {
        &self.index
    }

    /// Appends a shard: records of `passes` passes, and their views where the layout stores them.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn append(
        &mut self,
        passes: u32,
        views: &[View],
        mut records: Vec<(String, Value)>,
    ) -> Result<()> {
        if self.index.layout.stores_views {
            let rows: Vec<i32> = View::to_rows(views).into_iter().map(|v| v as i32).collect();
            records.push((
                VIEWS.to_owned(),
                Value::from_vec(rows, (views.len(), VIEW_COLUMNS), &Device::Cpu)?,
            ));
        }
        let first_pass = self.next_pass();
        let file = format!("labels-{first_pass:05}.safetensors");
        let path = self.folder.join(&file);
        tensors::save(&path, &records, &BTreeMap::new())?;
        let bytes = fs::metadata(&path)?.len();
        self.index.shards.push(Shard {
            file,
            first_pass,
            passes,
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

/// Reads a whole label store; the shard in use stays in memory.
pub struct LabelReader {
    folder: PathBuf,
    index: LabelIndex,
    held: Option<(usize, BTreeMap<String, Value>)>,
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
        let holds = |s: &Shard| (s.first_pass..s.first_pass + s.passes).contains(&pass);
        let at = self.index.shards.iter().position(holds);
        let at =
            at.with_context(|| format!("no labels of pass {pass} in {}", self.folder.display()))?;
        let shard = &self.index.shards[at];
        if self.held.as_ref().is_none_or(|(held, _)| *held != at) {
            let (values, _) = tensors::load(&self.folder.join(&shard.file), &Device::Cpu)?;
            self.held = Some((at, values));
        }
        let values = self
            .held
            .as_ref()
            .map(|(_, values)| values)
            .context("no shard in memory")?;
        let mut out = Pass {
            views: None,
            records: Vec::new(),
        };
        for (name, value) in values {
            let rows = value.dim(0)? / shard.passes as usize;
            let part = value.narrow(0, (pass - shard.first_pass) as usize * rows, rows)?;
            if name == VIEWS {
                let rows = part.flatten_all()?.to_vec1::<i32>()?;
                let rows: Vec<i64> = rows.into_iter().map(i64::from).collect();
                out.views = Some(View::from_rows(&rows).map_err(anyhow::Error::msg)?);
            } else {
                out.records.push((name.clone(), part));
            }
        }
        Ok(out)
    }
}
