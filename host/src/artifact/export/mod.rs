//! A distilled set outside of its run: as class folders or as a parquet file, with soft labels where they are asked for, and with the
//! card that the Hugging Face hub and its library `datasets` read.

mod card;
mod class_folders;
mod parquet;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::{ImageSet, Stage, atomic};

use self::{
    card::{Card, Files},
    class_folders::ClassFolders,
};

/// The image file of a parquet export.
const PARQUET: &str = "train-00000-of-00001.parquet";
/// What `datasets` reads beside the images of class folders.
const METADATA: &str = "metadata.jsonl";

/// A soft label for each image.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftLabels {
    /// Logits of each image, in the order of the set and of its classes: their softmax is a distribution over the classes.
    pub logits: Vec<Vec<f32>>,
    /// Where they come from, in words that follow "the logits of the classes:".
    pub source: String,
}

/// A set that leaves its run.
pub struct Export<'a> {
    /// The run's name.
    pub name: &'a str,
    /// The stage that made it.
    pub stage: Stage,
    /// The set.
    pub set: &'a ImageSet,
    /// The file of each image.
    pub files: Vec<PathBuf>,
    /// Soft labels, where they are wanted.
    pub soft_labels: Option<SoftLabels>,
}

/// A line of `metadata.jsonl`.
#[derive(Serialize)]
struct Row<'a> {
    file_name: String,
    label: u32,
    logits: &'a [f32],
}

impl Export<'_> {
    /// Writes one folder per class to the new folder `to`: the image files as they are, and a README. Soft labels stand in
    /// `metadata.jsonl`. Gives what is to be said of the names of the folders.
    ///
    /// # Errors
    /// When a file cannot be read or the disk says no.
    pub fn to_folders(&self, to: &Path) -> Result<Option<String>> {
        let folders = ClassFolders::of(&self.set.class_names);
        for folder in &folders.names {
            fs::create_dir_all(to.join(folder))?;
        }
        let mut rows = String::new();
        let mut bytes = 0;
        for (i, (file, &label)) in self.files.iter().zip(&self.set.labels).enumerate() {
            let name = file.file_name().context("an image without a name")?;
            let file_name = format!("{}/{}", folders.names[label as usize], name.display());
            bytes += fs::copy(file, to.join(&file_name))
                .with_context(|| format!("cannot copy {}", file.display()))?;
            if let Some(soft) = &self.soft_labels {
                let logits = &soft.logits[i];
                rows += &serde_json::to_string(&Row {
                    file_name,
                    label,
                    logits,
                })?;
                rows.push('\n');
            }
        }
        if self.soft_labels.is_some() {
            atomic::write(&to.join(METADATA), rows.as_bytes())?;
        }
        let images = format!("*/*.{}", self.extension());
        let metadata = self.soft_labels.is_some().then(|| METADATA.to_owned());
        let files = Files {
            patterns: [images].into_iter().chain(metadata).collect(),
            folders: Some(&folders),
            bytes,
        };
        self.write_card(to, &files)?;
        Ok(folders.numbered.clone())
    }

    /// Writes one parquet file, with the image files as they are, and a README to the new folder `to`.
    ///
    /// # Errors
    /// When a file cannot be read or the disk says no.
    pub fn to_parquet(&self, to: &Path) -> Result<()> {
        let images = self.files.iter().map(|file| {
            let image = fs::read(file);
            image.with_context(|| format!("cannot read image {}", file.display()))
        });
        let images: Vec<Vec<u8>> = images.collect::<Result<_>>()?;
        let logits = self.soft_labels.as_ref().map(|soft| soft.logits.as_slice());
        let file = parquet::encode(images, &self.set.labels, &self.set.class_names, logits)?;
        atomic::write(&to.join(PARQUET), &file)?;
        let files = Files {
            patterns: vec![PARQUET.to_owned()],
            folders: None,
            bytes: file.len() as u64,
        };
        self.write_card(to, &files)
    }

    /// How the names of the images end.
    fn extension(&self) -> &str {
        let first = self.files.first().and_then(|file| file.extension());
        first.and_then(|e| e.to_str()).unwrap_or("png")
    }

    fn write_card(&self, to: &Path, files: &Files<'_>) -> Result<()> {
        let card = Card {
            export: self,
            files,
        };
        atomic::write(&to.join("README.md"), card.text()?.as_bytes())
    }

    /// Whether there is a soft label of as many numbers as classes, all of them finite, for each image.
    ///
    /// # Errors
    /// When there is not.
    pub fn check(&self) -> Result<()> {
        let Some(soft) = &self.soft_labels else {
            return Ok(());
        };
        let (images, classes) = (self.set.len(), self.set.class_names.len());
        let fits = |row: &Vec<f32>| row.len() == classes && row.iter().all(|v| v.is_finite());
        ensure!(
            soft.logits.len() == images && soft.logits.iter().all(fits),
            "soft labels of {} images, expected {classes} finite logits for each of {images}",
            soft.logits.len()
        );
        Ok(())
    }
}
