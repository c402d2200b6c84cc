//! Sets of images of one size: in memory as bytes, on disk as an ImageFolder in the right class order.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Error, Result, ensure};
use candle_core::Device;
use image::{
    Rgb, RgbImage,
    codecs::{jpeg::JpegEncoder, png::PngEncoder},
};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{atomic, own_files, sums};
use crate::{
    engine::{
        Value,
        gpu::{Gpu, resident::Resident},
    },
    picture::{self, Exif},
    regular,
};

/// How images are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// Lossless.
    #[default]
    Png,
    /// Lossy, quality 75, like SRe2L's authors.
    Jpeg,
}

/// How a teacher saw the images: mean and standard deviation of each channel, for pixels in 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Mean of each channel.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
}

/// Images of one size with their classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSet {
    /// Pixels a side.
    pub resolution: usize,
    /// Bytes of all images, [N, 3, R, R].
    pub pixels_nchw: Vec<u8>,
    /// Class of each image.
    pub labels: Vec<u32>,
    /// Names of the classes, in the teacher's order.
    pub class_names: Vec<String>,
    resident: Resident,
}

impl ImageSet {
    /// A set of `pixels_nchw`, [N, 3, R, R], that has `labels`.
    pub fn new(
        resolution: usize,
        pixels_nchw: Vec<u8>,
        labels: Vec<u32>,
        class_names: Vec<String>,
    ) -> Self {
        Self {
            resolution,
            pixels_nchw,
            labels,
            class_names,
            resident: Resident::default(),
        }
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Images, classes, pixels a side.
    pub fn sizes(&self) -> [usize; 3] {
        [self.len(), self.class_names.len(), self.resolution]
    }

    /// Some of its images, in the order of their places.
    #[must_use]
    pub fn some(&self, places: &[usize]) -> Self {
        let pixels = places.iter().flat_map(|&i| self.image(i)).copied();
        let labels = places.iter().map(|&i| self.labels[i]).collect();
        let names = self.class_names.clone();
        Self::new(self.resolution, pixels.collect(), labels, names)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one image, [3, R, R].
    pub fn image(&self, index: usize) -> &[u8] {
        let size = 3 * self.resolution * self.resolution;
        &self.pixels_nchw[index * size..(index + 1) * size]
    }

    /// All pixels on a GPU; none on the CPU, and where they do not fit.
    ///
    /// # Shapes
    /// (N, 3, R, R), bytes
    ///
    /// # Errors
    /// When the device has no room.
    pub fn on_gpu(&self, device: &Device) -> Result<Option<(Gpu, &Value)>> {
        let dims = [self.len(), 3, self.resolution, self.resolution];
        self.resident
            .on_gpu(device, dims, || Ok(self.pixels_nchw.clone()))
    }

    /// One image as a file.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn encode(&self, index: usize, format: ImageFormat) -> Result<Vec<u8>> {
        let image = rgb(self.image(index), self.resolution);
        let mut file = Vec::new();
        match format {
            ImageFormat::Png => image.write_with_encoder(PngEncoder::new(&mut file))?,
            ImageFormat::Jpeg => {
                image.write_with_encoder(JpegEncoder::new_with_quality(&mut file, 75))?;
            }
        }
        Ok(file)
    }

    /// Bytes of all images as files.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn encoded_bytes(&self, format: ImageFormat) -> Result<u64> {
        let sizes: Vec<u64> = (0..self.len())
            .into_par_iter()
            .map(|i| Ok(self.encode(i, format)?.len() as u64))
            .collect::<Result<_>>()?;
        Ok(sizes.iter().sum())
    }

    /// Writes the set to `folder`, replacing what stood there: `<class index, 5 digits>_<class>/<id>.png`, and `set.json`
    /// beside it with the exact class names and the order of the images.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn save(&self, folder: &Path, format: ImageFormat, scaling: Scaling) -> Result<()> {
        let extension = match format {
            ImageFormat::Png => "png",
            ImageFormat::Jpeg => "jpg",
        };
        let mut counts = vec![0usize; self.class_names.len()];
        let files: Vec<String> = self
            .labels
            .iter()
            .map(|&label| {
                let class = label as usize;
                counts[class] += 1;
                format!(
                    "{}/{:05}.{extension}",
                    class_folder(class, &self.class_names[class]),
                    counts[class] - 1
                )
            })
            .collect();
        let index = Index {
            resolution: self.resolution,
            class_names: self.class_names.clone(),
            normalization: scaling,
            labels: self.labels.clone(),
            files: files.clone(),
        };
        atomic::replace_folder(folder, |fresh| {
            for (class, name) in self.class_names.iter().enumerate() {
                let class = class_folder(class, name);
                fs::create_dir_all(fresh.join(&class)).with_context(|| class.clone())?;
            }
            for (i, file) in files.iter().enumerate() {
                let image = self.encode(i, format)?;
                fs::write(fresh.join(file), &image).with_context(|| file.clone())?;
                sums::note(&folder.join(file), &image);
            }
            own_files::carry_over(folder, fresh)
        })?;
        atomic::write_json(&index_path(folder), &index)
    }

    /// Whether [`ImageSet::save`] has written a whole set to `folder`.
    pub fn is_at(folder: &Path) -> bool {
        index_path(folder).exists()
    }

    /// The file of each image, and how a teacher saw them, as [`ImageSet::save`] noted them.
    ///
    /// # Errors
    /// When the note is missing or damaged.
    pub fn stored(folder: &Path) -> Result<(Vec<PathBuf>, Scaling)> {
        let index: Index = atomic::read_json(&index_path(folder))?;
        let files = index.files.iter().map(|file| folder.join(file)).collect();
        Ok((files, index.normalization))
    }

    /// Reads what [`ImageSet::save`] wrote.
    ///
    /// # Errors
    /// When a file is missing, damaged or of another size.
    pub fn load(folder: &Path) -> Result<Self> {
        let Index {
            resolution,
            class_names,
            labels,
            files,
            ..
        } = atomic::read_json(&index_path(folder))?;
        ensure!(
            labels.len() == files.len(),
            "{}: the numbers of labels and files differ",
            index_path(folder).display()
        );
        let images: Vec<Vec<u8>> = files
            .par_iter()
            .map(|file| decode(&folder.join(file), resolution))
            .collect::<Result<_>>()?;
        Ok(Self::new(resolution, images.concat(), labels, class_names))
    }
}

