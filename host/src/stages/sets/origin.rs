//! What a distilled set starts from: number of images, their classes, and initial values. And the sets that students train on, by name:
//! the distilled one and its controls of the same size.

use anyhow::Result;
use plugin_api::{
    rng::{Rng, StreamId},
    view::CropRule,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::{
    artifact::{ImageFormat, ImageSet, Scaling, Stage},
    data::{Normalization, Rounding},
    engine::Value,
    stages::{
        ComponentConfig, Session,
        limits::BATCH,
        n,
        teachers::LabelChoice,
        views::{Images as _, Pixels},
    },
};

/// Whose random numbers first values are made of, whichever stage asks: they are the same for every method of one seed.
const STREAM: &str = Stage::Recover.name();

/// The set that recover made.
pub const DISTILLED: &str = "distilled";
/// The set that a matcher made.
pub const MATCHED: &str = "matched";
/// As many real images.
pub const RANDOM_REAL: &str = "random-real";
/// The real images that a selector chose, from which the set started.
pub const SELECTED_REAL: &str = "selected-real";
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Init {
    /// One word
    Plain(PlainInit),
    /// Real training images that a selector chooses
    Selected(Selected),
}

/// What the images start from, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlainInit {
    /// Standard normal noise on the scale of the network's inputs, as in SRe2L
    Noise,
    /// Real training images, drawn
    Real,
}

impl Default for Init {
    fn default() -> Self {
        Self::Plain(PlainInit::Noise)
    }
}

impl Init {
    /// Whether it is made of real images.
    pub fn is_real(&self) -> bool {
        *self != Self::default()
    }

    /// The table of a selector, where one chooses.
    pub fn selected(&self) -> Option<&Selected> {
        match self {
            Self::Plain(_) => None,
            Self::Selected(selected) => Some(selected),
        }
    }
}

/// Real training images that a selector chooses by what teachers say of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Selected {
    /// Name of the selector, or `plugin::component` if two plugins have one of that name
    pub plugin: String,
    /// Options of the selector (see `alambic plugin show`)
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Json>,
    /// Images of each class to choose from, drawn; all by default
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub pool: Option<u32>,
    /// Crops of each of them
    #[serde(default = "n::<1, u32>")]
    #[schemars(range(min = 1, max = 10_000))]
    pub crops: u32,
    /// How crops are drawn
    #[serde(default = "whole")]
    pub crop: CropRule,
    /// Crops along each side of an image: with 2 an image is made of four crops of half its side
    #[serde(default = "n::<1, u32>")]
    #[schemars(range(min = 1, max = 64))]
    pub tiles: u32,
    /// Which teachers are asked
    #[serde(default, skip_serializing_if = "LabelChoice::is_default")]
    pub teachers: LabelChoice,
    /// Crops that they evaluate at once; changes what they say by rounding only
    #[serde(default = "n::<200, u32>")]
    #[schemars(range(min = 1, max = BATCH))]
    pub batch_size: u32,
}

fn whole() -> CropRule {
    CropRule::None
}

impl Selected {
    /// The selector.
    pub fn component(&self) -> ComponentConfig {
        ComponentConfig {
            plugin: self.plugin.clone(),
            params: self.params.clone(),
        }
    }
}

/// In which order the images of a set are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Image k of every class before image k + 1 of any: a batch holds consecutive classes, as in SRe2L's code
    #[default]
    Across,
    /// All images of a class before those of the next: a batch holds as many of a class as it can, as in G-VBSM's code
    Class,
}

impl Order {
    /// Whether it is that of SRe2L.
    #[allow(clippy::trivially_copy_pass_by_ref)] // what serde calls
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a distilled set starts from and how it is stored: what `[recover]` and `[match]` have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The stage that makes the set.
    pub stage: Stage,
    /// Images per class.
    pub images_per_class: u32,
    /// In which order they are made.
    pub order: Order,
    /// Their first values.
    pub init: Init,
    /// How they are stored.
    pub format: ImageFormat,
    /// How values are rounded to bytes.
    pub quantization: Rounding,
}

impl Origin {
    /// Classes of the distilled images in the order of their making.
    pub fn labels(&self, classes: usize) -> Vec<u32> {
        let (classes, each) = (classes as u32, self.images_per_class);
        match self.order {
            Order::Across => (0..each).flat_map(|_| 0..classes).collect(),
            Order::Class => (0..classes * each).map(|image| image / each).collect(),
        }
    }

