//! What a distilled set starts from: number of images, their classes, and initial values. And the sets that students train on, by name:
//! the distilled one and its controls of the same size.

use anyhow::Result;
use plugin_api::rng::{Rng, StreamId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    artifact::{ImageFormat, ImageSet, Scaling, Stage},
    data::{Normalization, Rounding},
    engine::Value,
    stages::{Session, views::Images as _},
};

/// Whose random numbers first values are made of, whichever stage asks: they are the same for every method of one seed.
const STREAM: &str = Stage::Recover.name();

/// The set that recover made.
pub const DISTILLED: &str = "distilled";
/// The set that a matcher made.
pub const MATCHED: &str = "matched";
/// As many real images.
pub const RANDOM_REAL: &str = "random-real";
/// The images that a set started from, unoptimised.
pub const INIT_ONLY: &str = "init-only";
/// All training images.
pub const FULL_DATA: &str = "full-data";

/// Class labels alone, in tables and in the run folder.
pub const HARD: &str = "hard";
/// What is added to the name of labels where images were neither cropped, mixed nor augmented.
pub const UNAUGMENTED: &str = "-unaugmented";
/// Labels that a matcher learned, in tables.
pub const LEARNED: &str = "learned";

/// What the images start from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Standard normal noise on the scale of the network's inputs, as in SRe2L
    #[default]
    Noise,
    /// Real training images
    Real,
}

/// What a distilled set starts from and how it is stored: what `[recover]` and `[match]` have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The stage that makes the set.
    pub stage: Stage,
    /// Images per class.
    pub images_per_class: u32,
    /// Their first values.
    pub init: Init,
    /// How they are stored.
    pub format: ImageFormat,
    /// How values are rounded to bytes.
    pub quantization: Rounding,
}

impl Origin {
    /// Classes of the distilled images in the order of their making: image k of every class before image k + 1 of any, so that a
    /// batch holds consecutive classes, as in SRe2L's code.
    pub fn labels(&self, classes: usize) -> Vec<u32> {
        (0..self.images_per_class)
            .flat_map(|_| 0..classes as u32)
            .collect()
    }

    /// The images that a set starts from, as a network is given them, [N, 3, R, R] for `range` of the distilled images.
    ///
    /// # Errors
    /// When a real image cannot be decoded.
    pub fn initial_images(
        &self,
        session: &Session<'_>,
        range: std::ops::Range<usize>,
    ) -> Result<Value> {
        let side = session.train.resolution();
        let size = 3 * side * side;
        let mut values = Vec::with_capacity(range.len() * size);
        let labels = self.labels(session.train.num_classes());
        let order = |class| real_order(session, "init-order", class);
        for image in range.clone() {
            let (class, number) = (labels[image], (image / session.train.num_classes()) as u32);
            match self.init {
                Init::Noise => {
                    let id = StreamId {
                        class,
                        item: number,
                        iteration: 0,
                    };
                    let mut rng = Rng::new(session.seed, STREAM, "init", id);
                    values.extend((0..size).map(|_| rng.normal() as f32));
                }
                Init::Real => {
                    let pixels = session.train.pixels(order(class)[number as usize])?;
                    let mut normalised = vec![0f32; size];
                    let normalization = &session.inputs.normalization;
                    normalization.normalize(&pixels, side * side, &mut normalised);
                    values.extend(normalised);
                }
            }
        }
        let images = Value::from_vec(values, (range.len(), 3, side, side), &session.device)?;
        match self.init {
            Init::Noise => Ok(images),
            Init::Real => session.inputs.of_normalised(images),
        }
    }

    /// Images as bytes, of what a network is given.
    ///
    /// # Errors
    /// When the images cannot be read.
    pub fn to_bytes(&self, session: &Session<'_>, images: &Value) -> Result<Vec<u8>> {
        let side = session.train.resolution();
        let normalised = session
            .inputs
            .to_normalised(&images.to_device(&session.device)?)?;
        let values = normalised.flatten_all()?.to_vec1::<f32>()?;
        let normalization = &session.inputs.normalization;
        Ok(normalization.to_bytes(&values, side * side, self.quantization))
    }

    /// Stores the files of a set's images.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn save(&self, session: &Session<'_>, set: &ImageSet) -> Result<()> {
        let Normalization { mean, std } = session.inputs.normalization;
        let files = session.folder.images(self.stage);
        set.save(&files, self.format, Scaling { mean, std })
    }

    /// All images of a set, [N, 3, R, R], with their classes.
    pub fn set_of(&self, session: &Session<'_>, pixels_nchw: Vec<u8>) -> ImageSet {
        let train = session.train;
        ImageSet::new(
            train.resolution(),
            pixels_nchw,
            self.labels(train.num_classes()),
            train.class_names().to_vec(),
        )
    }
}

/// The training images of a class in an order that the seed gives.
pub fn real_order(session: &Session<'_>, purpose: &str, class: u32) -> Vec<usize> {
    let own = session.train.indices_of_class(class);
    let id = StreamId {
        class,
        item: 0,
        iteration: 0,
    };
    let mut rng = Rng::new(session.seed, STREAM, purpose, id);
    rng.permutation(own.len())
        .into_iter()
        .map(|i| own[i as usize])
        .collect()
}

/// The name of the set that an origin becomes.
pub fn made(origin: &Origin) -> &'static str {
    match origin.stage {
        Stage::Match => MATCHED,
        _ => DISTILLED,
    }
}

/// A set by name, from disk or chosen again.
///
/// # Errors
/// When an image is missing or cannot be decoded.
pub fn load(session: &Session<'_>, origin: &Origin, name: &str) -> Result<ImageSet> {
    match name {
        DISTILLED | MATCHED => ImageSet::load(&session.folder.images(origin.stage)),
        _ => control(session, origin, name),
    }
}

/// A control: as many images of each class as were distilled.
fn control(session: &Session<'_>, origin: &Origin, name: &str) -> Result<ImageSet> {
    let classes = session.train.num_classes();
    let labels = origin.labels(classes);
    if name == INIT_ONLY {
        let images = origin.initial_images(session, 0..labels.len())?;
        return Ok(origin.set_of(session, origin.to_bytes(session, &images)?));
    }
    let orders: Vec<Vec<usize>> = (0..classes as u32)
        .map(|c| real_order(session, RANDOM_REAL, c))
        .collect();
    let mut pixels_nchw = Vec::new();
    for (i, &class) in labels.iter().enumerate() {
        pixels_nchw.extend_from_slice(&session.train.pixels(orders[class as usize][i / classes])?);
    }
    Ok(origin.set_of(session, pixels_nchw))
}
