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
    /// Widths of all images that can be decoded, in pixels; none where none can.
    pub widths: Option<Spread>,
    /// Heights of the same.
    pub heights: Option<Spread>,
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

/// How far lengths spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: u32,
    /// As many are smaller as are larger; of two in the middle the smaller one.
    pub median: u32,
    /// The largest.
    pub max: u32,
}

impl Spread {
    /// Of lengths and how often each occurs.
    fn of(lengths: impl Iterator<Item = (u32, usize)>) -> Option<Self> {
        let mut counts = BTreeMap::<u32, usize>::new();
        for (length, count) in lengths {
            *counts.entry(length).or_default() += count;
        }
        let mut left = counts.values().sum::<usize>().div_ceil(2);
        let mut of_middle = counts.iter().filter(|(_, count)| {
            let is_middle = left > 0 && left <= **count;
            left = left.saturating_sub(**count);
            is_middle
        });
        let median = *of_middle.next()?.0;
        Some(Self {
            min: *counts.first_key_value()?.0,
            median,
            max: *counts.last_key_value()?.0,
        })
    }
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
    let all = total.sizes.iter();
    let widths = Spread::of(all.clone().map(|(&(width, _), &count)| (width, count)));
    let heights = Spread::of(all.map(|(&(_, height), &count)| (height, count)));
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
        widths,
        heights,
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
    use super::Spread;

    #[test]
    fn sizes_are_told_as_minimum_median_and_maximum() {
        let spread = |lengths: &[(u32, usize)]| {
            let spread = Spread::of(lengths.iter().copied());
            spread.map(|s| [s.min, s.median, s.max])
        };
        assert_eq!(spread(&[(9, 1), (3, 2), (5, 2)]), Some([3, 5, 9]));
        assert_eq!(spread(&[(9, 1), (3, 1)]), Some([3, 3, 9]));
        assert_eq!(spread(&[(7, 4)]), Some([7, 7, 7]));
        assert_eq!(spread(&[]), None);
    }

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
        let info = info(std::slice::from_ref(&path)).unwrap();
        let split = &info.splits[0];
        assert_eq!((split.name.as_str(), split.images), ("all", 4));
        let spread = |length| Spread {
            min: length,
            median: length,
            max: length,
        };
        assert_eq!(split.widths, Some(spread(2)));
        assert_eq!(split.heights, Some(spread(1)));
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
