//! What a format says of a set: how it lies on disk, which classes it has, and which images.

use std::path::{Path, PathBuf};

use crate::data::classes::numbered;
use crate::data::fault::Fault;
use crate::data::item::Item;

/// A format of image sets. Classes and images come in one order on every machine; the errors are all that is wrong with the files.
pub trait Listing: Sync {
    /// By what `alambic data info` knows it.
    fn shape(&self) -> Shape;

    /// Whether its images and labels stand in columns, which the experiment may name.
    fn has_columns(&self) -> bool {
        false
    }

    /// The names of all classes, in label order, where the training split names them.
    fn names(&self, split: &Source) -> Result<Option<Vec<String>>, Vec<Fault>>;

    /// The labels of all images.
    fn labels(&self, split: &Source) -> Result<Vec<Option<i64>>, Vec<Fault>> {
        let items = self.read(split, &[], &|_| true)?;
        Ok(items.iter().map(|item| item.label).collect())
    }

    /// The names of all classes, in label order; where the training split names none, the labels that occur decide: "0", "1", ...
    fn class_names(&self, split: &Source) -> Result<Vec<String>, Vec<Fault>> {
        match self.names(split)? {
            Some(names) => Ok(names),
            None => Ok(numbered(self.labels(split)?)),
        }
    }

    /// The images of a split, in file order, leaving out those whose label `keep` refuses; `class_names` are the training split's.
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
    pub paths: Vec<PathBuf>,
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

    /// The text of a file beside the images, where there is one, without the mark that some editors begin it with.
    pub fn text(&self, file: Option<PathBuf>) -> Result<Option<String>, Vec<Fault>> {
        let read = |path: PathBuf| {
            let text = crate::regular::read_to_string(&path);
            let text = text.map(|text| text.trim_start_matches('\u{feff}').to_string());
            text.map_err(|e| self.fault(format!("cannot read {}: {e}", path.display())))
        };
        file.map(read).transpose()
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
pub fn train(paths: &[PathBuf]) -> Source<'static> {
    Source {
        paths: paths.to_vec(),
        key: "data.train",
        columns: Columns::default(),
    }
}
