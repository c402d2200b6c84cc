//! One split of a labelled image set: labels in memory, images encoded until they are requested.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use rayon::prelude::*;

use super::cache::Cache;
use super::config::{Config, Split};
use super::fault::Fault;
use super::geometry::Geometry;
use super::item::{DecodeError, Item, Place};
use super::open;
use super::pixel_sums::PixelSums;
use crate::engine::{
    Value,
    gpu::{Gpu, resident::Resident},
};

/// Images whose sums are added up at once.
const IMAGES_PER_SUM: usize = 256;

/// One split, opened and checked.
#[derive(Debug)]
pub struct Dataset {
    items: Vec<Item>,
    labels: Vec<u32>,
    class_names: Vec<String>,
    by_class: Vec<Vec<usize>>,
    geometry: Geometry,
    has_originals: bool,
    cache: Cache,
    resident: Resident,
}

impl Dataset {
    /// Opens a split of the set that `config` describes; `base` is the folder of its TOML.
    ///
    /// Labels are read and checked in full, image headers in full below 512 images and for 32 spread over the split above.
    ///
    /// # Errors
    /// All that is wrong with the table and the files, each under its key.
    pub fn open(config: &Config, split: Split, base: &Path) -> Result<Self, Vec<Fault>> {
        let opened = open::open(config, split, base)?;
        let mut by_class = vec![Vec::new(); opened.class_names.len()];
        for (i, label) in opened.labels.iter().enumerate() {
            by_class[*label as usize].push(i);
        }
        Ok(Self {
            cache: Cache::new(opened.items.len(), config.cache_bytes),
            resident: Resident::default(),
            items: opened.items,
            labels: opened.labels,
            class_names: opened.class_names,
            by_class,
            geometry: Geometry::of(config),
            has_originals: opened.has_other_sizes,
        })
    }

    /// The images of some classes alone, which are numbered anew in the order given; their decoded images are kept apart.
    ///
    /// # Panics
    /// There is no such class.
    #[must_use]
    pub fn of_classes(&self, classes: &[u32]) -> Self {
        let mut places = Vec::new();
        for (label, class) in (0..).zip(classes) {
            places.extend(self.indices_of_class(*class).iter().map(|i| (*i, label)));
        }
        // In the order of the files, as if the others were not there.
        places.sort_unstable();
        let mut by_class = vec![Vec::new(); classes.len()];
        for (i, (_, label)) in places.iter().enumerate() {
            by_class[*label as usize].push(i);
        }
        let name = |class: &u32| self.class_names[*class as usize].clone();
        Self {
            cache: self.cache.empty(places.len()),
            resident: Resident::default(),
            items: places.iter().map(|(i, _)| self.items[*i].clone()).collect(),
            labels: places.iter().map(|(_, label)| *label).collect(),
            class_names: classes.iter().map(name).collect(),
            by_class,
            geometry: self.geometry,
            has_originals: self.has_originals,
        }
    }

