//! The check of the teachers: that of `[squeeze]`, and those of `[[teachers]]` that differ from it.

use plugin_api::abi::Kind;

use crate::{
    artifact::Stage,
    data::Fault,
    experiment::{file, weights::advice},
    stages::{
        networks::Network,
        squeeze,
        teachers::{FIRST, Further, merged},
    },
};

use super::{
    check::{Checking, table},
    parts::{folder_name_fault, network, rule_faults},
};

impl Checking<'_> {
    pub(super) fn squeeze(&mut self, config: &squeeze::Config) {
        self.teacher(config, FIRST, Stage::Squeeze.name());
        let further: Option<Vec<Further>> = table(self.json, "teachers");
        let common = &self.json[Stage::Squeeze.name()];
        let inherited = file::faults_of::<squeeze::Config>(common);
        for (i, further) in further.into_iter().flatten().enumerate() {
            let path = format!("teachers[{i}]");
            self.faults
                .extend(name_fault(&further.name, &path, &self.teachers));
            let whole = merged(common, &further);
            let mut own = file::faults_of::<squeeze::Config>(&whole);
            // What is wrong with [squeeze] is told there.
            own.retain(|fault| !inherited.contains(fault));
            let place = |key: &str| match key {
                "" => path.clone(),
                key => format!("{path}.{key}"),
            };
            let own = own
                .into_iter()
                .map(|(key, message)| Fault::new(place(&key), message));
            self.of_schema.extend(own);
            match serde_json::from_value::<squeeze::Config>(whole) {
                Ok(config) => self.teacher(&config, &further.name, &path),
                Err(_) => self.teachers.push((further.name, None)),
            }
        }
    }

    fn teacher(&mut self, config: &squeeze::Config, name: &str, path: &str) {
        let registry = self.registry;
        self.faults.extend(config.train().faults(path));
        self.faults.extend(rule_faults(path, &config.views()));
        let place = format!("{path}.loss");
        let loss = config.loss.faults(registry, Kind::LOSS, &place);
        self.faults.extend(loss);
        let place = format!("{path}.architecture");
        let architecture = &config.architecture;
        let mut teacher = network(registry, architecture, &place, self.input, &mut self.faults);
        if let (Some(weights), Some(sets)) = (&config.weights, &self.sets) {
            let (file, choice) = (weights.file(self.base), weights.choice());
            let (file, classes) = ((file.as_path(), &choice), sets.0.class_names());
            let said = advice::given(file, architecture, classes, registry, teacher.as_mut());
            let place = format!("{path}.weights");
            let faults = said.faults.into_iter();
            let faults = faults.map(|m| Fault::new(place.clone(), m));
            self.faults.extend(faults);
            let note = said
                .note
                .map(|note| format!("{place}: {note} (choose with `key`)"));
            self.notes.extend(note);
        }
        self.teachers.push((name.to_owned(), teacher));
    }

    pub(super) fn teacher_names(&self) -> Vec<String> {
        self.teachers.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// What is wrong with the name of a further teacher, which becomes that of a folder.
fn name_fault(name: &str, path: &str, others: &[(String, Option<Network>)]) -> Option<Fault> {
    let taken = others.iter().any(|(other, _)| other == name);
    let message = match name {
        _ if taken => Some(format!(
            "two teachers are called \"{name}\" (\"{FIRST}\" is that of [squeeze])"
        )),
        "reference" => Some("\"reference\" is reserved; choose another name".to_owned()),
        _ => folder_name_fault(name),
    };
    Some(Fault::new(format!("{path}.name"), message?))
}
