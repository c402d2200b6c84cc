//! No files of a crate import each other in a circle. What counts as an import says [`super::imports`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::{
    imports::{Imports, imports},
    root,
};

/// The one circle there may be: a tensor knows its place in the graph, and the graph is made of tensors.
const NODE: &[&str] = &["host/engine/src/autograd.rs", "host/engine/src/tensor.rs"];

/// Circles that are still to be untied. None may join them, and one that is gone must go from here.
const KNOWN: &[&[&str]] = &[
    &[
        "host/engine/src/autograd.rs",
        "host/engine/src/error.rs",
        "host/engine/src/gpu/cuda.rs",
        "host/engine/src/gpu/device.rs",
        "host/engine/src/gpu/emulator.rs",
        "host/engine/src/gpu/holdings.rs",
        "host/engine/src/gpu/launch.rs",
        "host/engine/src/gpu/memory.rs",
        "host/engine/src/gpu/nvrtc.rs",
        "host/engine/src/gpu/source.rs",
        "host/engine/src/profile.rs",
        "host/engine/src/tensor.rs",
    ],
    &[
        "host/engine/src/gpu/elementwise.rs",
        "host/engine/src/gpu/layout.rs",
        "host/engine/src/kernel/elementwise.rs",
    ],
    &[
        "host/engine/src/kernel/group_norm.rs",
        "host/engine/src/kernel/row_norm.rs",
    ],
    &[
        "host/engine/src/ops/norm_batch.rs",
        "host/engine/src/ops/norm_batch_node.rs",
    ],
    &[
        "host/src/experiment/finished.rs",
        "host/src/experiment/run.rs",
    ],
    &[
        "host/src/report/cost.rs",
        "host/src/report/summary.rs",
        "host/src/report/table.rs",
    ],
];

/// Files that import each other, directly or through others: each circle's, in order.
fn circles(imports: &Imports) -> Vec<Vec<String>> {
    let reached = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            for target in imports.get(file).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(target) {
                    next.push(target);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        imports.keys().map(|file| (file, reached(file))).collect();
    let mut circles = BTreeSet::new();
    for (file, there) in reached.iter().filter(|(file, there)| there.contains(*file)) {
        let back = there
            .iter()
            .filter(|other| reached[**other].contains(*file));
        circles.insert(back.map(|other| (*other).clone()).collect::<Vec<String>>());
    }
    circles.into_iter().collect()
}

/// The root files of the library crates.
fn crates() -> Vec<String> {
    let mut folders: Vec<String> = ["host", "host/engine", "plugin-api", "benches"]
        .map(str::to_owned)
        .to_vec();
    let plugins = fs::read_dir(root().join("plugins")).expect("a folder of the project");
    let name = |entry: fs::DirEntry| format!("plugins/{}", entry.file_name().to_string_lossy());
    folders.extend(plugins.map(|e| name(e.expect("an entry"))));
    folders.sort();
    let roots = folders.into_iter().map(|f| format!("{f}/src/lib.rs"));
    roots.collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut found = BTreeMap::new();
    let read = |file: &str| fs::read_to_string(root().join(file)).ok();
    for crate_root in crates() {
        let imports = imports(&crate_root, &read);
        assert!(imports.contains_key(&crate_root));
        for circle in circles(&imports) {
            let inside = |file: &&String| circle.contains(*file);
            let arrows = circle.iter().flat_map(|from| {
                let to = imports[from].iter().filter(|(to, _)| inside(to));
                to.map(move |(to, paths)| format!("  {from} -> {to}: {paths:?}\n"))
            });
            found.insert(circle.clone(), arrows.collect::<String>());
        }
    }
    found.retain(|circle, _| !circle.iter().all(|file| NODE.contains(&file.as_str())));
    for circle in KNOWN {
        let circle: Vec<String> = circle.iter().map(|file| file.to_string()).collect();
        let is_there = found.remove(&circle).is_some();
        assert!(
            is_there,
            "this circle is gone or another one by now; mend KNOWN: {circle:?}"
        );
    }
    let told = found.values().cloned().collect::<Vec<_>>().join("\n");
    assert!(found.is_empty(), "circles of imports:\n{told}");
}

/// The circles of a crate of these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let read = |file: &str| {
        let found = files.iter().find(|(name, _)| format!("src/{name}") == file);
        Some(found?.1.to_owned())
    };
    circles(&imports("src/lib.rs", &read))
}

