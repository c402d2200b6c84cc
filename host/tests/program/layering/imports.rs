//! Which file of a crate imports which, read off the source as text.
//!
//! What counts: each path of a `use`, nested and renamed ones too, and each path in the code that begins with `crate`, `super`, `self`
//! or a child module. A path is followed to the file that declares its item: where a module only passes the name on
//! (`pub use child::Name`, or a `use` that its children see), to the file that it has it from.
//!
//! What does not count: what a child takes from a parent, which may declare it, call it and pass on its names; tests; other crates;
//! methods, since no path leads to them. Two children that know each other are a circle, and so are a child and a stranger to whom
//! the child's parent leads.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{closing, tokens, without_tests};

/// For each file those that it imports, and by which paths.
pub type Imports = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// A `use` of one name.
struct Use {
    path: Vec<String>,
    /// What it is called here; `*` for all that is there.
    name: String,
    is_public: bool,
}

#[derive(Default)]
struct Module {
    file: String,
    uses: Vec<Use>,
    /// The rest.
    code: Vec<String>,
}

/// The modules of a crate, by path.
struct Modules<'a> {
    read: &'a dyn Fn(&str) -> Option<String>,
    all: BTreeMap<Vec<String>, Module>,
}

/// The imports of the crate whose root is `root`; `read` gives a file's text.
pub fn imports(root: &str, read: &dyn Fn(&str) -> Option<String>) -> Imports {
    let all = BTreeMap::new();
    let mut modules = Modules { read, all };
    let text = read(root).unwrap_or_else(|| panic!("no {root}"));
    let (folder, _) = root.rsplit_once('/').unwrap_or_default();
    modules.add(Vec::new(), root, folder, &without_tests(tokens(&text)));
    let mut imports = Imports::new();
    for (path, module) in &modules.all {
        let of_file = imports.entry(module.file.clone()).or_default();
        let own_and_parents: Vec<&String> = (0..=path.len())
            .map(|depth| &modules.all[&path[..depth]].file)
            .collect();
        for (target, by) in modules.references(path, module) {
            if !own_and_parents.contains(&&target) {
                of_file.entry(target).or_default().insert(by);
            }
        }
    }
    imports
}

