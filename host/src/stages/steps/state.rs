//! What a computation goes on from, as a checkpoint holds it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::{
    engine::{Tensor, Value},
    plugins::ops::{export, import},
    stages::networks::plugin_error,
};

/// Tensors by name, those of plugins among them, and the JSON parts of the plugins' states by label.
#[derive(Default)]
pub(crate) struct State {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Value>,
    /// The JSON parts of the states of plugins.
    pub plugin_texts: BTreeMap<String, String>,
}

impl State {
    /// Keeps tensors under names that begin with `prefix`.
    pub fn put(&mut self, prefix: &str, named: impl IntoIterator<Item = (String, Value)>) {
        let named = named.into_iter();
        let named = named.map(|(name, value)| (format!("{prefix}{name}"), value));
        self.tensors.extend(named);
    }

    /// The tensors whose names begin with `prefix`, without it.
    pub fn under(&self, prefix: &str) -> Vec<(String, Value)> {
        let own = self.tensors.iter();
        own.filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone())))
            .collect()
    }

    /// Keeps the state of a component, where it has one.
    ///
    /// # Errors
    /// When the plugin cannot give it, or a tensor is not the host's.
    pub fn put_plugin(
        &mut self,
        label: &str,
        state: plugin_api::Result<Option<plugin_api::State>>,
    ) -> Result<()> {
        let Some(state) = state.map_err(plugin_error)? else {
            return Ok(());
        };
        self.plugin_texts.insert(label.to_owned(), state.json);
        for (name, tensor) in &state.tensors {
            let value = import(tensor).map_err(plugin_error)?.value().clone();
            self.tensors.insert(format!("plugin.{label}.{name}"), value);
        }
        Ok(())
    }

    /// Hands a component its state.
    ///
    /// # Errors
    /// When `load` refuses it.
    pub fn load_plugin(
        &self,
        label: &str,
        load: impl FnOnce(&plugin_api::State) -> plugin_api::Result<()>,
    ) -> Result<()> {
        let Some(json) = self.plugin_texts.get(label) else {
            return Ok(());
        };
        let own = self.under(&format!("plugin.{label}.")).into_iter();
        let state = plugin_api::State {
            tensors: own
                .map(|(name, value)| (name, export(Tensor::constant(value))))
                .collect(),
            json: json.clone(),
        };
        load(&state)
            .map_err(plugin_error)
            .with_context(|| format!("state of {label} in the checkpoint"))
    }
}
