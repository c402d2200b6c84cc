//! The pickle of a `torch.save` file: its dictionaries of tensors, at whatever key, and where the elements of each tensor stand.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use candle_core::DType;

use super::{
    objects::{Id, Object, Objects},
    pickle::{self, ALONE},
    source::Source,
};

/// Keys under which training scripts put whole networks rather than state dicts.
const NETWORKS: [&str; 6] = [
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "ema",
    "teacher",
];
/// Levels of dictionaries that are looked into; a run of Lightning's has four.
const MAX_DEPTH: usize = 8;
/// Entries of dictionaries that are looked at, again wherever one stands under several keys. A large network with its optimizer has
/// some ten thousand.
const MAX_ENTRIES: usize = 1 << 20;
/// Dimensions of a tensor.
const MAX_RANK: usize = 32;
/// Kinds of tensors within each other, as a parameter around a tensor.
const MAX_KINDS: usize = 8;

/// A dictionary with tensors.
#[derive(Debug, Default)]
pub struct Dict {
    /// The keys that lead to it, joined by dots; none for the whole file.
    pub key: Option<String>,
    /// Its tensors by name.
    pub tensors: BTreeMap<String, Source>,
    /// Those that are not read, and why.
    pub unreadable: BTreeMap<String, String>,
}

/// The dictionaries with tensors in a pickle, the outer ones before those inside; at least one.
///
/// # Errors
/// When the pickle is damaged, or has no tensors under names.
pub fn dicts(pickle: &[u8]) -> Result<Vec<Dict>> {
    let objects = &pickle::read(pickle)?;
    let root = objects.root();
    let Some(entries) = objects.dict(root) else {
        bail!("{}", what_it_is(objects, root));
    };
    let mut found = Vec::new();
    // The same object may stand under several keys, and even within itself.
    let (mut level, mut seen) = (vec![(None, root)], 0);
    for _ in 0..MAX_DEPTH {
        let mut below = Vec::new();
        for (key, id) in level {
            let entries = objects.dict(id).unwrap_or_default();
            seen += entries.len();
            ensure!(
                seen <= MAX_ENTRIES,
                "more than {MAX_ENTRIES} entries of dictionaries; {ALONE}"
            );
            let dict = tensors(objects, key, entries);
            for (name, value) in entries.iter().filter(|(_, v)| objects.dict(*v).is_some()) {
                let Some(name) = shown(objects, *name) else {
                    continue;
                };
                let path = match &dict.key {
                    Some(key) => format!("{key}.{name}"),
                    None => name,
                };
                below.push((Some(path), *value));
            }
            if !(dict.tensors.is_empty() && dict.unreadable.is_empty()) {
                found.push(dict);
            }
        }
        level = below;
    }
    if found.is_empty() {
        bail!("{}", without_tensors(objects, entries));
    }
    Ok(found)
}

/// What to say of a dictionary that leads to no tensors.
fn without_tensors(objects: &Objects<'_>, entries: &[(Id, Id)]) -> String {
    for (key, value) in entries {
        let name = objects.text(*key).filter(|name| NETWORKS.contains(name));
        if let (Some(name), Object::Call(..)) = (name, objects.at(*value)) {
            return format!("under \"{name}\", {}", what_it_is(objects, *value));
        }
    }
    let keys = entries.iter().filter_map(|(key, _)| objects.text(*key));
    let keys: Vec<String> = keys.take(8).map(|key| format!("\"{key}\"")).collect();
    match keys.as_slice() {
        [] => "no tensors: its dictionary has no names".to_owned(),
        keys => format!("no tensors under its keys {}", keys.join(", ")),
    }
}

