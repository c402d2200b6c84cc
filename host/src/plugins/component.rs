//! A component of a plugin, as the registry knows it: what it is called, where it comes from, and how one is made.

use std::path::PathBuf;

use plugin_api::{
    ErrorKind,
    abi::{Entry_Ref, Kind, RComponent},
};
use serde_json::Value;

/// A plugin file that is open.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// Name, as in its `Cargo.toml`.
    pub name: String,
    /// Version, as in its `Cargo.toml`.
    pub version: String,
    /// Description, as in its `Cargo.toml`.
    pub description: String,
    /// The plugin API that it was built for: major, minor.
    pub api: [u32; 2],
    /// Canonical path of the file.
    pub path: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// One component of a plugin.
#[derive(Clone)]
pub struct Component {
    /// Loss, regularizer, architecture or relabeler.
    pub kind: Kind,
    /// Name, unique among the components of one kind in one plugin.
    pub name: String,
    /// One line.
    pub description: String,
    /// JSON schema of the options.
    pub schema: Value,
    /// Where it comes from.
    pub plugin: Plugin,
    pub(super) entry: Entry_Ref,
}

/// Why a name does not lead to a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No plugin has it.
    #[error("unknown {kind} \"{name}\" {hint}")]
    Unknown {
        /// Kind that was looked for.
        kind: &'static str,
        /// Name that was looked for.
        name: String,
        /// The names there are, and what else may help.
        hint: String,
    },
    /// More than one plugin has it.
    #[error("{kind} \"{name}\" is in {} plugins:{}\nselect one with \"PLUGIN::{name}\", or keep only one of the files", files.len(), listed(files))]
    Ambiguous {
        /// Kind that was looked for.
        kind: &'static str,
        /// Name that was looked for.
        name: String,
        /// Plugin and file of each.
        files: Vec<(String, PathBuf)>,
    },
}

/// Why a component cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Its name leads nowhere.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It refused its options, or failed.
    #[error("{component}: {error}")]
    Component {
        /// Its [`Component::full_name`].
        component: String,
        /// What it answered.
        error: plugin_api::Error,
    },
    /// A call of it failed; the error names it.
    #[error("{0}")]
    Call(plugin_api::Error),
}

fn listed(files: &[(String, PathBuf)]) -> String {
    files
        .iter()
        .map(|(plugin, path)| format!("\n  {plugin}: {}", path.display()))
        .collect()
}

impl Component {
    /// Whether `name` or `plugin::name` is this one.
    pub(super) fn answers_to(&self, name: &str) -> bool {
        match name.split_once("::") {
            Some((plugin, name)) => self.plugin.name == plugin && self.name == name,
            None => self.name == name,
        }
    }

    /// Makes one from its options; `null` means none.
    ///
    /// # Errors
    /// What its constructor answers.
    pub fn create(&self, params: &Value) -> plugin_api::Result<RComponent> {
        let json = if params.is_null() {
            "{}".to_owned()
        } else {
            params.to_string()
        };
        let made = (self.entry.create())(json.as_str().into()).into_result();
        made.map_err(|error| match error.kind() {
            // An error of the options says itself which field it is about.
            ErrorKind::CONFIG => error,
            _ => error.context("constructor"),
        })
    }

    /// An error of this component, with its name.
    pub(super) fn failed(&self, error: plugin_api::Error) -> CreateError {
        CreateError::Component {
            component: self.full_name(),
            error,
        }
    }

    /// What messages call it: `loss "kl" of plugin loss-kl 1.0.0`.
    pub fn full_name(&self) -> String {
        let Plugin { name, version, .. } = &self.plugin;
        let kind = self.kind.name();
        format!("{kind} \"{}\" of plugin {name} {version}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_component_and_plugin() {
        let error = CreateError::Component {
            component: "loss \"kl\" of plugin loss-kl 1.0.0".to_owned(),
            error: plugin_api::Error::new(
                ErrorKind::CONFIG,
                "temperature: expected more than 0, got 0",
            ),
        };
        assert_eq!(
            error.to_string(),
            "loss \"kl\" of plugin loss-kl 1.0.0: temperature: expected more than 0, got 0"
        );
    }
}
