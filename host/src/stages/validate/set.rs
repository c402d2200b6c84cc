//! A set as students train on it: the images as stored, and what a matcher learned beside them.

use anyhow::Result;
use candle_core::Device;

use crate::{
    artifact::ImageSet,
    engine::Value,
    stages::{
        Session,
        matching::Beside,
        sets::{self, ExactImages, MATCHED, Origin},
        views::Images,
    },
};

use super::{config::Config, labels::Labels};

/// A set as students train on it.
pub struct TaughtSet {
    /// The stored images.
    pub images: ImageSet,
    /// The very values that a matcher learned, for students on class labels.
    pub(super) exact: Option<ExactImages>,
    /// Labels and learning rate that a matcher learned, where no teacher labels.
    pub(super) beside: Beside,
}

impl TaughtSet {
    /// Reads a set by name, with what students on the labels of `config` need of it; `relabelled` says whether a teacher labels.
    ///
    /// # Errors
    /// When an image or a tensor is missing or damaged.
    pub fn load(
        session: &Session<'_>,
        config: &Config,
        (origin, relabelled): (&Origin, bool),
        name: &str,
    ) -> Result<Self> {
        let images = sets::load(session, origin, name)?;
        let is_matched = name == MATCHED;
        let mut kinds = Labels::of(config, relabelled).into_iter();
        let exact = match is_matched && kinds.any(|labels| labels != Labels::Stored) {
            true => Some(ExactImages::load(session, origin, &images)?),
            false => None,
        };
        let beside = match is_matched && !relabelled {
            true => Beside::read(session)?,
            false => Beside::default(),
        };
        Ok(Self {
            images,
            exact,
            beside,
        })
    }

    /// Several sets as one, whose images keep their order; class `i` of a set is class `classes[i]` of `class_names`.
    ///
    /// # Panics
    /// Where there is no set.
    #[must_use]
    pub fn joined(parts: Vec<(Self, Vec<u32>)>, class_names: &[String]) -> Self {
        let resolution = parts[0].0.images.resolution;
        let (mut pixels_nchw, mut labels, mut exact) = (Vec::new(), Vec::new(), None);
        for (part, classes) in parts {
            pixels_nchw.extend(part.images.pixels_nchw);
            let own = part.images.labels.into_iter();
            labels.extend(own.map(|label| classes[label as usize]));
            if let Some(values) = part.exact {
                exact
                    .get_or_insert_with(Vec::new)
                    .extend(values.values_nchw());
            }
        }
        let images = ImageSet::new(resolution, pixels_nchw, labels, class_names.to_vec());
        Self {
            exact: exact.map(|values| ExactImages::new(images.clone(), values)),
            images,
            beside: Beside::default(),
        }
    }

    /// Some of its images, in the order of their places.
    ///
    /// # Errors
    /// When learned labels cannot be taken apart.
    pub fn some(&self, places: &[usize]) -> Result<Self> {
        let index: Vec<u32> = places.iter().map(|&i| i as u32).collect();
        let some = |labels: &Value| {
            let index = Value::from_vec(index, places.len(), &Device::Cpu)?;
            labels.index_select(&index.to_device(labels.device())?, 0)
        };
        Ok(Self {
            images: self.images.some(places),
            exact: self.exact.as_ref().map(|exact| exact.some(places)),
            beside: Beside {
                labels: self.beside.labels.as_ref().map(some).transpose()?,
                ..self.beside
            },
        })
    }

    /// The images that students on class labels see.
    pub(super) fn of_classes(&self) -> &dyn Images {
        match &self.exact {
            Some(exact) => exact,
            None => &self.images,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grey images of one pixel, with a tenth of the value as exact value.
    fn set(values: &[u8], labels: &[u32], names: &[&str]) -> TaughtSet {
        let pixels: Vec<u8> = values.iter().flat_map(|v| [*v; 3]).collect();
        let floats = pixels.iter().map(|v| f32::from(*v) / 10.).collect();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let images = ImageSet::new(1, pixels, labels.to_vec(), names);
        TaughtSet {
            exact: Some(ExactImages::new(images.clone(), floats)),
            images,
            beside: Beside::default(),
        }
    }

    fn values(set: &TaughtSet) -> (Vec<u8>, Vec<f32>, &[u32]) {
        let own = &set.images;
        let all: Vec<usize> = (0..own.len()).collect();
        let floats = set.exact.as_ref().expect("floats").some(&all);
        let floats = floats.values_nchw().into_iter().step_by(3).collect();
        let bytes = own.pixels_nchw.iter().copied().step_by(3).collect();
        (bytes, floats, &own.labels)
    }

    #[test]
    fn images_labels_and_exact_values_are_taken_together() {
        let names = ["a", "b", "c"];
        let whole = set(&[10, 20, 30, 40], &[0, 1, 2, 0], &names);
        let some = whole.some(&[3, 1]).unwrap();
        assert_eq!(values(&some), (vec![40, 20], vec![4., 2.], &[0, 1][..]));
        assert_eq!(some.images.class_names, names, "all classes stay");
    }

    #[test]
    fn learned_labels_go_with_their_images() {
        let mut whole = set(&[10, 20, 30], &[0, 1, 1], &["a", "b"]);
        let logits = [1f32, 2., 3., 4., 5., 6.];
        let logits = Value::from_slice(&logits, (3, 2), &Device::Cpu).unwrap();
        whole.beside.labels = Some(logits);
        let some = whole.some(&[2, 0]).unwrap();
        let labels = some.beside.labels.unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(labels, [[5., 6.], [1., 2.]]);
    }

    #[test]
    fn joined_sets_have_the_classes_of_the_whole() {
        let names: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let parts = vec![
            (set(&[10, 20], &[0, 1], &["d", "b"]), vec![3, 1]),
            (set(&[30, 40], &[0, 1], &["a", "c"]), vec![0, 2]),
        ];
        let whole = TaughtSet::joined(parts, &names);
        let expected = (
            vec![10, 20, 30, 40],
            vec![1., 2., 3., 4.],
            &[3, 1, 0, 2][..],
        );
        assert_eq!(values(&whole), expected);
        assert_eq!(whole.images.class_names, names);
    }
}
