//! What a format says of a set: how it lies on disk, which classes it has, and which images.

use std::path::{Path, PathBuf};

use crate::data::fault::Fault;
use crate::data::item::Item;

/// A format of image sets. Classes and images come in one order on every machine.
pub trait Listing: Sync {
    /// By what `alambic data info` knows it.
    fn shape(&self) -> Shape;

    /// Whether its images and labels stand in columns, which the experiment may name.
    fn has_columns(&self) -> bool {
        false
    }

    /// The names of all classes, in label order, as the training split has them.
    ///
    /// # Errors
    /// All that is wrong with the files or folders.
    fn class_names(&self, split: &Source) -> Result<Vec<String>, Vec<Fault>>;

    /// The images of a split, in file order, leaving out those whose label `keep` refuses; `class_names` are the training split's.
    ///
    /// # Errors
    /// All that is wrong with the files or folders.
    fn read(
        &self,
        split: &Source,
        class_names: &[String],
        keep: Keep,
    ) -> Result<Vec<Item>, Vec<Fault>>;
}

/// Whether an image of this label is wanted.
pub type Keep<'a> = &'a (dyn Fn(Option<i64>) -> bool + Sync);

/// How a split lies on disk.
pub enum Shape {
    /// Files with this ending.
    Files(&'static str),
    /// A folder of which this is true.
    Folders(fn(&Path) -> Result<bool, String>),
}

/// Files or folders of a split.
pub struct Source<'a> {
    /// They exist.
    pub paths: &'a [PathBuf],
    /// What faults stand under.
    pub key: &'a str,
    /// What the experiment says of columns.
    pub columns: Columns<'a>,
}

impl Source<'_> {
    /// The one thing that is wrong with it.
    pub fn fault(&self, message: String) -> Vec<Fault> {
        vec![Fault::new(self.key, message)]
    }
}

/// The columns that the experiment names, where it does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns<'a> {
    /// Of the encoded images.
    pub image: Option<&'a str>,
    /// Of the labels.
    pub label: Option<&'a str>,
}

/// The training split of a test.
#[cfg(test)]
pub fn train(paths: &[PathBuf]) -> Source<'_> {
    Source {
        paths,
        key: "data.train",
        columns: Columns::default(),
    }
}
