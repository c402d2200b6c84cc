//! The pickle of a state dict: which tensors there are, and where their elements stand.

use anyhow::{Context, Result, bail, ensure};
use candle_core::{
    DType,
    pickle::{Object, Stack},
};

use super::source::Source;

/// Where training scripts put the state dict among other things.
pub const WRAPPERS: [&str; 4] = ["state_dict", "model_state_dict", "model_state", "model"];

/// The key that a state dict stood under, if it was not the whole, and its tensors by name.
pub type StateDict = (Option<String>, Vec<(String, Source)>);

/// The tensors of a pickled state dict by name, and the key that it stood under, if it was not the whole.
///
/// # Errors
/// When the pickle is damaged, or is none of a state dict.
pub fn state_dict(pickle: &[u8]) -> Result<StateDict> {
    let object = unpickle(pickle)?;
    let Object::Dict(entries) = &object else {
        bail!("{}", what_it_is(&object));
    };
    if has_tensors(entries) {
        return Ok((None, tensors(entries)?));
    }
    let value_of = |key: &str| {
        let mut found = entries.iter().filter(|(k, _)| is_text(k, key));
        found.next().map(|(_, value)| value)
    };
    for key in WRAPPERS {
        match value_of(key) {
            Some(Object::Dict(inner)) if has_tensors(inner) => {
                return Ok((Some(key.to_owned()), tensors(inner)?));
            }
            Some(object @ (Object::Build { .. } | Object::Reduce { .. })) => {
                bail!("under \"{key}\", {}", what_it_is(object));
            }
            _ => {}
        }
    }
    let keys = entries.iter().filter_map(|(key, _)| match key {
        Object::Unicode(text) => Some(format!("\"{text}\"")),
        _ => None,
    });
    let keys: Vec<String> = keys.take(8).collect();
    bail!(
        "no tensors at the top level or under {}; it has the keys {}",
        WRAPPERS.join(", "),
        keys.join(", ")
    );
}

/// Runs the pickle, an operation at a time: some damaged ones would make candle's reader panic or take all memory.
fn unpickle(pickle: &[u8]) -> Result<Object> {
    const LONG1: u8 = 0x8a;
    const BIN_UNICODE: u8 = b'X';
    let mut stack = Stack::empty();
    let mut rest = pickle;
    loop {
        let at = pickle.len() - rest.len();
        let is_sane = match rest {
            [LONG1, bytes, ..] => *bytes <= 8,
            [BIN_UNICODE, a, b, c, d, ..] => {
                u32::from_le_bytes([*a, *b, *c, *d]) as usize <= rest.len()
            }
            [] => bail!("truncated at byte {at}, expected more of the pickle"),
            _ => true,
        };
        ensure!(is_sane, "damaged at byte {at}: a length exceeds the file");
        let done = stack.read(&mut rest).with_context(|| {
            format!(
                "cannot be read at byte {at}, expected the pickle of a state dict: save it alone, with \
                 torch.save(model.state_dict(), FILE)"
            )
        })?;
        if done {
            return Ok(stack.finalize()?);
        }
    }
}

fn is_text(object: &Object, text: &str) -> bool {
    matches!(object, Object::Unicode(t) if t == text)
}

/// A class and the arguments of its call, as tensors are pickled.
fn call(object: &Object) -> Option<(&str, &str, &[Object])> {
    let Object::Reduce { callable, args } = object else {
        return None;
    };
    let (module, class) = class(callable)?;
    Some((module, class, tuple(args)?))
}

fn class(object: &Object) -> Option<(&str, &str)> {
    match object {
        Object::Class {
            module_name,
            class_name,
        } => Some((module_name, class_name)),
        _ => None,
    }
}

fn tuple(object: &Object) -> Option<&[Object]> {
    match object {
        Object::Tuple(items) => Some(items),
        _ => None,
    }
}