/// A key as part of a path.
fn shown(objects: &Objects<'_>, key: Id) -> Option<String> {
    match objects.at(key) {
        Object::Text(text) => Some((*text).to_owned()),
        Object::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Class and arguments of a call that makes a tensor.
fn tensor<'o>(objects: &'o Objects<'_>, id: Id) -> Option<(&'o str, &'o [Id])> {
    let Object::Call(callable, arguments) = objects.at(id) else {
        return None;
    };
    let (module, name) = objects.class(*callable)?;
    let is_tensor =
        matches!(module, "torch._utils" | "torch._tensor") && name.starts_with("_rebuild");
    is_tensor.then_some((name, objects.tuple(*arguments)?))
}

/// The tensors of a dictionary; its other entries (`_metadata`, numbers) are none of a network's.
fn tensors(objects: &Objects<'_>, key: Option<String>, entries: &[(Id, Id)]) -> Dict {
    let mut dict = Dict {
        key,
        ..Dict::default()
    };
    for (name, value) in entries {
        let (Some(name), Some(made)) = (objects.text(*name), tensor(objects, *value)) else {
            continue;
        };
        match source(objects, made) {
            Ok(source) => drop(dict.tensors.insert(name.to_owned(), source)),
            Err(why) => drop(dict.unreadable.insert(name.to_owned(), format!("{why:#}"))),
        }
    }
    dict
}

fn source<'o>(
    objects: &'o Objects<'_>,
    (mut class, mut arguments): (&'o str, &'o [Id]),
) -> Result<Source> {
    const NONE: &str = "expected a tensor";
    for _ in 0..MAX_KINDS {
        (class, arguments) = match (class, arguments) {
            // The tensor, requires_grad, hooks (and a state).
            ("_rebuild_parameter" | "_rebuild_parameter_with_state", [inner, ..]) => {
                tensor(objects, *inner).context(NONE)?
            }
            // The function, the type, its arguments, a state.
            ("_rebuild_from_type_v2", [function, _, inner, ..]) => {
                let (_, name) = objects.class(*function).context(NONE)?;
                (name, objects.tuple(*inner).context(NONE)?)
            }
            // Storage, offset, shape, strides, requires_grad, hooks.
            ("_rebuild_tensor_v2", [storage, offset, shape, strides, ..]) => {
                return strided(objects, [*storage, *offset, *shape, *strides])
                    .context("damaged: invalid storage, offset, shape or strides")?;
            }
            _ => break,
        };
    }
    bail!("of kind {class}, expected a dense, unquantised tensor")
}

/// None where something is of another type than PyTorch writes.
fn strided(
    objects: &Objects<'_>,
    [storage, offset, shape, strides]: [Id; 4],
) -> Option<Result<Source>> {
    let Object::Persistent(storage) = objects.at(storage) else {
        return None;
    };
    // "storage", its type, its name, its device, its number of elements.
    let [_, kind, name, ..] = objects.tuple(*storage)? else {
        return None;
    };
    let (_, kind) = objects.class(*kind)?;
    let counts = |id: Id| -> Option<Vec<usize>> {
        let parts = objects.tuple(id)?.iter();
        parts.map(|part| objects.count(*part)).collect()
    };
    let (shape, strides) = (counts(shape)?, counts(strides)?);
    if shape.len() != strides.len() || shape.len() > MAX_RANK {
        return None;
    }
    let dtype = match kind {
        "FloatStorage" => DType::F32,
        "DoubleStorage" => DType::F64,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "LongStorage" => DType::I64,
        "IntStorage" => DType::I32,
        "ShortStorage" => DType::I16,
        "ByteStorage" | "BoolStorage" => DType::U8,
        other => {
            return Some(Err(anyhow::anyhow!(
                "of type {other}, expected float, double, half or bfloat16"
            )));
        }
    };
    Some(Ok(Source {
        storage: objects.text(*name)?.to_owned(),
        dtype,
        offset: objects.count(offset)?,
        shape,
        strides,
    }))
}

/// What was pickled instead of a state dict.
fn what_it_is(objects: &Objects<'_>, id: Id) -> String {
    if tensor(objects, id).is_some() {
        return "a single tensor, expected a state dict".to_owned();
    }
    let class = match objects.at(id) {
        Object::Call(callable, _) => objects.class(*callable),
        _ => None,
    };
    match class {
        Some((module, name)) => {
            format!("an object of the class {module}.{name}, expected a state dict; {ALONE}")
        }
        None => "not a dictionary, expected a state dict".to_owned(),
    }
}

#[cfg(test)]
#[path = "pickled_test.rs"]
mod tests;