    /// Opens the training and the test split.
    ///
    /// # Errors
    /// All that is wrong with either, each fault once.
    pub fn open_both(config: &Config, base: &Path) -> Result<(Self, Self), Vec<Fault>> {
        let train = Self::open(config, Split::Train, base);
        let test = Self::open(config, Split::Test, base);
        match (train, test) {
            (Ok(train), Ok(test)) => Ok((train, test)),
            (train, test) => {
                let mut faults: Vec<Fault> = Vec::new();
                for fault in train.err().into_iter().chain(test.err()).flatten() {
                    if !faults.contains(&fault) {
                        faults.push(fault);
                    }
                }
                Err(faults)
            }
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Never true for a split that was opened; here because `len` is.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Side of every image, in pixels.
    pub fn resolution(&self) -> usize {
        self.geometry.resolution as usize
    }

    /// The label of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Names of the classes, in label order.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.class_names.len()
    }

    /// The images of a class, in order.
    ///
    /// # Panics
    /// There is no such class.
    pub fn indices_of_class(&self, class: u32) -> &[usize] {
        &self.by_class[class as usize]
    }

    /// The location of an image, for messages.
    pub fn place(&self, i: usize) -> &Place {
        &self.items[i].place
    }

    /// Size of an image as it is stored, in bytes.
    pub fn encoded_bytes(&self, i: usize) -> usize {
        self.items[i].bytes as usize
    }

    /// The pixels of an image, from memory where they are kept.
    ///
    /// # Shapes
    /// (3, resolution, resolution), RGB.
    ///
    /// # Errors
    /// The image cannot be read or decoded; the message names its file and row.
    pub fn decode(&self, i: usize) -> Result<Arc<[u8]>, DecodeError> {
        let item = &self.items[i];
        self.cache.get(i, || {
            let squared = self.geometry.square(item.decode()?);
            squared.map_err(|message| item.error(message))
        })
    }

    /// Whether images have another size than the square's, as far as their checked headers tell.
    pub fn has_originals(&self) -> bool {
        self.has_originals
    }

    /// A box of an image in its own size, brought to the square as Pillow resizes; never kept in memory. `choose` is told rows and
    /// columns, and answers with top, left, height and width inside of them.
    ///
    /// # Shapes
    /// (3, resolution, resolution), RGB.
    ///
    /// # Errors
    /// The image cannot be read or decoded; the message names its file and row.
    pub fn decode_box(
        &self,
        i: usize,
        choose: impl FnOnce([u32; 2]) -> [u32; 4],
    ) -> Result<Vec<u8>, DecodeError> {
        let item = &self.items[i];
        let image = item.decode()?;
        let [top, left, height, width] = choose([image.height(), image.width()]);
        let part = image::imageops::crop_imm(&image, left, top, width, height);
        let stretched = self.geometry.stretched(part.to_image());
        stretched.map_err(|message| item.error(message))
    }

    /// Bytes of decoded images in memory: now, and once every image was asked for.
    pub fn cache_bytes(&self) -> (u64, u64) {
        let image_bytes = 3 * self.resolution() as u64 * self.resolution() as u64;
        (self.cache.used_bytes(), self.cache.full_bytes(image_bytes))
    }

    /// The pixels of several images, decoded in parallel.
    ///
    /// # Shapes
    /// (N, 3, resolution, resolution), in the order of `indices`.
    ///
    /// # Errors
    /// That of the first image that cannot be decoded.
    pub fn batch(&self, indices: &[usize]) -> Result<Vec<u8>, DecodeError> {
        let image_bytes = 3 * self.resolution() * self.resolution();
        let mut batch_nchw = vec![0; indices.len() * image_bytes];
        let fill = |(image, i): (&mut [u8], &usize)| -> Result<(), DecodeError> {
            image.copy_from_slice(&self.decode(*i)?);
            Ok(())
        };
        let done: Vec<_> = batch_nchw
            .par_chunks_mut(image_bytes)
            .zip(indices)
            .map(fill)
            .collect();
        done.into_iter().collect::<Result<(), _>>()?;
        Ok(batch_nchw)
    }

    /// All pixels on a GPU; none on the CPU, where images are larger than the set's resolution, and where they do not fit.
    ///
    /// # Shapes
    /// (N, 3, R, R), bytes
    ///
    /// # Errors
    /// When an image cannot be decoded; the error names file and row.
    pub fn on_gpu(&self, device: &Device) -> anyhow::Result<Option<(Gpu, &Value)>> {
        if self.has_originals() {
            return Ok(None);
        }
        let side = self.resolution();
        let dims = [self.len(), 3, side, side];
        self.resident.on_gpu(device, dims, || {
            let all: Vec<usize> = (0..self.len()).collect();
            Ok(self.batch(&all)?)
        })
    }

    /// Mean and standard deviation of each channel over all pixels of the split, for pixels in 0 to 1; exact, and so the same
    /// for any number of threads.
    ///
    /// # Errors
    /// That of the first image that cannot be decoded.
    pub fn channel_statistics(&self) -> Result<([f64; 3], [f64; 3]), DecodeError> {
        let indices: Vec<usize> = (0..self.len()).collect();
        let plane = self.resolution() * self.resolution();
        let sum = |chunk: &[usize]| {
            let mut sums = PixelSums::default();
            for i in chunk {
                let pixels = self.decode(*i)?;
                sums.add_pixels(
                    [0, 1, 2].map(|c| pixels[c * plane..(c + 1) * plane].iter().copied()),
                );
            }
            Ok(sums)
        };
        let sums: Vec<Result<PixelSums, DecodeError>> =
            indices.par_chunks(IMAGES_PER_SUM).map(sum).collect();
        let mut sums = sums.into_iter();
        let total = sums.try_fold(PixelSums::default(), |total, sums| Ok(total + sums?))?;
        Ok(total.mean_std())
    }
}

#[cfg(test)]
#[path = "dataset_test.rs"]
mod tests;
