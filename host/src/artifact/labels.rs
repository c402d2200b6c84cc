//! The label store of a set: shards of named tensors, one row for each view (or image), and `index.json`.
//!
//! A shard holds some passes one after the other. The views ([`super::view_columns`]) are beside the records where the relabeler
//! asks for it, so that nothing is guessed from a seed and any batch size may read. Shards are mapped into memory: of one that
//! is larger than memory only the pass in use is read.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, ensure};
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

impl Shard {
    /// Rows of all its passes.
    fn rows(&self) -> usize {
        self.rows.iter().map(|rows| *rows as usize).sum()
    }
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
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
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
            records.extend(view_columns::to_columns(views, &self.index.set)?);
        }
        let first_pass = self.next_pass();
        let file = format!("labels-{first_pass:05}.safetensors");
        let path = self.folder.join(&file);
        tensors::save(&path, &records, &BTreeMap::new())?;
        let metadata = fs::metadata(&path);
        let bytes = metadata
            .with_context(|| format!("cannot read {}", path.display()))?
            .len();
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
    /// Opens the store at `folder`; all stored views are read once and checked.
    ///
    /// # Errors
    /// When it is missing, not whole or damaged, or holds a view that is none of its set.
    pub fn open(folder: &Path) -> Result<Self> {
        let index: LabelIndex = atomic::read_json(&folder.join("index.json"))?;
        ensure!(
            index.complete,
            "the labels in {} are not complete; run the relabel stage again",
            folder.display()
        );
        let mut next = 0;
        for Shard {
            file,
            first_pass,
            rows,
            ..
        } in &index.shards
        {
            ensure!(
                *first_pass == next,
                "the labels in {} are damaged: {file} begins with pass {first_pass} in index.json, expected {next}; redo them \
                 (--from relabel)",
                folder.display()
            );
            next = next.saturating_add(rows.len() as u32);
        }
        let mut reader = Self {
            folder: folder.to_owned(),
            index,
            held: None,
        };
        reader.check_views()?;
        Ok(reader)
    }

    fn check_views(&mut self) -> Result<()> {
        if self.index.layout.stores_views {
            for at in 0..self.index.shards.len() {
                self.reading(at, |reader, shard| {
                    let all = shard.rows();
                    reader.views(0..all, all).map(drop)
                })?;
            }
        }
        Ok(())
    }

    /// What `read` takes of a shard.
    fn reading<T>(
        &mut self,
        at: usize,
        read: impl FnOnce(&Self, &Shard) -> Result<T>,
    ) -> Result<T> {
        let path = self.folder.join(&self.index.shards[at].file);
        let held = self.hold(at, &path);
        let reader: &Self = self;
        held.and_then(|()| read(reader, &reader.index.shards[at]))
            .with_context(|| format!("cannot read labels from {}", path.display()))
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
        self.reading(at, |reader, shard| reader.read(shard, pass))
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

    fn read(&self, shard: &Shard, pass: u32) -> Result<Pass> {
        let (before, from) = shard.rows.split_at((pass - shard.first_pass) as usize);
        let start: usize = before.iter().map(|rows| *rows as usize).sum();
        let (rows, all) = (start..start + from[0] as usize, shard.rows());
        let is_record = |name: &str| !name.starts_with(view_columns::PREFIX);
        let mut records = self.columns(is_record, rows.clone(), all)?;
        records.sort_by(|(a, _), (b, _)| a.cmp(b));
        let stored = self.index.layout.stores_views;
        let views = stored.then(|| self.views(rows, all)).transpose()?;
        Ok(Pass { views, records })
    }

    /// The views in some rows of the shard in memory, which has `all`.
    fn views(&self, rows: Range<usize>, all: usize) -> Result<Vec<View>> {
        let is_view = |name: &str| name.starts_with(view_columns::PREFIX);
        let columns = self.columns(is_view, rows.clone(), all)?;
        let columns = columns.into_iter().collect();
        view_columns::from_columns(&columns, rows.len(), &self.index.set, rows.start)
            .map_err(|e| anyhow!("{e:#}; redo the labels (--from relabel)"))
    }

    fn columns(
        &self,
        wanted: impl Fn(&str) -> bool,
        rows: Range<usize>,
        all: usize,
    ) -> Result<Vec<(String, Value)>> {
        let (_, mapped) = self.held.as_ref().context("no shard in memory")?;
        let own = mapped.tensors().into_iter();
        let own = own.filter(|(name, _)| wanted(name)).map(|(name, tensor)| {
            let part = tensors::rows(&tensor, rows.start, rows.len(), all);
            Ok((name.clone(), part.with_context(|| format!("\"{name}\""))?))
        });
        own.collect()
    }
}

#[cfg(test)]
#[path = "labels_test.rs"]
mod tests;
