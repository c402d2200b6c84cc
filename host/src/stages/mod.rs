//! The steps of the paper: squeeze, recover, relabel, and a fourth that validates (`continual` while classes arrive); `matching` makes a set in recover's place. Each has a
//! `Config`, an output and a `run`. They talk to each other through the artifact's types alone.
//!
//! What they share has rooms of its own: computing in steps that a kill may stop (`steps`), networks and their training, views of
//! images, what a training reads (`feeds`), the sets that are trained on, and processes that train together (`team`).

pub mod augment;
pub mod component;
pub mod continual;
pub mod experts;
pub mod feeds;
pub mod frames;
pub mod given;
mod limits;
pub mod matching;
pub mod networks;
pub mod recover;
pub mod relabel;
pub mod session;
pub mod sets;
pub mod squeeze;
pub mod start;
pub mod steps;
pub mod teachers;
pub mod team;
pub mod training;
pub mod validate;
pub mod views;

use std::path::Path;

use anyhow::Result;
use plugin_api::abi::Kind;
use serde_json::Value as Json;

use crate::{
    artifact::RunFolder,
    data::{Dataset, Fault},
    engine::precision::Precision,
};

pub use component::ComponentConfig;
pub use session::Session;

/// What is true of a stage by its table.
pub trait Table {
    /// What it is finished for.
    ///
    /// # Errors
    /// When a file that counts cannot be read.
    fn identity(&self, around: &Around<'_>) -> Result<Identity>;

    /// What layers compute in on a GPU.
    fn precision(&self) -> Precision {
        Precision::default()
    }

    /// What it asks for that the stage, finished in this run, does not have, where that changes no result: the stage stays finished.
    ///
    /// # Errors
    /// When a file of the stage is damaged.
    fn unkept(&self, _: &RunFolder) -> Result<Option<String>> {
        Ok(None)
    }

    /// In how many parts its trainings take a batch, which several processes can compute together.
    fn micro_batches(&self) -> u32 {
        1
    }

    /// Images in a step, where it can go on with another number of them: its saved state is that of whole images.
    fn batch_size(&self) -> Option<u32> {
        None
    }
}

/// What a stage is finished for: another hash of it makes what stands on disk stale.
#[derive(Default)]
pub struct Identity {
    /// Its table, without the keys that change nothing of what it makes.
    pub table: Json,
    /// What counts beside its table.
    pub beside: Option<Json>,
    /// What may grow without making it stale: sets, seeds.
    pub extent: Json,
    /// Components, which count by the versions of their plugins.
    pub components: Vec<(Kind, ComponentConfig)>,
}

/// What stands around a stage's table.
pub struct Around<'a> {
    /// The folder that paths are relative to.
    pub base: &'a Path,
    /// Training images.
    pub train: &'a Dataset,
    /// Teachers beside the one of `[squeeze]`, by name.
    pub further: Vec<(String, squeeze::Config)>,
    /// The network in which a set is matched.
    pub matched_in: Option<&'a ComponentConfig>,
    /// Sets that are relabelled and trained on.
    pub sets: Vec<String>,
    /// The table of students.
    pub students: Option<&'a validate::Config>,
}

/// A table as JSON without some of its keys.
pub fn without(mut table: Json, keys: &[&str]) -> Json {
    if let Some(table) = table.as_object_mut() {
        keys.iter().for_each(|key| drop(table.remove(*key)));
    }
    table
}

/// Messages as faults of one key.
pub(crate) fn keyed(key: String, messages: Vec<String>) -> impl Iterator<Item = Fault> {
    let keyed = messages.into_iter();
    keyed.map(move |message| Fault::new(key.clone(), message))
}

/// The usual probability of a mirrored view.
pub(crate) fn half() -> f64 {
    0.5
}

#[allow(clippy::trivially_copy_pass_by_ref)] // what serde calls
pub(crate) fn is_one(count: &u32) -> bool {
    *count == 1
}

/// A number as the default of a key.
pub(crate) fn n<const N: u32, T: From<u32>>() -> T {
    N.into()
}