#[test]
fn circles_of_every_kind_are_seen() {
    let ab = [["src/a.rs", "src/b.rs"]];
    for (a, b) in [
        ("use crate::b::B;", "use super::a::A;"),
        (
            "use super::{b::{self, B as C}, other};",
            "use crate::{other, a};",
        ),
        (
            "fn f() { crate::b::f(); }",
            "fn f() -> super::a::A { todo!() }",
        ),
        // Through what the root passes on, by name and as a whole.
        ("use crate::B;", "use super::A;\nuse std::a;"),
        ("pub use super::b::B;", "use crate::D;"),
        (
            "mod inner { use super::super::b::B; }",
            "macro_rules! m { () => { $crate::a::A } }",
        ),
    ] {
        let (a, b) = (
            format!("{a} pub struct A; pub struct D;"),
            format!("{b} pub struct B;"),
        );
        let root = "mod a; mod b; mod other; pub use a::A; pub use a::*; use b::B;";
        let files = [
            ("lib.rs", root),
            ("a.rs", &a),
            ("b.rs", &b),
            ("other.rs", ""),
        ];
        assert_eq!(circles_of(&files), ab, "{a}\n{b}");
    }
    // Three in a ring; and a stranger to a family who takes from the parent what the parent has of a child.
    let files = [
        ("lib.rs", "mod up; mod stranger;"),
        ("up/mod.rs", "mod child; pub fn f() { child::f(); }"),
        ("up/child.rs", "use crate::stranger; use super::P;"),
        ("stranger.rs", "use crate::up;"),
    ];
    let ring = ["src/stranger.rs", "src/up/child.rs", "src/up/mod.rs"];
    assert_eq!(circles_of(&files), [ring]);
    let files = [
        ("lib.rs", "mod a; #[path = \"b_of_a.rs\"] mod b; mod c;"),
        ("a.rs", "use super::b;"),
        ("b_of_a.rs", "use super::c;"),
        ("c.rs", "use super::a;"),
    ];
    assert_eq!(
        circles_of(&files),
        [["src/a.rs", "src/b_of_a.rs", "src/c.rs"]]
    );
}

#[test]
fn what_is_no_circle_is_not_taken_for_one() {
    let files = [
        (
            "lib.rs",
            "pub mod up; pub mod leaf; pub use up::{child::C, P};",
        ),
        (
            "up/mod.rs",
            "//! use super::leaf;\npub mod child; mod other; pub use child::C; pub struct P; fn f(c: C) {}",
        ),
        // The parent's name and the sibling that it comes from.
        ("up/child.rs", "use super::{P, O}; pub struct C;"),
        ("up/other.rs", "pub struct O;"),
        (
            "leaf.rs",
            "/* use super::up; */ const A: &str = r#\"crate::up::P \"\"#; const Q: char = '\"'; fn f<'a>(x: &'a str) {}\n\
             #[cfg(test)] mod tests { use crate::up::{P, child::C}; }\n#[cfg(all(test, unix))] use crate::up::P;\n\
             #[cfg(test)] #[path = \"leaf_test.rs\"] mod more;\n#[test]\nfn t() { let a = [0; 3]; crate::up::P; }",
        ),
    ];
    let up = files[1]
        .1
        .replace("mod other;", "mod other; pub use other::O;");
    let mut files = files;
    files[1].1 = &up;
    assert_eq!(circles_of(&files), [[""; 0]; 0]);
    files[4].1 = "use crate::up::child::C;";
    files[3].1 = "use crate::leaf; pub struct O;";
    let ring = ["src/leaf.rs", "src/up/child.rs", "src/up/other.rs"];
    assert_eq!(
        circles_of(&files),
        [ring],
        "the same files with two imports more"
    );
}