    /// The number of an image, counted in the order of their making, within its class.
    pub fn number(&self, image: usize, classes: usize) -> usize {
        match self.order {
            Order::Across => image / classes,
            Order::Class => image % self.images_per_class as usize,
        }
    }

    /// The images that a selector chose, all of them; none where none was asked or none has chosen yet.
    ///
    /// # Errors
    /// When an image is missing or damaged.
    pub fn start(&self, session: &Session<'_>) -> Result<Option<ImageSet>> {
        let folder = session.folder.start(self.stage);
        match self.init.selected() {
            Some(_) if ImageSet::is_at(&folder) => ImageSet::load(&folder).map(Some),
            _ => Ok(None),
        }
    }

    /// The images that a set starts from, `start` where a selector chose them, as a network is given them, [N, 3, R, R] for `range` of the distilled images.
    ///
    /// # Errors
    /// When a real image cannot be decoded.
    pub fn initial_images(
        &self,
        session: &Session<'_>,
        range: std::ops::Range<usize>,
        start: Option<&ImageSet>,
    ) -> Result<Value> {
        let side = session.train.resolution();
        let size = 3 * side * side;
        let mut values = Vec::with_capacity(range.len() * size);
        let labels = self.labels(session.train.num_classes());
        let order = |class| real_order(session, "init-order", class);
        for image in range.clone() {
            let number = self.number(image, session.train.num_classes()) as u32;
            let class = labels[image];
            match self.init {
                Init::Plain(PlainInit::Noise) => {
                    let id = StreamId {
                        class,
                        item: number,
                        iteration: 0,
                    };
                    let mut rng = Rng::new(session.seed, STREAM, "init", id);
                    values.extend((0..size).map(|_| rng.normal() as f32));
                }
                _ => {
                    let pixels = match start {
                        Some(start) => Pixels::Borrowed(start.image(image)),
                        None => session.train.pixels(order(class)[number as usize])?,
                    };
                    let mut normalised = vec![0f32; size];
                    let normalization = &session.inputs.normalization;
                    normalization.normalize(&pixels, side * side, &mut normalised);
                    values.extend(normalised);
                }
            }
        }
        let images = Value::from_vec(values, (range.len(), 3, side, side), &session.device)?;
        match self.init.is_real() {
            false => Ok(images),
            true => session.inputs.of_normalised(images),
        }
    }

    /// Images as bytes, of what a network is given.
    ///
    /// # Errors
    /// When the images cannot be read.
    pub fn to_bytes(&self, session: &Session<'_>, images: &Value) -> Result<Vec<u8>> {
        let (_, _, height, width) = images.dims4()?;
        let normalised = session
            .inputs
            .to_normalised(&images.to_device(&session.device)?)?;
        let values = normalised.flatten_all()?.to_vec1::<f32>()?;
        let normalization = &session.inputs.normalization;
        Ok(normalization.to_bytes(&values, height * width, self.quantization))
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

/// The name of a draw of random real images, counted from 1.
pub fn random_real(draw: u32) -> String {
    match draw {
        1 => RANDOM_REAL.to_owned(),
        _ => format!("{RANDOM_REAL}-{draw}"),
    }
}

/// Which draw of random real images a set is.
fn draw_of(name: &str) -> usize {
    let number = name
        .strip_prefix(RANDOM_REAL)
        .and_then(|rest| rest.strip_prefix('-'));
    number.and_then(|number| number.parse().ok()).unwrap_or(1)
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
    if [INIT_ONLY, SELECTED_REAL].contains(&name) {
        if let Some(start) = origin.start(session)? {
            return Ok(start);
        }
        let images = origin.initial_images(session, 0..labels.len(), None)?;
        return Ok(origin.set_of(session, origin.to_bytes(session, &images)?));
    }
    // Draws share no image.
    let skipped = (draw_of(name) - 1) * origin.images_per_class as usize;
    let orders: Vec<Vec<usize>> = (0..classes as u32)
        .map(|c| real_order(session, RANDOM_REAL, c))
        .collect();
    let mut pixels_nchw = Vec::new();
    for (i, &class) in labels.iter().enumerate() {
        pixels_nchw.extend_from_slice(
            &session
                .train
                .pixels(orders[class as usize][skipped + origin.number(i, classes)])?,
        );
    }
    Ok(origin.set_of(session, pixels_nchw))
}
