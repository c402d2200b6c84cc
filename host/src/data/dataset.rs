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
mod tests {
    use super::super::classes::ClassRef;
    use super::super::fixtures::{ParquetFixture, config, png, write_folder};
    use super::super::formats::Format;
    use super::super::item::Within;
    use super::super::normalization::Normalization;
    use super::*;

    fn digits(resolution: u32) -> (Config, &'static Path) {
        let mut config = config(Format::Parquet, "train-*.parquet", "test-*.parquet");
        config.resolution = resolution;
        (
            config,
            Path::new(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../experiments/data/digits"
            )),
        )
    }

    #[test]
    fn digits_are_all_there() {
        let (config, base) = digits(16);
        let (train, test) = Dataset::open_both(&config, base).unwrap();
        assert_eq!((train.len(), test.len()), (1437, 360));
        let names: Vec<String> = (0..10).map(|d| d.to_string()).collect();
        assert_eq!(train.class_names(), names);
        assert_eq!(train.decode(0).unwrap().len(), 3 * 16 * 16);
        for class in 0..10 {
            let indices = train.indices_of_class(class);
            assert!(indices.len() > 100 && indices.iter().all(|i| train.labels()[*i] == class));
        }
        assert!(test.encoded_bytes(5) > 50);
    }

    #[test]
    fn statistics_are_those_of_the_pixels() {
        let (config, base) = digits(8);
        let train = Dataset::open(&config, Split::Train, base).unwrap();
        let (mean, std) = train.channel_statistics().unwrap();
        let all: Vec<usize> = (0..train.len()).collect();
        let pixels = train.batch(&all).unwrap();
        let values: Vec<f64> = pixels.iter().map(|p| f64::from(*p) / 255.).collect();
        let n = values.len() as f64;
        let expected_mean = values.iter().sum::<f64>() / n;
        let variance = values
            .iter()
            .map(|v| (v - expected_mean).powi(2))
            .sum::<f64>()
            / n;
        assert!(
            (mean[0] - expected_mean).abs() < 1e-12 && (std[0] - variance.sqrt()).abs() < 1e-12
        );
        assert_eq!((mean[1], std[2]), (mean[0], std[0]), "grey images");
        let normalization = Normalization::resolve(&config, &train).unwrap();
        assert_eq!(normalization.mean[0], mean[0] as f32);
    }

    #[test]
    fn batches_are_the_same_for_any_threads_and_cache() {
        let (mut config, base) = digits(16);
        let indices = [7, 3, 1400, 3, 0];
        let one = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let kept = Dataset::open(&config, Split::Train, base).unwrap();
        config.cache_bytes = 0;
        let not_kept = Dataset::open(&config, Split::Train, base).unwrap();
        let batch = kept.batch(&indices).unwrap();
        assert_eq!(batch, one.install(|| not_kept.batch(&indices)).unwrap());
        let third = &batch[2 * 768..3 * 768];
        assert_eq!(third, &kept.decode(1400).unwrap()[..]);
        assert_eq!(
            kept.channel_statistics(),
            one.install(|| not_kept.channel_statistics())
        );
    }

    #[test]
    fn chosen_classes_come_in_their_order() {
        let (mut config, base) = digits(8);
        let all = Dataset::open(&config, Split::Test, base).unwrap();
        config.classes = Some(vec![ClassRef::Name("7".into()), ClassRef::Index(2)]);
        let some = Dataset::open(&config, Split::Test, base).unwrap();
        assert_eq!(some.class_names(), ["7", "2"]);
        assert_eq!(
            some.len(),
            all.indices_of_class(7).len() + all.indices_of_class(2).len()
        );
        let seven = some.decode(some.indices_of_class(0)[3]).unwrap();
        assert_eq!(seven, all.decode(all.indices_of_class(7)[3]).unwrap());
    }

    #[test]
    fn an_image_folder_decodes_to_its_colours() {
        let dir = tempfile::tempdir().unwrap();
        let images = [
            ("red", "0.png", png(9, 5, [255, 0, 0])),
            ("blue", "0.png", png(3, 3, [0, 0, 255])),
        ];
        write_folder(&dir.path().join("train"), &images);
        write_folder(&dir.path().join("test"), &images[..1]);
        let config = config(Format::ImageFolder, "train", "test");
        let (train, test) = Dataset::open_both(&config, dir.path()).unwrap();
        assert_eq!(train.class_names(), ["blue", "red"]);
        let blue_then_red = [vec![0; 32], vec![255; 32], vec![0; 32]].concat();
        assert_eq!(train.batch(&[0, 1]).unwrap(), blue_then_red);
        assert_eq!(
            test.labels(),
            [1],
            "a test split without one class keeps the labels of the training split"
        );
    }

    #[test]
    fn an_image_broken_past_its_header_is_named_when_decoded() {
        let dir = tempfile::tempdir().unwrap();
        let mut broken = png(16, 16, [1, 2, 3]);
        broken.truncate(50);
        let rows = [(png(4, 4, [0; 3]), 0), (broken, 1)];
        ParquetFixture::new(&rows).write(&dir.path().join("a.parquet"));
        let config = config(Format::Parquet, "a.parquet", "a.parquet");
        let train = Dataset::open(&config, Split::Train, dir.path()).unwrap();
        let error = train.batch(&[0, 1, 0]).unwrap_err();
        assert_eq!(error.place.within, Within::Row(1));
        assert!(
            error
                .to_string()
                .contains("a.parquet row 1: cannot decode the image"),
            "{error}"
        );
        assert_eq!(train.channel_statistics().unwrap_err(), error);
    }
}
