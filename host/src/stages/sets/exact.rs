//! A set as the floats that were learned, beside its image files.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use plugin_api::view::Crop;
use serde_json::json;

use crate::{
    artifact::{ImageSet, tensors},
    data::Normalization,
    engine::Value,
    stages::{
        Session,
        views::{Images, Pixels, render_crop},
    },
};

use super::origin::Origin;

/// What stands beside learned tensors: the names of the classes.
pub fn class_texts(class_names: &[String]) -> BTreeMap<String, String> {
    BTreeMap::from([("class_names".to_owned(), json!(class_names).to_string())])
}

/// Stores the normalised images of a set.
///
/// # Errors
/// When the disk says no.
pub fn save(path: &Path, images: Value, class_names: &[String]) -> Result<()> {
    tensors::save(
        path,
        &[("images".to_owned(), images)],
        &class_texts(class_names),
    )
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
        let path = session.folder.stage(origin.stage).float_images();
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
        Ok(Self::new(set.clone(), values_nchw))
    }

    /// Values on the scale of pixels of a set, [N, 3, R, R].
    pub fn new(set: ImageSet, values_nchw: Vec<f32>) -> Self {
        Self { set, values_nchw }
    }

    /// Those of some of the images, in the order of their places.
    #[must_use]
    pub fn some(&self, places: &[usize]) -> Self {
        let values = places.iter().flat_map(|&i| self.image(i)).copied();
        Self::new(self.set.some(places), values.collect())
    }

    /// All values, [N, 3, R, R], on the scale of pixels.
    pub fn values_nchw(self) -> Vec<f32> {
        self.values_nchw
    }

    fn image(&self, place: usize) -> &[f32] {
        let size = 3 * self.set.resolution * self.set.resolution;
        &self.values_nchw[place * size..(place + 1) * size]
    }
}

impl Images for ExactImages {
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
        let values = self.image(crop.image as usize);
        render_crop(values, 1., self.resolution(), crop, out);
        Ok(())
    }
}
