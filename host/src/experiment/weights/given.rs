//! `squeeze.weights`: weights that an experiment takes instead of training, checked before anything is computed.

use std::path::Path;

use candle_core::Device;

use crate::{
    artifact::weights,
    data::Fault,
    plugins::registry::Registry,
    stages::{ComponentConfig, networks::Network, squeeze},
};

use super::advice::Variant;

/// The file, and what it must fit.
pub struct Given<'a> {
    /// The file.
    pub path: &'a Path,
    /// The teacher's architecture.
    pub architecture: &'a ComponentConfig,
    /// The classes of the data.
    pub class_names: &'a [String],
}

impl Given<'_> {
    /// All that is wrong with the file; `teacher`, where it could be built, takes the weights.
    pub fn faults(&self, registry: &Registry, teacher: Option<&mut Network>) -> Vec<Fault> {
        let fault = |message: String| Fault::new("squeeze.weights", message);
        let read = match weights::read(self.path) {
            Ok(read) => read,
            Err(error) => return vec![fault(format!("{error:#}"))],
        };
        let place = self.path.display();
        let mut faults = Vec::new();
        if let Some(teacher) = teacher {
            let input = teacher.input();
            match teacher.load_state(read.tensors.clone(), &Device::Cpu) {
                Ok(()) => {
                    if let Ok(Some(name)) = teacher.not_finite() {
                        faults.push(fault(format!(
                            "{place}: {name} contains NaN or infinite values"
                        )));
                    }
                }
                Err(error) => {
                    let variant = Variant::new(self.architecture, input);
                    let better = variant.better(registry, &read.tensors);
                    let advice = better.map(|b| format!("; {}", b.in_a_file(&variant)));
                    let advice = advice.unwrap_or_default();
                    faults.push(fault(format!("{place}: {error:#}{advice}")));
                }
            }
        }
        if let Err(error) = squeeze::check_classes(&read.texts, self.class_names) {
            faults.push(fault(format!("{place}: {error:#}")));
        }
        faults
    }
}
