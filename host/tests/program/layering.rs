//! Who may import whom, and how long a file may be: the layering rules, checked on the source text.
//!
//! Checked of `host/src`: a module imports what stands below it, or itself: main > cli > experiment > stages >
//! {artifact, plugins, data, report} > engine > picture > {fence, lock, ranks, regular} > {say, stop, user_cache}; and of `host/engine`, a crate, that it stands on none of the project's others. Modules inside `stages` may import each other; artifact, plugins, data and
//! report may not, in tests neither. Paths are found as `crate::NAME`, `alambic::NAME` and `use crate::{NAME, ..}`.
//! Paths of so many `super::` that they leave a module of the first level count as `crate::` paths.
//!
//! Checked of every crate: no files import each other in a circle ([`circles`]).

mod circles;
mod imports;
mod tokens;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const LONGEST: usize = 400;

/// Modules of the first level from the top down; those of one row are siblings.
const ROWS: [&[&str]; 9] = [
    &["main"],
    &["cli"],
    &["experiment"],
    &["stages"],
    &["artifact", "plugins", "data", "report"],
    &["engine"],
    &["picture"],
    &["fence", "lock", "ranks", "regular"],
    &["say", "stop", "user_cache"],
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust files below a folder, `target` folders left out.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).expect("a folder of the project");
    for path in entries.map(|e| e.expect("an entry").path()) {
        if path.is_dir() {
            if !path.ends_with("target") {
                found.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a source file")
}

/// The text without line comments, documentation included.
fn code(text: &str) -> String {
    let lines = text.lines();
    let bare = lines.map(|l| l.find("//").map_or(l, |at| &l[..at]));
    bare.collect::<Vec<_>>().join("\n")
}

/// A file without comments: Rust, or a manifest.
fn code_of(path: &Path) -> String {
    let text = read(path);
    if path.extension().is_some_and(|e| e == "rs") {
        return code(&text);
    }
    let lines = text.lines().map(|l| l.split('#').next().unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// Names that follow `crate::`, `alambic::` or `depth` times `super::`, those of a list in braces included.
fn imports(code: &str, depth: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for prefix in ["crate::", "alambic::", &"super::".repeat(depth)] {
        for (at, _) in code.match_indices(prefix) {
            // A module of tests inside the file climbs one level more.
            let rest = code[at + prefix.len()..].trim_start_matches("super::");
            match rest.strip_prefix('{') {
                Some(list) => names.extend(first_names(list)),
                None => names.extend(identifier(rest)),
            }
        }
    }
    names
}

fn identifier(text: &str) -> Option<String> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    let name = &text[..end.unwrap_or(text.len())];
    (!name.is_empty()).then(|| name.to_owned())
}

/// The first name of each entry of a list whose brace is open.
fn first_names(list: &str) -> Vec<String> {
    let (mut depth, mut begins, mut names) = (0, true, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            c if begins && depth == 0 && !c.is_whitespace() => {
                names.extend(identifier(&list[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    names
}

fn row_of(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// What a file of `module` imports and may not; the file's own module is `depth` levels below the crate.
fn violations(module: &str, depth: usize, text: &str) -> Vec<String> {
    let own = row_of(module).unwrap_or_else(|| panic!("{module} has no place in the layers"));
    imports(&code(text), depth)
        .into_iter()
        .filter(|name| name != module)
        .filter(|name| row_of(name).is_some_and(|row| row <= own))
        .map(|name| format!("{module} imports {name}"))
        .collect()
}

#[test]
fn imports_go_downwards() {
    let src = root().join("host/src");
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for path in sources(&src) {
        let below = path.strip_prefix(&src).expect("it lies below");
        let parts: Vec<String> = below
            .with_extension("")
            .iter()
            .map(|p| p.to_string_lossy().into_owned())
            .collect();
        if parts == ["lib"] {
            continue;
        }
        seen.insert(parts[0].clone());
        let is_mod = parts.last().is_some_and(|p| p == "mod");
        let found = violations(&parts[0], parts.len() - usize::from(is_mod), &read(&path));
        wrong.extend(
            found
                .into_iter()
                .map(|v| format!("{}: {v}", below.display())),
        );
    }
    // The engine is a crate of its own, which knows no other of the project.
    seen.insert("engine".to_owned());
    let all: BTreeSet<String> = ROWS.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(seen, all, "every module of the first level has its row");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_engine_stands_on_none_of_the_others() {
    let manifest = code_of(&root().join("host/engine/Cargo.toml"));
    let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
    let names: Vec<&String> = manifest["dependencies"]
        .as_table()
        .expect("the engine depends on candle")
        .keys()
        .collect();
    assert!(names.iter().any(|name| *name == "candle-core"), "{names:?}");
    let own = |name: &&String| name.contains("alambic") || name.contains("plugin");
    assert!(!names.iter().any(own), "{names:?}");
}

#[test]
fn upward_and_sideways_imports_are_seen() {
    let text = "use crate::{\n    engine::{Value, ops},\n    stages::Session, // and\n    data,\n};\nfn f() { crate::cli::main() }\n\
                // use crate::experiment;\n";
    let found = violations("artifact", 2, text);
    let expected = ["cli", "data", "stages"].map(|name| format!("artifact imports {name}"));
    assert_eq!(found, expected);
    assert!(violations("cli", 2, text).is_empty());
    let climbing = "use super::super::data::Dataset;";
    assert_eq!(violations("report", 2, climbing), ["report imports data"]);
    assert!(violations("report", 3, climbing).is_empty());
    let inside = "mod tests { use super::super::super::data; }";
    assert_eq!(violations("report", 2, inside), ["report imports data"]);
}

#[test]
fn plugins_and_their_contract_know_no_candle() {
    for folder in ["plugins", "plugin-api"] {
        let folder = root().join(folder);
        let mut files = sources(&folder);
        files.extend(manifests(&folder));
        for path in files {
            assert!(!code_of(&path).contains("candle"), "{}", path.display());
        }
    }
}

#[test]
fn abi_stable_is_named_in_one_place() {
    let abi = root().join("plugin-api/src/abi");
    for folder in [
        "plugin-api",
        "plugins",
        "host/src",
        "host/engine",
        "benches",
    ] {
        for path in sources(&root().join(folder)) {
            let names = code_of(&path).contains("abi_stable");
            assert!(!names || path.starts_with(&abi), "{}", path.display());
        }
    }
    for folder in ["plugins", "host"] {
        for path in manifests(&root().join(folder)) {
            assert!(!code_of(&path).contains("abi_stable"), "{}", path.display());
        }
    }
}

#[test]
fn no_file_is_too_long() {
    let mut long = Vec::new();
    for folder in ["host", "plugin-api", "plugins", "benches"] {
        for path in sources(&root().join(folder)) {
            let lines = read(&path).lines().count();
            if lines > LONGEST {
                long.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// The manifests of the packages in a folder and right below it.
fn manifests(folder: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(folder).expect("a folder of the project");
    let below = below.map(|e| e.expect("an entry").path());
    let all = std::iter::once(folder.to_owned()).chain(below);
    let files = all.map(|f| f.join("Cargo.toml")).filter(|f| f.is_file());
    files.collect()
}
