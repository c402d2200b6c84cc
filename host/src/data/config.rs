//! The `[data]` table of an experiment: which images, which classes, at what size.

use std::{ops::RangeInclusive, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::classes::ClassRef;
use super::fault::Fault;
use super::formats::Format;
use super::locate::absolute;
use crate::picture::Exif;

/// Sides that make sense for a square canvas; the upper end bounds a canvas to 48 MiB.
const RESOLUTIONS: RangeInclusive<u32> = 1..=4096;

/// The largest side: the matrix has (3 R²)² elements, and its eigenvectors take time with the sixth power of R.
const LARGEST_SIDE: u32 = 48;

/// Where the images come from and how they are resized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How the images are stored
    pub format: Format,
    /// Training images, relative to the TOML's folder: files (a path or a glob), or the folder of class folders
    pub train: String,
    /// Test images, in the same form as `train`
    pub test: String,
    /// Images of each class that are held out of the training images, the last of each in the order of the files, and stand in for the
    /// test images: for choosing hyper-parameters without looking at `test`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub holdout: Option<u32>,
    /// Side of the square that every image is resized to, in pixels
    #[schemars(range(min = 1, max = 4096))]
    pub resolution: u32,
    /// Parquet column of the encoded images; by default a struct column with `bytes`, or else a binary column
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_column: Option<String>,
    /// Parquet column of the integer labels; by default `label`, `labels` or `fine_label`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// Classes to keep, by name or index, in this order; labels are renumbered from 0. All by default
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub classes: Option<Vec<ClassRef>>,
    /// Classes to leave out, by name or index; the others keep their order, with labels renumbered from 0. Instead of `classes`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub exclude_classes: Option<Vec<ClassRef>>,
    /// Mean of each channel, for pixels in 0 to 1; computed from the training images when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(inner(range(min = 0, max = 1)))]
    pub mean: Option<[f64; 3]>,
    /// Standard deviation of each channel, for pixels in 0 to 1; computed from the training images when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(inner(range(min = 1e-6, max = 1)))]
    pub std: Option<[f64; 3]>,
    /// Whitening of the normalised network inputs, as in the published MTT and TESLA; none by default
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whitening: Option<WhiteningConfig>,
    /// How an image of another size is converted to the square
    #[serde(default)]
    pub resize: Resize,
    /// Resizing filter, antialiased as in PIL and torchvision
    #[serde(default)]
    pub interpolation: Interpolation,
    /// Whether an image is turned as its EXIF data says
    #[serde(default, skip_serializing_if = "Exif::is_ignored")]
    pub exif: Exif,
    /// Limit on decoded pixels kept in memory for each split, in bytes
    #[serde(default = "default_cache_bytes")]
    #[schemars(range(max = i64::MAX))]
    pub cache_bytes: u64,
}

/// How an image is converted to a square. An image that already has the size is used as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// The shorter side is resized, then the centre is cropped. From 96 pixels on, the shorter side is resized to 256/224 of the
    /// resolution, as in ImageNet's evaluation protocol; below, to the resolution itself
    #[default]
    ShorterCrop,
    /// Both sides are resized to the resolution, whatever the aspect ratio
    Stretch,
}

/// A resizing filter. Its support grows with the reduction, to prevent aliasing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Triangle filter
    #[default]
    Bilinear,
    /// Catmull-Rom cubic (a = -0.5)
    Bicubic,
    /// Lanczos with three lobes
    Lanczos,
}

/// How normalised images are whitened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum WhiteningConfig {
    /// Zero-phase component analysis of all pixels of all channels, from the training images
    Zca(ZcaConfig),
}

/// ZCA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZcaConfig {
    /// Added to each eigenvalue of the covariance
    #[serde(default = "epsilon")]
    #[schemars(range(max = 1000), extend("exclusiveMinimum" = 0))]
    pub epsilon: f64,
}

fn epsilon() -> f64 {
    0.1
}

impl WhiteningConfig {
    /// What is added to each eigenvalue.
    pub(super) fn epsilon(&self) -> f64 {
        let Self::Zca(ZcaConfig { epsilon }) = self;
        *epsilon
    }

    /// What is wrong with the values.
    pub fn faults(&self, resolution: u32) -> Vec<Fault> {
        let mut faults = Vec::new();
        let epsilon = self.epsilon();
        if !(epsilon > 0. && epsilon.is_finite()) {
            let message = format!("got {epsilon}, expected a number above 0");
            faults.push(Fault::new("data.whitening.epsilon", message));
        }
        if resolution > LARGEST_SIDE {
            let message = format!(
                "got images of {resolution} px, but whitening supports at most {LARGEST_SIDE} px, because its matrix has (3 R²)² \
                 elements; remove it or lower data.resolution"
            );
            faults.push(Fault::new("data.whitening", message));
        }
        faults
    }
}

/// One of the two parts of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What is distilled.
    Train,
    /// What accuracy is measured on.
    Test,
}

impl Split {
    /// The key of this split's path in the TOML, with its table.
    pub fn key(self) -> &'static str {
        match self {
            Split::Train => "data.train",
            Split::Test => "data.test",
        }
    }
}

fn default_cache_bytes() -> u64 {
    256 << 20
}

impl Config {
    /// The path or glob of a split, as written.
    pub fn location(&self, split: Split) -> &str {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }

    /// Makes the paths hold from anywhere; they were relative to `base`.
    pub fn rebase(&mut self, base: &Path) {
        for pattern in [&mut self.train, &mut self.test] {
            *pattern = absolute(pattern, base);
        }
    }

