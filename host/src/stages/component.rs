//! How an experiment names a component of a plugin.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::{data::Fault, plugins::registry::Registry};
use plugin_api::{Curve, abi::Kind};

/// A component of a plugin, with its options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComponentConfig {
    /// Name of the component, or `plugin::component` if two plugins have one of that name
    pub plugin: String,
    /// Options of the component (see `alambic plugin show`)
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Json>,
}

impl ComponentConfig {
    /// A component without options.
    pub fn named(plugin: &str) -> Self {
        Self {
            plugin: plugin.to_owned(),
            params: Map::new(),
        }
    }

    /// The loss on class labels that stages take unless told otherwise.
    pub fn cross_entropy() -> Self {
        Self::named("cross-entropy")
    }

    /// A component with options.
    pub fn with(plugin: &str, params: Json) -> Self {
        let params = params.as_object().cloned().unwrap_or_default();
        Self {
            plugin: plugin.to_owned(),
            params,
        }
    }

    /// The options as one JSON value.
    pub fn params(&self) -> Json {
        Json::Object(self.params.clone())
    }

    /// What is wrong with the name or the options; `path` is the key of this table.
    pub fn faults(&self, registry: &Registry, kind: Kind, path: &str) -> Vec<Fault> {
        let found = registry.check_params(kind, &self.plugin, &self.params());
        found
            .into_iter()
            .map(|f| Fault::new(format!("{path}.{}", f.path), f.message))
            .collect()
    }
}

/// A regularizer and its weight in the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedComponent {
    /// Name of the component, or `plugin::component` if two plugins have one of that name
    pub plugin: String,
    /// Options of the component (see `alambic plugin show`)
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Json>,
    /// Factor applied to its value: a number, or how it changes over the iterations
    pub weight: Curve,
}

impl WeightedComponent {
    /// The component without its weight.
    pub fn component(&self) -> ComponentConfig {
        ComponentConfig {
            plugin: self.plugin.clone(),
            params: self.params.clone(),
        }
    }
}
