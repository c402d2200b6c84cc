//! The check of students: their recipe, seeds and networks.

use plugin_api::abi::Kind;

use crate::{artifact::Stage, data::Fault, stages::validate};

use super::{
    check::Checking,
    parts::{folder_name_fault, network},
};

/// What to say of seeds of which one comes twice.
pub(super) fn seeds_fault(key: &str, seeds: &[u64]) -> Option<Fault> {
    let twice = (0..seeds.len()).find(|&i| seeds[..i].contains(&seeds[i]))?;
    let message = format!("seed {} is listed twice", seeds[twice]);
    Some(Fault::new(key, message))
}

impl Checking<'_> {
    pub(super) fn students(&mut self, config: &validate::Config) {
        let (registry, input, faults) = (self.registry, self.input, &mut self.faults);
        faults.extend(config.train(1).faults(Stage::Validate.name()));
        if let Err(error) = config.augmentation() {
            faults.push(Fault::new("validate.augment", error.to_string()));
        }
        faults.extend(config.loss.faults(registry, Kind::LOSS, "validate.loss"));
        faults.extend(
            config
                .hard_loss
                .faults(registry, Kind::LOSS, "validate.hard_loss"),
        );
        let of_full_data = config.full_data.seeds.as_deref().unwrap_or_default();
        for (key, seeds) in [
            ("validate.seeds", config.seeds.as_slice()),
            ("validate.full_data.seeds", of_full_data),
        ] {
            faults.extend(seeds_fault(key, seeds));
        }
        let mut labels: Vec<String> = Vec::new();
        for (i, student) in config.architectures.iter().enumerate() {
            let path = format!("validate.architectures[{i}]");
            network(registry, &student.component(), &path, input, faults);
            let label = student.label();
            let fault = folder_name_fault(&label);
            faults.extend(fault.map(|message| Fault::new(format!("{path}.name"), message)));
            if labels.contains(&label) {
                let message = format!(
                    "two architectures are called \"{label}\"; give one of them another `name`"
                );
                faults.push(Fault::new(path, message));
            }
            labels.push(label);
        }
    }
}
