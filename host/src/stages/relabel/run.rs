//! Relabel from the first pass to stored labels, shard by shard.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use candle_core::Device;

use crate::{
    artifact::{
        ImageSet, LabelWriter, Stage, atomic, labels::LabelIndex, share::pass_file, tensors,
    },
    engine::Value,
    report::progress::Progress,
    stages::{Session, teachers::Teachers},
    stop,
};

use super::{config::Config, labeller::Labeller};

/// What to do where a pass that another process has made is lost.
const REDO: &str = "delete it, and run the same command again";
/// Passes that one shard holds at most: what a kill can cost.
const SHARD_PASSES: u32 = 25;
/// Bytes of a shard from which on it takes no further pass: they are in memory until it is written.
const SHARD_BYTES: u64 = 64 << 20;

/// Passes of so many bytes that one shard holds.
pub fn shard_passes(pass_bytes: u64) -> u32 {
    let fitting = SHARD_BYTES.div_ceil(pass_bytes.max(1));
    fitting.min(u64::from(SHARD_PASSES)) as u32
}

/// What the labels of a set are called in progress.
pub fn told_as(set: &str) -> String {
    format!("{} {set}", Stage::Relabel)
}

/// Labels a set, which has a name in progress, and stores the labels in a folder; of a share of the passes, leaves each in a file.
///
/// # Errors
/// When an operation fails; whole shards stay on disk.
pub fn run(
    session: &Session<'_>,
    config: &Config,
    teachers: &Teachers,
    (name, folder): (&str, &Path),
    images: &ImageSet,
) -> Result<()> {
    let labeller = Labeller::new(session, config, teachers, images)?;
    let layout = labeller.layout;
    if session.share.is_some() {
        return share(session, &labeller, name, folder);
    }
    let fresh = LabelIndex {
        relabeler: serde_json::to_value(&config.relabeler)?,
        layout,
        set: labeller.set,
        class_names: images.class_names.clone(),
        shards: Vec::new(),
        complete: false,
    };
    let mut writer = LabelWriter::open(folder, fresh)?;
    let from = u64::from(writer.next_pass());
    let passes = u64::from(layout.passes);
    let progress = Progress::starting_at(&told_as(name), from, passes, "passes");
    while writer.next_pass() < layout.passes {
        let (mut rows, mut views) = (Vec::new(), Vec::new());
        let mut records = BTreeMap::<String, Vec<Value>>::new();
        while rows.len() < shard_passes(bytes_per_pass(&records, rows.len())) as usize {
            let pass = writer.next_pass() + rows.len() as u32;
            if pass == layout.passes {
                break;
            }
            let path = pass_file(folder, pass);
            let planned = match path.exists() {
                true => {
                    let (made, _) = tensors::load_sealed(&path, &Device::Cpu, REDO)?;
                    for (name, record) in made {
                        records.entry(name).or_default().push(record);
                    }
                    labeller.plan(pass)?
                }
                false => labeller.pass(pass, &mut records)?,
            };
            rows.push(planned.len() as u32);
            views.extend(planned);
            progress.set(u64::from(pass) + 1, "");
            stop::here_if_asked();
        }
        writer.append(rows, &views, joined(records)?)?;
    }
    progress.finish();
    writer.finish()?;
    (0..layout.passes).try_for_each(|pass| atomic::remove(&pass_file(folder, pass)))
}

/// Labels the passes of a share, each into a file that is whole or not there.
fn share(session: &Session<'_>, labeller: &Labeller<'_>, name: &str, folder: &Path) -> Result<()> {
    let passes = (0..labeller.layout.passes).filter(|pass| session.does(*pass as usize));
    let passes: Vec<u32> = passes.collect();
    let progress = Progress::starting_at(&told_as(name), 0, passes.len() as u64, "passes");
    for (done, pass) in passes.into_iter().enumerate() {
        let path = pass_file(folder, pass);
        if !path.exists() {
            let mut records = BTreeMap::new();
            labeller.pass(pass, &mut records)?;
            tensors::save_sealed(&path, &joined(records)?, BTreeMap::new())?;
        }
        progress.set(done as u64 + 1, "");
        stop::here_if_asked();
    }
    progress.finish();
    Ok(())
}

/// Records whose parts follow each other, each as one.
fn joined(records: BTreeMap<String, Vec<Value>>) -> Result<Vec<(String, Value)>> {
    let joined = records.into_iter();
    let joined = joined.map(|(name, parts)| Ok((name, Value::cat(&parts, 0)?)));
    joined.collect()
}

/// Bytes of the records of a pass.
fn bytes_per_pass(records: &BTreeMap<String, Vec<Value>>, passes: usize) -> u64 {
    let bytes = |value: &Value| value.elem_count() * value.dtype().size_in_bytes();
    let all: usize = records.values().flatten().map(bytes).sum();
    all as u64 / passes.max(1) as u64
}
