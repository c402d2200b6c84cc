//! What the tables of several stages are checked for.

use candle_core::Device;
use plugin_api::{abi::Kind, architecture::InputShape, view::ViewRule};

use crate::{
    artifact::Stage,
    data::{Dataset, Fault},
    engine::memory,
    plugins::registry::Registry,
    report::units::human_bytes,
    say::visible,
    stages::{ComponentConfig, networks::Network, sets::Origin},
};

/// What is wrong with rules of views.
pub fn rule_faults(path: &str, rule: &ViewRule) -> Vec<Fault> {
    let keyed = [
        ("crop", rule.crop.fault()),
        ("mix", rule.mix.fault()),
        ("color_jitter", rule.color_jitter.fault()),
    ];
    let keyed = keyed.into_iter();
    keyed
        .filter_map(|(key, m)| Some(Fault::new(format!("{path}.{key}"), m?)))
        .collect()
}

/// What is wrong with so many tiles of a side, if anything.
pub fn tiles_fault(key: &str, tiles: u32, input: Option<InputShape>) -> Option<Fault> {
    let side = input?.height;
    (!side.is_multiple_of(tiles.max(1) as usize)).then(|| {
        let message = format!("got {tiles}, expected a divisor of the {side} pixels of a side");
        Fault::new(key, message)
    })
}

/// Checks an architecture's options and builds the network to see whether it fits the images.
pub fn network(
    registry: &Registry,
    config: &ComponentConfig,
    path: &str,
    input: Option<InputShape>,
    faults: &mut Vec<Fault>,
) -> Option<Network> {
    let own = config.faults(registry, Kind::ARCHITECTURE, path);
    if !own.is_empty() {
        faults.extend(own);
        return None;
    }
    match Network::build(registry, config, input?, &Device::Cpu) {
        Ok(network) => Some(network),
        Err(error) => {
            faults.push(Fault::new(path, format!("{error:#}")));
            None
        }
    }
}

/// What is wrong with the size of a distilled set, which is held in memory when it is stored and trained on.
pub fn size_fault(origin: &Origin, input: InputShape) -> Option<Fault> {
    let each = u64::from(origin.images_per_class);
    let images = each.saturating_mul(input.classes as u64);
    let values = input.channels * input.height * input.width;
    let value_bytes = match origin.stage {
        // It is learned and kept as floats.
        Stage::Match => 4,
        _ => 1,
    };
    let bytes = images.saturating_mul(value_bytes * values as u64);
    let free = memory::available_bytes().unwrap_or(isize::MAX as u64);
    let message = if bytes > free {
        format!(
            "{each} images of each of {} classes, {} px, take {}, and the machine has {} of memory free",
            input.classes,
            input.height,
            human_bytes(bytes),
            human_bytes(free)
        )
    } else if images > u64::from(u32::MAX) {
        format!("{images} images in all, expected at most {}", u32::MAX)
    } else {
        return None;
    };
    let key = format!("{}.images_per_class", origin.stage);
    Some(Fault::new(key, message))
}
/// Bytes of a name. A file system takes 255, and `-seed` with a number, or a hash, may follow.
const LONGEST_NAME: usize = 150;

/// What to say of a name that cannot be that of a folder.
pub fn folder_name_fault(name: &str) -> Option<String> {
    if name.len() > LONGEST_NAME {
        let length = name.len();
        return Some(format!(
            "got {length} bytes, expected at most {LONGEST_NAME}, because it becomes the name of a folder"
        ));
    }
    let unfit = name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']);
    (unfit || name.contains(char::is_control)).then(|| {
        format!(
            "got {name:?}, expected a valid folder name, without slashes and control characters"
        )
    })
}

/// What to say where some classes have fewer than `wanted` real images.
pub fn too_few(wanted: usize, train: &Dataset) -> Option<String> {
    let short: Vec<String> = (0..train.num_classes())
        .map(|c| (c, train.indices_of_class(c as u32).len()))
        .filter(|&(_, count)| count < wanted)
        .map(|(c, count)| format!("\"{}\" has {count}", visible(&train.class_names()[c])))
        .collect();
    let shown: Vec<String> = short.iter().take(4).cloned().collect();
    let more = match short.len().saturating_sub(4) {
        0 => String::new(),
        more => format!(", and {more} more classes"),
    };
    (!short.is_empty()).then(|| {
        format!(
            "{wanted} real images of each class are needed, and class {}{more}",
            shown.join(", ")
        )
    })
}
