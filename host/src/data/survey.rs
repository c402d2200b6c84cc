//! The survey of one split behind `alambic data info`: every image decoded, everything counted.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::classes::Classes;
use super::item::{DecodeError, Item};
use super::pixel_sums::PixelSums;

/// How many of the commonest sizes are listed.
const MAX_SIZES: usize = 10;

/// Images decoded by one task.
const IMAGES_PER_TASK: usize = 64;

/// One split: the parquet files with a common start of their names, or one folder of class folders.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitInfo {
    /// `train` of `train-00000-of-00004.parquet`, or the folder's name.
    pub name: String,
    /// Number of images, the broken ones included.
    pub images: usize,
    /// Their size as they are stored.
    pub encoded_bytes: u64,
    /// Images per class, in label order.
    pub classes: Vec<ClassCount>,
    /// The commonest sizes, the most frequent first.
    pub sizes: Vec<SizeCount>,
    /// How many sizes there are.
    pub num_sizes: usize,
    /// Mean of each channel over all pixels at their own size, for pixels in 0 to 1.
    pub mean: [f64; 3],
    /// Standard deviation of each channel, likewise.
    pub std: [f64; 3],
    /// Rows that cannot be used.
    pub broken: Vec<Broken>,
}

/// Number of images of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The class's name.
    pub name: String,
    /// Its images.
    pub count: usize,
}

/// Number of images of one size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizeCount {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Images of this size.
    pub count: usize,
}

/// A row that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Its file, and its row in a parquet file.
    pub place: String,
    /// What is wrong with its image or its label.
    pub message: String,
}

/// Decodes every image of a split and adds up what it holds; what is broken is listed.
pub(super) fn summarize(name: &str, class_names: Vec<String>, items: &[Item]) -> SplitInfo {
    let classes = Classes::all(class_names);
    let tallies: Vec<Tally> = items.par_chunks(IMAGES_PER_TASK).map(Tally::of).collect();
    let mut total = Tally::default();
    tallies.into_iter().for_each(|tally| total.add(tally));
    let mut counts = vec![0; classes.names.len()];
    for item in items {
        match classes.relabel(item.label) {
            Ok(label) => counts[label.expect("no class is left out") as usize] += 1,
            Err(message) => total.broken.push(item.error(message)),
        }
    }
    let mut sizes: Vec<SizeCount> = total
        .sizes
        .iter()
        .map(|(&(width, height), &count)| SizeCount {
            width,
            height,
            count,
        })
        .collect();
    sizes.sort_by_key(|size| Reverse(size.count));
    let num_sizes = sizes.len();
    sizes.truncate(MAX_SIZES);
    let (mean, std) = total.pixels.mean_std();
    let broken = |e: DecodeError| Broken {
        place: e.place.to_string(),
        message: e.message,
    };
    SplitInfo {
        name: name.to_string(),
        images: items.len(),
        encoded_bytes: total.encoded_bytes,
        classes: classes
            .names
            .into_iter()
            .zip(counts)
            .map(|(name, count)| ClassCount { name, count })
            .collect(),
        sizes,
        num_sizes,
        mean,
        std,
        broken: total.broken.into_iter().map(broken).collect(),
    }
}

/// What a run over some images adds up.
#[derive(Default)]
struct Tally {
    encoded_bytes: u64,
    sizes: BTreeMap<(u32, u32), usize>,
    pixels: PixelSums,
    broken: Vec<DecodeError>,
}

impl Tally {
    fn of(items: &[Item]) -> Self {
        let mut tally = Self::default();
        for item in items {
            if let Err(error) = tally.add_image(item) {
                tally.broken.push(error);
            }
        }
        tally
    }

    fn add_image(&mut self, item: &Item) -> Result<(), DecodeError> {
        let encoded = item.read()?;
        self.encoded_bytes += encoded.len() as u64;
        let image = (item.coding.decode)(&encoded).map_err(|message| item.error(message))?;
        *self.sizes.entry(image.dimensions()).or_default() += 1;
        let bytes = image.as_raw();
        self.pixels
            .add_pixels([0, 1, 2].map(|c| bytes.iter().skip(c).step_by(3).copied()));
        Ok(())
    }

    fn add(&mut self, other: Self) {
        self.encoded_bytes += other.encoded_bytes;
        for (size, count) in other.sizes {
            *self.sizes.entry(size).or_default() += count;
        }
        self.pixels = self.pixels + other.pixels;
        self.broken.extend(other.broken);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ParquetFixture, png};
    use super::super::info::info;

    #[test]
    fn what_is_broken_is_listed_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all.parquet");
        let image = || Some(png(2, 1, [255, 0, 51]));
        let rows = vec![
            (image(), Some(0)),
            (Some(b"x".to_vec()), Some(1)),
            (None, Some(1)),
            (image(), Some(5)),
        ];
        ParquetFixture::optional(rows)
            .names(&["a", "b"])
            .write(&path);
        let info = info(&path).unwrap();
        let split = &info.splits[0];
        assert_eq!((split.name.as_str(), split.images), ("all", 4));
        assert_eq!((split.mean, split.std), ([1., 0., 0.2], [0.; 3]));
        let counts: Vec<usize> = split.classes.iter().map(|c| c.count).collect();
        assert_eq!(counts, [1, 2]);
        let rows: Vec<&str> = split
            .broken
            .iter()
            .map(|b| b.place.rsplit(' ').next().unwrap())
            .collect();
        assert_eq!(rows, ["1", "2", "3"]);
        assert!(split.broken[2].message.contains("out of range"));
    }
}
