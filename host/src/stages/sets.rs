//! The sets that students train on: the distilled one and its controls of the same size.

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use plugin_api::view::Crop;

use crate::{
    artifact::{ImageSet, tensors},
    data::Normalization,
};

use super::{
    Session, match_,
    origin::{Origin, real_order},
    render::{Images, Pixels, render_crop},
};

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

/// The name of the set that an origin becomes.
pub fn made(origin: &Origin) -> &'static str {
    match origin.stage {
        match_::STAGE => MATCHED,
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

/// A set with the very values that were learned: matching methods are judged on them, and not on what bytes can hold.
pub struct ExactImages {
    set: ImageSet,
    /// On the scale of pixels, 0 black and 1 white, beyond which values may lie.
    values_nchw: Vec<f32>,
}

impl ExactImages {
    /// Reads the values of a set that was learned.
    ///
    /// # Errors
    /// When they are missing, damaged, or of another set.
    pub fn load(session: &Session<'_>, origin: &Origin, set: &ImageSet) -> Result<Self> {
        let path = session.folder.float_images(origin.stage);
        let (mut found, _) = tensors::load(&path, &Device::Cpu)?;
        let images = found
            .remove("images")
            .with_context(|| format!("{}: no tensor \"images\"", path.display()))?;
        let side = set.resolution;
        let expected = [set.len(), 3, side, side];
        ensure!(
            images.dims() == expected,
            "{}: got images of shape {:?}, expected {expected:?}",
            path.display(),
            images.dims()
        );
        let mut values_nchw = images.flatten_all()?.to_vec1::<f32>()?;
        for (i, plane) in values_nchw.chunks_exact_mut(side * side).enumerate() {
            let Normalization { mean, std } = session.inputs.normalization;
            let (mean, std) = (mean[i % 3], std[i % 3]);
            plane.iter_mut().for_each(|v| *v = *v * std + mean);
        }
        Ok(Self {
            set: set.clone(),
            values_nchw,
        })
    }
}

impl Images for ExactImages {
    fn count(&self) -> usize {
        self.set.len()
    }

    fn resolution(&self) -> usize {
        self.set.resolution
    }

    fn labels(&self) -> &[u32] {
        &self.set.labels
    }

    fn pixels(&self, index: usize) -> Result<Pixels<'_>> {
        self.set.pixels(index)
    }

    fn crop(&self, crop: &Crop, out: &mut [f32]) -> Result<()> {
        let (size, image) = (out.len(), crop.image as usize);
        let values = &self.values_nchw[image * size..(image + 1) * size];
        render_crop(values, 1., self.resolution(), crop, out);
        Ok(())
    }
}
