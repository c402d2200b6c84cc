//! How bytes become network inputs.

use std::sync::Arc;

use candle_core::Device;

use super::{
    config::{Config, WhiteningConfig},
    dataset::Dataset,
    normalization::Normalization,
    whitening::Whitening,
};
use crate::engine::Value;

/// Normalised, and whitened if the experiment asks for it.
#[derive(Clone)]
pub struct Inputs {
    /// Of each channel.
    pub normalization: Normalization,
    /// Of whole images.
    pub whitening: Option<Arc<Whitening>>,
}

impl From<Normalization> for Inputs {
    fn from(normalization: Normalization) -> Self {
        Self {
            normalization,
            whitening: None,
        }
    }
}

impl Inputs {
    /// Makes what the configuration asks for and is not there yet. A whitening is made of the training images, in each process anew, to
    /// the same bytes.
    ///
    /// # Errors
    /// When an image cannot be decoded.
    pub fn prepare(
        &mut self,
        config: &Config,
        train: &Dataset,
        device: &Device,
    ) -> anyhow::Result<()> {
        if let (Some(whitening), None) = (&config.whitening, &self.whitening) {
            tell!("data: whitening is computed from the training images");
            let made = Whitening::fit(whitening, train, &self.normalization, device)?;
            self.whitening = Some(Arc::new(made));
        }
        Ok(())
    }

    /// How the whitening was made.
    pub fn whitening_config(&self) -> Option<&WhiteningConfig> {
        self.whitening.as_ref().map(|w| w.config())
    }

    /// What a network is given of normalised images, [N, 3, R, R].
    ///
    /// # Errors
    /// When the images have another size than those that the whitening was made of.
    pub fn of_normalised(&self, images: Value) -> anyhow::Result<Value> {
        match &self.whitening {
            Some(whitening) => whitening.apply(&images),
            None => Ok(images),
        }
    }

    /// Normalised images of what a network was given, [N, 3, R, R].
    ///
    /// # Errors
    /// As [`Inputs::of_normalised`].
    pub fn to_normalised(&self, images: &Value) -> anyhow::Result<Value> {
        match &self.whitening {
            Some(whitening) => whitening.undo(images),
            None => Ok(images.clone()),
        }
    }
}
