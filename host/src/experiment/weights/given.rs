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

/// All that is wrong with the weights in a file, for an architecture and the classes of the data; `teacher`, where it could be built,
/// takes them.
pub fn faults(
    path: &Path,
    architecture: &ComponentConfig,
    class_names: &[String],
    registry: &Registry,
    teacher: Option<&mut Network>,
) -> Vec<Fault> {
    let fault = |message: String| Fault::new("squeeze.weights", message);
    let read = match weights::read(path) {
        Ok(read) => read,
        Err(error) => return vec![fault(format!("{error:#}"))],
    };
    let place = path.display();
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
                let variant = Variant::new(architecture, input);
                let better = variant.better(registry, &read.tensors);
                let advice = better.map(|b| format!("; {}", b.in_a_file(&variant)));
                let advice = advice.unwrap_or_default();
                faults.push(fault(format!("{place}: {error:#}{advice}")));
            }
        }
    }
    if let Err(error) = squeeze::check_classes(&read.texts, class_names) {
        faults.push(fault(format!("{place}: {error:#}")));
    }
    faults
}
