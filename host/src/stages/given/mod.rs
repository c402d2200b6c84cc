//! Given: a distilled set that was made elsewhere, by another run or another program.

mod folders;

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    artifact::{ImageFormat, ImageSet, RunFolder, Stage, atomic, images::decode, sums::hex},
    data::{Rounding, class_folders},
};

use self::folders::{By, matched};
use super::{
    Around, Identity, Session, Table,
    limits::PER_CLASS,
    sets::{Init, Order, Origin},
};

/// A distilled set made elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of a run, or of class folders with images of `data.resolution`, relative to the experiment file
    pub images: String,
    /// Images per class
    #[schemars(range(min = 1, max = PER_CLASS))]
    pub images_per_class: u32,
}

/// What was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Bytes of the image files.
    pub image_bytes: u64,
}

impl Config {
    /// What its controls start from, and how it is stored.
    pub fn origin(&self) -> Origin {
        Origin {
            stage: Stage::Given,
            images_per_class: self.images_per_class,
            order: Order::Across,
            init: Init::default(),
            format: ImageFormat::Png,
            quantization: Rounding::default(),
        }
    }

    fn folder(&self, base: &Path) -> Result<PathBuf> {
        let path = base.join(&self.images);
        let run = RunFolder::at(&path);
        // A run of a newer program is refused here.
        run.manifest()?;
        Ok(run.made_images().unwrap_or(path))
    }

    /// The images; `base` is the folder of the experiment file.
    ///
    /// # Errors
    /// When an image is missing or damaged, or the set is of other classes, another size or another number of images.
    pub fn load(&self, base: &Path, classes: &[String], resolution: usize) -> Result<ImageSet> {
        Ok(self.read(base, classes, resolution)?.0)
    }

    /// The images, and how class folders were matched with the classes, where names did not.
    fn read(
        &self,
        base: &Path,
        classes: &[String],
        resolution: usize,
    ) -> Result<(ImageSet, Option<String>)> {
        let folder = self.folder(base)?;
        let (set, mapping) = match ImageSet::is_at(&folder) {
            true => (ImageSet::load(&folder)?, None),
            false => of_folders(&folder, classes, resolution)?,
        };
        let place = folder.display();
        ensure!(
            set.resolution == resolution,
            "{place} has images of {0}x{0} pixels, expected {resolution}x{resolution} (data.resolution)",
            set.resolution
        );
        ensure!(
            set.class_names == classes,
            "{place} has the classes {:?}, but the data has {classes:?}",
            set.class_names
        );
        let mut counts = vec![0u32; classes.len()];
        for &label in &set.labels {
            let count = counts.get_mut(label as usize);
            *count.with_context(|| format!("{place} has an image of class {label}"))? += 1;
        }
        let other = counts.iter().position(|&n| n != self.images_per_class);
        ensure!(
            other.is_none(),
            "{place} has {} images of class \"{}\", expected {} (given.images_per_class)",
            counts[other.unwrap_or(0)],
            classes[other.unwrap_or(0)],
            self.images_per_class
        );
        Ok((set, mapping))
    }
}

impl Table for Config {
    fn identity(&self, around: &Around<'_>) -> Result<Identity> {
        let (classes, side) = (around.train.class_names(), around.train.resolution());
        let set = self.load(around.base, classes, side)?;
        Ok(Identity {
            // The images count, and not where they come from.
            table: json!(hash(&set)),
            ..Identity::default()
        })
    }
}

/// The images in class folders that anybody wrote.
fn of_folders(
    root: &Path,
    classes: &[String],
    resolution: usize,
) -> Result<(ImageSet, Option<String>)> {
    let place = || root.display().to_string();
    let folders = class_folders(root).map_err(Error::msg)?;
    let names: Vec<String> = folders.iter().map(|folder| folder.name.clone()).collect();
    let (places, by) = matched(&names, classes).with_context(place)?;
    let (mut pixels_nchw, mut labels) = (Vec::new(), Vec::new());
    for (label, &place) in (0u32..).zip(&places) {
        for file in &folders[place].images {
            pixels_nchw.extend(decode(file, resolution)?);
            labels.push(label);
        }
    }
    let mapping = (by != By::Name).then(|| {
        let pairs = places.iter().zip(classes);
        let pairs = pairs.map(|(&place, class)| format!("{:?} is {class:?}", names[place]));
        let pairs: Vec<String> = pairs.collect();
        format!("class folders of {}: {}", place(), pairs.join(", "))
    });
    let set = ImageSet::new(resolution, pixels_nchw, labels, classes.to_vec());
    Ok((set, mapping))
}

/// What a set is: its pixels and its labels.
fn hash(set: &ImageSet) -> String {
    let mut hash = Sha256::new();
    hash.update(&set.pixels_nchw);
    for label in &set.labels {
        hash.update(label.to_le_bytes());
    }
    hex(&hash.finalize())
}

/// Takes the set into the run.
///
/// # Errors
/// As [`Config::load`], and when the disk says no.
pub fn run(session: &Session<'_>, config: &Config, base: &Path) -> Result<Output> {
    let (classes, side) = (session.train.class_names(), session.train.resolution());
    let (set, mapping) = config.read(base, classes, side)?;
    if let Some(mapping) = mapping {
        tell!("{mapping}");
    }
    let origin = config.origin();
    origin.save(session, &set)?;
    let output = Output {
        image_bytes: set.encoded_bytes(origin.format)?,
    };
    atomic::write_json(&session.folder.stage(Stage::Given).metrics(), &output)?;
    Ok(output)
}
