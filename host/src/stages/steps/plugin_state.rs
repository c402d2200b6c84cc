//! State of plugin components in a checkpoint.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use plugin_api::State;

use crate::{
    engine::{Tensor, Value},
    plugins::ops::{export, import},
    stages::networks::plugin_error,
};

use super::resumable::named;

/// The JSON parts of the states of several components, by label.
pub type StateTexts = BTreeMap<String, String>;

/// Puts the state of a component among a checkpoint's tensors and texts.
///
/// # Errors
/// When a tensor is not the host's.
pub fn put(
    label: &str,
    state: Option<State>,
    tensors: &mut Vec<(String, Value)>,
    texts: &mut StateTexts,
) -> Result<()> {
    let Some(state) = state else { return Ok(()) };
    texts.insert(label.to_owned(), state.json);
    for (name, tensor) in &state.tensors {
        let value = import(tensor).map_err(plugin_error)?.value().clone();
        tensors.push((format!("plugin.{label}.{name}"), value));
    }
    Ok(())
}

/// Takes the state of a component out of a checkpoint.
///
/// # Errors
/// When `load` refuses it.
pub fn take(
    label: &str,
    tensors: &BTreeMap<String, Value>,
    texts: &StateTexts,
    load: impl FnOnce(&State) -> plugin_api::Result<()>,
) -> Result<()> {
    let Some(json) = texts.get(label) else {
        return Ok(());
    };
    let own = named(tensors, &format!("plugin.{label}.")).into_iter();
    let state = State {
        tensors: own
            .map(|(name, value)| (name, export(Tensor::constant(value))))
            .collect(),
        json: json.clone(),
    };
    load(&state)
        .map_err(plugin_error)
        .with_context(|| format!("state of {label} in the checkpoint"))
}