#[derive(Serialize, Deserialize)]
struct Index {
    resolution: usize,
    class_names: Vec<String>,
    normalization: Scaling,
    labels: Vec<u32>,
    files: Vec<String>,
}

fn index_path(folder: &Path) -> PathBuf {
    folder.with_file_name("set.json")
}

/// The folder of a class: its padded index keeps the order, its name is cut to what any file system takes.
pub(super) fn class_folder(class: usize, name: &str) -> String {
    let keep = |c: char| {
        if c.is_alphanumeric() || "-_. ".contains(c) {
            c
        } else {
            '_'
        }
    };
    let safe: String = name.chars().take(40).map(keep).collect();
    format!("{class:05}_{}", safe.trim())
}

/// The image of bytes [3, R, R].
pub fn rgb(chw: &[u8], resolution: usize) -> RgbImage {
    let (plane, side) = (resolution * resolution, resolution as u32);
    RgbImage::from_fn(side, side, |x, y| {
        let at = (y * side + x) as usize;
        Rgb([chw[at], chw[plane + at], chw[2 * plane + at]])
    })
}

/// The bytes of an image file of this many pixels a side, [3, R, R].
///
/// # Errors
/// When it cannot be read, is damaged or truncated, or has another size.
pub fn decode(path: &Path, resolution: usize) -> Result<Vec<u8>> {
    let decoded = || {
        let encoded = regular::read(path)?;
        let (width, height) = picture::size(&encoded, Exif::Ignore).map_err(Error::msg)?;
        let square = u32::try_from(resolution)?;
        ensure!(
            (width, height) == (square, square),
            "it has {width}x{height} pixels, expected {resolution}x{resolution}"
        );
        let image = picture::decode(&encoded, Exif::Ignore).map_err(Error::msg)?;
        let raw = image.into_raw();
        let channels = (0..3).flat_map(|c| raw.iter().skip(c).step_by(3).copied());
        Ok(channels.collect())
    };
    decoded().with_context(|| format!("cannot read image {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Scaling = Scaling {
        mean: [0.; 3],
        std: [1.; 3],
    };

    fn set() -> ImageSet {
        let pixels_nchw = (0..4 * 3 * 16).map(|i| (i * 7 % 251) as u8).collect();
        let class_names = vec!["b/\"<x>".to_owned(), "a".to_owned()];
        ImageSet::new(4, pixels_nchw, vec![1, 0, 1, 0], class_names)
    }

    #[test]
    fn a_png_set_survives_the_disk_with_odd_names_in_odd_order() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("images");
        set().save(&folder, ImageFormat::Png, PLAIN).unwrap();
        assert_eq!(ImageSet::load(&folder).unwrap(), set());
        assert!(folder.join("00001_a/00001.png").exists());
        fs::remove_file(folder.join("00001_a/00001.png")).unwrap();
        assert!(format!("{:#}", ImageSet::load(&folder).unwrap_err()).contains("00001.png"));
    }

    #[test]
    fn sizes_are_those_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("images");
        set().save(&folder, ImageFormat::Jpeg, PLAIN).unwrap();
        let on_disk: u64 = ["00000_b___x_", "00001_a"]
            .iter()
            .flat_map(|class| fs::read_dir(folder.join(class)).unwrap())
            .map(|e| e.unwrap().metadata().unwrap().len())
            .sum();
        assert_eq!(set().encoded_bytes(ImageFormat::Jpeg).unwrap(), on_disk);
    }

    /// The decoder would fill what is missing of a JPEG with grey.
    #[test]
    fn a_truncated_jpeg_of_a_set_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("images");
        let pixels_nchw = (0..3 * 64 * 64).map(|i| (i * 7 % 251) as u8).collect();
        let set = ImageSet::new(64, pixels_nchw, vec![0], vec!["a".to_owned()]);
        set.save(&folder, ImageFormat::Jpeg, PLAIN).unwrap();
        assert_eq!(ImageSet::load(&folder).unwrap().len(), 1);
        let path = folder.join("00000_a/00000.jpg");
        let whole = fs::read(&path).unwrap();
        for kept in [whole.len() - 2, whole.len() * 2 / 3] {
            fs::write(&path, &whole[..kept]).unwrap();
            let error = format!("{:#}", ImageSet::load(&folder).unwrap_err());
            assert!(error.contains("00000_a/00000.jpg: "), "{error}");
            assert!(error.contains("a JPEG without its end"), "{error}");
        }
        fs::write(&path, set.encode(0, ImageFormat::Png).unwrap()).unwrap();
        let error = format!("{:#}", decode(&path, 32).unwrap_err());
        assert!(
            error.ends_with("it has 64x64 pixels, expected 32x32"),
            "{error}"
        );
    }
}