impl Modules<'_> {
    /// Adds the module at `path` and those below it, whose files lie in `folder`.
    fn add(&mut self, path: Vec<String>, file: &str, folder: &str, tokens: &[String]) {
        let mut module = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        let is = |at: usize, token: &str| tokens.get(at).is_some_and(|t| t == token);
        let (mut at, mut given) = (0, None);
        while at < tokens.len() {
            let is_item = at == 0
                || [";", "}", "{", "]", ")", "pub"]
                    .iter()
                    .any(|t| is(at - 1, t));
            if is(at, "path") && is(at + 1, "=") {
                given = Some(tokens[at + 2].trim_matches('"').to_owned());
            }
            if is(at, "use") && is_item && !is(at + 1, "<") {
                let is_public = at > 0 && (is(at - 1, "pub") || is(at - 1, ")"));
                let end = at + 1 + tokens[at + 1..].iter().take_while(|t| *t != ";").count();
                tree(&tokens[at + 1..end], &[], is_public, &mut module.uses);
                at = end;
            } else if is(at, "mod") && is_item && (is(at + 2, ";") || is(at + 2, "{")) {
                let child = tokens[at + 1].clone();
                let below = [&path[..], std::slice::from_ref(&child)].concat();
                let inner = format!("{folder}/{child}");
                if is(at + 2, "{") {
                    let end = closing(tokens, at + 2);
                    self.add(below, file, &inner, &tokens[at + 3..end]);
                    at = end;
                } else {
                    self.add_file(below, given.take(), file, &inner);
                }
            } else {
                module.code.push(tokens[at].clone());
            }
            at += 1;
        }
        self.all.insert(path, module);
    }

    /// A module in a file of its own: the one `given` in the folder of its parent's file, or one of the two usual places.
    fn add_file(&mut self, path: Vec<String>, given: Option<String>, parent: &str, inner: &str) {
        let (beside, _) = parent.rsplit_once('/').unwrap_or_default();
        let places = match given {
            Some(name) => vec![format!("{beside}/{name}")],
            None => vec![format!("{inner}.rs"), format!("{inner}/mod.rs")],
        };
        let found = places
            .iter()
            .find_map(|place| Some((place, (self.read)(place)?)));
        let (file, text) = found.unwrap_or_else(|| panic!("none of {places:?}"));
        self.add(path, file, inner, &without_tests(tokens(&text)));
    }

    /// The files that a module's paths lead to, and the paths.
    fn references(&self, path: &[String], module: &Module) -> Vec<(String, String)> {
        let (mut found, mut own) = (Vec::new(), path);
        while let Some((_, up)) = own.split_last()
            && self.all[up].file == module.file
        {
            own = up;
        }
        for import in &module.uses {
            let is_used = import.name != "*" && module.code.contains(&import.name);
            let is_passed_on = import.is_public && !is_used;
            let leads_down = self
                .module_of(path, &import.path)
                .is_some_and(|(at, _)| at.len() > own.len() && at.starts_with(own));
            if !(is_passed_on && leads_down) {
                found.push(&import.path[..]);
            }
        }
        let code = &module.code;
        let mut paths = Vec::new();
        for (at, token) in code.iter().enumerate() {
            let begins = at == 0 || ![".", "::"].contains(&code[at - 1].as_str());
            let is_path = code.get(at + 1).is_some_and(|next| next == "::");
            if begins && is_path && is_name(token) {
                let names = code[at..].chunks(2).take_while(|pair| is_name(&pair[0]));
                let mut path = Vec::new();
                for pair in names {
                    path.push(pair[0].clone());
                    if pair.get(1).is_none_or(|next| next != "::") {
                        break;
                    }
                }
                paths.push(path);
            }
        }
        found.extend(paths.iter().map(Vec::as_slice));
        // A path may begin with a name that a `use` brought.
        let brought = |to: &[String]| {
            let import = module.uses.iter().find(|import| import.name == to[0])?;
            Some([&import.path[..], &to[1..]].concat())
        };
        let told = |to: &[String]| {
            let whole = brought(to).unwrap_or_else(|| to.to_vec());
            Some((self.target(path, &whole, 0)??, whole.join("::")))
        };
        found.into_iter().filter_map(told).collect()
    }

    /// The module that a path in the module `from` leads to, and how many of its names lead there; none for other crates.
    fn module_of(&self, from: &[String], to: &[String]) -> Option<(Vec<String>, usize)> {
        let (mut at, mut used) = (from.to_vec(), 0);
        match to.first()?.as_str() {
            "crate" => (at, used) = (Vec::new(), 1),
            "self" => used = 1,
            "super" => {}
            child if self.all.contains_key(&[from, &[child.to_owned()]].concat()) => {}
            _ => return None,
        }
        while let Some(name) = to.get(used) {
            if name == "super" {
                at.pop();
            } else {
                at.push(name.clone());
                if !self.all.contains_key(&at) {
                    at.pop();
                    break;
                }
            }
            used += 1;
        }
        Some((at, used))
    }

    /// The file that a path leads to: no answer where the path is of another crate, none where a name leads to one.
    fn target(&self, from: &[String], to: &[String], depth: usize) -> Option<Option<String>> {
        let (at, used) = self.module_of(from, to)?;
        let file = self.all[&at].file.clone();
        match to.get(used) {
            Some(name) if name != "*" => {
                Some(self.declared(&at, name, depth).unwrap_or(Some(file)))
            }
            _ => Some(Some(file)),
        }
    }

    /// Where a module has a name from; no answer where it cannot be told.
    fn declared(&self, at: &[String], name: &str, depth: usize) -> Option<Option<String>> {
        const KINDS: [&str; 9] = [
            "fn", "struct", "enum", "trait", "type", "const", "static", "union", "mod",
        ];
        let module = &self.all[at];
        let is_macro = |code: &[String]| code[0] == "macro_rules" && code[2] == name;
        let mut macros = self
            .all
            .values()
            .filter(|m| m.code.windows(3).any(is_macro));
        if depth > 8 {
            return None;
        }
        if let Some(import) = module.uses.iter().find(|import| import.name == name) {
            return Some(self.target(at, &import.path, depth + 1).flatten());
        }
        let is_declared = |pair: &[String]| KINDS.contains(&pair[0].as_str()) && pair[1] == name;
        if module.code.windows(2).any(is_declared) {
            return Some(Some(module.file.clone()));
        }
        let globs = module.uses.iter().filter(|import| import.name == "*");
        let mut modules = globs.filter_map(|import| Some(self.module_of(at, &import.path)?.0));
        let exported = || Some(Some(macros.next()?.file.clone())).filter(|_| at.is_empty());
        modules
            .find_map(|there| self.declared(&there, name, depth + 1))
            .or_else(exported)
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The names of a tree of `use`.
fn tree(tokens: &[String], prefix: &[String], is_public: bool, uses: &mut Vec<Use>) {
    let (mut path, mut name) = (prefix.to_vec(), None);
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => {
                let end = closing(tokens, at);
                let (mut depth, mut begin) = (0, at + 1);
                for i in at + 1..=end {
                    match tokens[i].as_str() {
                        "{" => depth += 1,
                        "}" if i < end => depth -= 1,
                        "," | "}" if depth == 0 => {
                            tree(&tokens[begin..i], &path, is_public, uses);
                            begin = i + 1;
                        }
                        _ => {}
                    }
                }
                return;
            }
            "as" => {
                name = tokens.get(at + 1).cloned();
                break;
            }
            "::" => {}
            "self" if !path.is_empty() => {}
            token => path.push(token.to_owned()),
        }
        at += 1;
    }
    if let Some(last) = path.last().filter(|_| !tokens.is_empty()) {
        let name = name.unwrap_or_else(|| last.clone());
        uses.push(Use {
            path,
            name,
            is_public,
        });
    }
}