    /// What is wrong with the values themselves, before any file is opened.
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut wrong = |path: &str, message: String| faults.push(Fault::new(path, message));
        if !RESOLUTIONS.contains(&self.resolution) {
            let message = format!("got {} px, expected 1 to 4096", self.resolution);
            wrong("data.resolution", message);
        }
        for split in [Split::Train, Split::Test] {
            if self.location(split).is_empty() {
                let message = "got an empty path, expected a file, a glob or a folder";
                wrong(split.key(), message.to_string());
            }
        }
        let outside = |v: &f64| !(0. ..=1.).contains(v);
        if let Some(mean) = self.mean.filter(|mean| mean.iter().any(outside)) {
            let message = format!("got {mean:?}, expected values from 0 to 1 (divide by 255)");
            wrong("data.mean", message);
        }
        let outside = |v: &f64| !(*v > 0. && *v <= 1.);
        if let Some(std) = self.std.filter(|std| std.iter().any(outside)) {
            let expected = "values above 0 and up to 1 (divide by 255)";
            wrong("data.std", format!("got {std:?}, expected {expected}"));
        }
        if self.classes.is_some() && self.exclude_classes.is_some() {
            let message =
                "given beside data.classes, which names all that are kept; remove one of the two";
            wrong("data.exclude_classes", message.to_string());
        }
        let whitening = self.whitening.iter();
        faults.extend(whitening.flat_map(|w| w.faults(self.resolution)));
        let columns = [
            ("data.image_column", &self.image_column),
            ("data.label_column", &self.label_column),
        ];
        for (key, _) in columns.iter().filter(|(_, column)| column.is_some()) {
            if !self.format.listing().has_columns() {
                let message =
                    "only parquet files have columns; remove it, or set format = \"parquet\"";
                faults.push(Fault::new(*key, message));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "format = 'parquet'\ntrain = 'a'\ntest = 'b'\nresolution = 32\n";

    #[test]
    fn defaults_are_the_documented_ones() {
        let config: Config = toml::from_str(MINIMAL).unwrap();
        assert_eq!(config.cache_bytes, 256 * 1024 * 1024);
        assert_eq!(config.resize, Resize::ShorterCrop);
        assert_eq!(config.interpolation, Interpolation::Bilinear);
        assert_eq!((config.mean, config.classes.is_none()), (None, true));
        assert!(config.check().is_empty());
        let again: Config = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn names_are_spelled_as_documented() {
        let text = "format = 'imagefolder'\ntrain = 'a'\ntest = 'b'\nresolution = 32\nresize = 'stretch'\n\
                    interpolation = 'bicubic'\nclasses = ['cat', 3]\nimage_column = 'img'\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.format, Format::ImageFolder);
        let classes = vec![ClassRef::Name("cat".into()), ClassRef::Index(3)];
        assert_eq!(config.classes, Some(classes));
        assert_eq!(config.check()[0].path, "data.image_column");
    }

    #[test]
    fn unknown_fields_are_refused() {
        let error = toml::from_str::<Config>(&format!("{MINIMAL}resolutoin = 3")).unwrap_err();
        assert!(error.to_string().contains("resolutoin"), "{error}");
    }

    #[test]
    fn all_faults_come_at_once() {
        let mut config: Config = toml::from_str(MINIMAL).unwrap();
        config.resolution = 0;
        config.test.clear();
        config.mean = Some([0.5, 0.5, 127.]);
        config.std = Some([0.2, 0., f64::NAN]);
        let paths: Vec<String> = config.check().into_iter().map(|f| f.path).collect();
        assert_eq!(
            paths,
            ["data.resolution", "data.test", "data.mean", "data.std"]
        );
    }

    #[test]
    fn classes_are_named_or_excluded_but_not_both() {
        let both = format!("{MINIMAL}classes = ['cat']\nexclude_classes = ['dog']\n");
        let config: Config = toml::from_str(&both).unwrap();
        let faults = config.check();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].path, "data.exclude_classes");
        let one: Config = toml::from_str(&format!("{MINIMAL}exclude_classes = [3]\n")).unwrap();
        assert!(one.check().is_empty());
    }

    #[test]
    fn exif_is_ignored_by_default_and_then_not_written() {
        let config: Config = toml::from_str(MINIMAL).unwrap();
        assert_eq!(config.exif, Exif::Ignore);
        assert!(!toml::to_string(&config).unwrap().contains("exif"));
        let text = format!("{MINIMAL}exif = 'apply'\n");
        let config: Config = toml::from_str(&text).unwrap();
        assert_eq!(config.exif, Exif::Apply);
        assert!(
            toml::to_string(&config)
                .unwrap()
                .contains("exif = \"apply\"")
        );
    }

    #[test]
    fn the_schema_carries_the_docs() {
        let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
        let resolution = &schema["properties"]["resolution"];
        assert_eq!(resolution["maximum"], 4096);
        let docs = resolution["description"].as_str().unwrap();
        assert!(docs.contains("in pixels"), "{docs}");
        assert_eq!(schema["additionalProperties"], false);
    }

    #[test]
    fn large_images_and_no_epsilon_are_faults() {
        let zca = |epsilon| WhiteningConfig::Zca(ZcaConfig { epsilon });
        assert!(zca(0.1).faults(32).is_empty());
        let told: Vec<String> = zca(0.).faults(64).iter().map(|f| f.path.clone()).collect();
        assert_eq!(told, ["data.whitening.epsilon", "data.whitening"]);
    }
}