fn whole(object: &Object) -> Option<usize> {
    match object {
        Object::Int(n) => usize::try_from(*n).ok(),
        Object::Long(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}

fn is_tensor(object: &Object) -> bool {
    call(object).is_some_and(|(module, class, _)| {
        matches!(module, "torch._utils" | "torch._tensor") && class.starts_with("_rebuild")
    })
}

fn has_tensors(entries: &[(Object, Object)]) -> bool {
    entries.iter().any(|(_, value)| is_tensor(value))
}

/// The tensors of a dict; other entries (`_metadata`, numbers) are none of a network's.
fn tensors(entries: &[(Object, Object)]) -> Result<Vec<(String, Source)>> {
    let mut found = Vec::new();
    for (key, value) in entries.iter().filter(|(_, value)| is_tensor(value)) {
        let Object::Unicode(name) = key else {
            bail!("a tensor under the key {key:?}, expected a string");
        };
        let source = source(value).with_context(|| format!("tensor {name}"))?;
        found.push((name.clone(), source));
    }
    Ok(found)
}

fn source(object: &Object) -> Result<Source> {
    let (_, class_name, args) = call(object).context("expected a tensor")?;
    match (class_name, args) {
        // The tensor, requires_grad, hooks (and a state).
        ("_rebuild_parameter" | "_rebuild_parameter_with_state", [inner, ..]) => source(inner),
        // The function, the type, its arguments, a state.
        ("_rebuild_from_type_v2", [function, _, args, ..]) => source(&Object::Reduce {
            callable: Box::new(function.clone()),
            args: Box::new(args.clone()),
        }),
        // Storage, offset, shape, strides, requires_grad, hooks.
        ("_rebuild_tensor_v2", [Object::PersistentLoad(storage), offset, shape, strides, ..]) => {
            strided(storage, offset, shape, strides)
                .context("damaged: invalid storage, offset, shape or strides")?
        }
        _ => bail!("of kind {class_name}, expected a dense, unquantised tensor"),
    }
}

/// None where something is of another type than PyTorch writes.
fn strided(
    storage: &Object,
    offset: &Object,
    shape: &Object,
    strides: &Object,
) -> Option<Result<Source>> {
    // "storage", its type, its name, its device, its number of elements.
    let [_, kind, name, ..] = tuple(storage)? else {
        return None;
    };
    let (_, kind) = class(kind)?;
    let Object::Unicode(name) = name else {
        return None;
    };
    let numbers = |o: &Object| tuple(o)?.iter().map(whole).collect::<Option<Vec<_>>>();
    let (shape, strides) = (numbers(shape)?, numbers(strides)?);
    if shape.len() != strides.len() {
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
        storage: name.clone(),
        dtype,
        offset: whole(offset)?,
        shape,
        strides,
    }))
}

/// What was pickled instead of a state dict.
fn what_it_is(object: &Object) -> String {
    let inner = match object {
        Object::Build { callable, .. } => callable,
        other => other,
    };
    let made_by = match inner {
        Object::Reduce { callable, .. } => class(callable),
        _ => None,
    };
    match made_by {
        _ if is_tensor(object) => "a single tensor, expected a state dict".to_owned(),
        Some((module, class)) => format!(
            "an object of the class {module}.{class}, expected a state dict: use torch.save(model.state_dict(), FILE)"
        ),
        None => "not a dictionary, expected a state dict".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pickles_that_would_break_the_reader_are_refused() {
        for (pickle, part) in [
            (&b"\x80\x02"[..], "truncated at byte 2"),
            (b"", "truncated at byte 0"),
            (b"\x80\x02\x8a\xff1234", "damaged at byte 2"),
            (b"\x80\x02X\xff\xff\xff\xff", "damaged at byte 2"),
            (b"\x80\x02R.", "cannot be read at byte 2"),
            (b"\x80\x02}.", "no tensors at the top"),
            (b"\x80\x02K\x01.", "not a dictionary"),
            (b"\x80\x02\xfa", "cannot be read at byte 2"),
            (b"\x80\x02ctorch.nn\nLinear\n)\x81.", "torch.nn.Linear"),
            (
                b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n)Rs.",
                "tensor a: of kind",
            ),
            (
                b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n(NQNNNtRs.",
                "tensor a: damaged",
            ),
        ] {
            let error = format!("{:#}", state_dict(pickle).unwrap_err());
            assert!(error.contains(part), "{}: {error}", pickle.escape_ascii());
        }
    }
}
