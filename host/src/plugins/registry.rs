//! The components of all plugins, by kind and name.

use std::path::{Path, PathBuf};

use plugin_api::{
    Callee, abi::Kind, architecture::ForeignArchitecture, canvas::ForeignCanvasHook,
    loss::ForeignLoss, matcher::ForeignMatcher, regularizer::ForeignRegularizer,
    relabeler::ForeignRelabeler, selector::ForeignSelector,
};
use serde_json::Value;

use super::{
    LoadError, LoadFault,
    component::{Component, CreateError, LookupError, Plugin},
    loader::{self, Opened},
    names,
    probe::Prober,
    schema,
    search::{self, SearchError},
};

/// A fault in a table `{ plugin = "...", params = { ... } }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamFault {
    /// The key within the table: `plugin`, `params`, `params.gamma`, ...
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

/// All plugins that were found.
#[derive(Default)]
pub struct Registry {
    plugins: Vec<Plugin>,
    components: Vec<Component>,
    broken: Vec<LoadError>,
    /// The folders that were to be searched.
    looked_in: Vec<PathBuf>,
}

impl Registry {
    /// Opens the plugins of `folders` (those of `--plugin-dir`), of `ALAMBIC_PLUGINS`, of this program's own folder and of the one where
    /// `alambic plugin install` puts them.
    ///
    /// Files that the prober does not know are opened by another process first.
    ///
    /// # Errors
    /// When one of `folders` cannot be read. A file that is no plugin, or an unfit one, is no error here: see
    /// [`Registry::broken`].
    pub fn open(folders: &[PathBuf], prober: Option<&Prober>) -> Result<Self, SearchError> {
        let standing = search::standing_folders();
        let there = standing.iter().filter(|folder| folder.is_dir());
        let searched: Vec<PathBuf> = folders.iter().chain(there).cloned().collect();
        let looked_in = [folders, &standing].concat();
        Ok(Self {
            looked_in,
            ..Self::search(&searched, prober)?
        })
    }

    /// Opens the plugins of `folders` alone.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub fn of_folders(folders: &[PathBuf]) -> Result<Self, SearchError> {
        Self::search(folders, None)
    }

    /// The same; another process opens first what the prober does not know.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub fn search(folders: &[PathBuf], prober: Option<&Prober>) -> Result<Self, SearchError> {
        let found = search::open_all(search::candidates(folders)?, prober);
        let mut registry = Self {
            broken: found.broken,
            looked_in: folders.to_vec(),
            ..Self::default()
        };
        found.opened.into_iter().for_each(|o| registry.add(o));
        Ok(registry)
    }

    /// The plugin of one file, which another process opens first where the prober does not know it.
    ///
    /// # Errors
    /// [`LoadError`] when it is unfit.
    pub fn of_file(path: &Path, prober: Option<&Prober>) -> Result<Self, LoadError> {
        let file = loader::inspect(path)?;
        let known = [(file.path.as_path(), file.sha256.as_str())];
        let deadly = prober.map_or_else(Vec::new, |prober| prober.deadly(&known));
        if let Some((path, how)) = deadly.into_iter().next() {
            return Err(LoadError::at(path, LoadFault::Deadly(how)));
        }
        let mut registry = Self::default();
        registry.add(file.open()?);
        Ok(registry)
    }

    fn add(&mut self, opened: Opened) {
        let root = opened.root;
        let plugin = Plugin {
            name: root.name().to_string(),
            version: root.version().to_string(),
            description: root.description().to_string(),
            api: opened.api,
            path: opened.path,
            sha256: opened.sha256,
        };
        for &entry in root.entries().as_slice() {
            // A schema that is unavailable accepts everything: the constructor decides anyway.
            let schema = (entry.schema())().into_result().ok();
            let schema = schema
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or(Value::Bool(true));
            self.components.push(Component {
                kind: entry.kind(),
                name: entry.name().to_string(),
                description: entry.description().to_string(),
                schema,
                plugin: plugin.clone(),
                entry,
            });
        }
        self.plugins.push(plugin);
    }

    /// That there is no plugin at all, where they were looked for, and how to name another place.
    pub fn warning(&self) -> Option<String> {
        let empty = self.plugins.is_empty();
        empty.then(|| search::none_in(&self.looked_in))
    }

    /// All open plugins, in the order in which they were found.
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// All components, plugin by plugin.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// Files that are meant to be plugins and cannot be used.
    pub fn broken(&self) -> &[LoadError] {
        &self.broken
    }

    /// All components of any kind that `name` or `plugin::name` can mean.
    pub fn named(&self, name: &str) -> Vec<&Component> {
        self.components
            .iter()
            .filter(|c| c.answers_to(name))
            .collect()
    }

    /// The component of a kind with a name, or with `plugin::name`.
    ///
    /// # Errors
    /// [`LookupError`] when there is none, or more than one.
    pub fn find(&self, kind: Kind, name: &str) -> Result<&Component, LookupError> {
        let mut found = self.named(name);
        found.retain(|c| c.kind == kind);
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(self.unknown(kind, name)),
            many => Err(LookupError::Ambiguous {
                kind: kind.name(),
                name: name.to_owned(),
                files: many
                    .iter()
                    .map(|c| (c.plugin.name.clone(), c.plugin.path.clone()))
                    .collect(),
            }),
        }
    }

    fn unknown(&self, kind: Kind, name: &str) -> LookupError {
        let of_kind = self.components.iter().filter(|c| c.kind == kind);
        let mut have: Vec<&str> = of_kind.map(|c| c.name.as_str()).collect();
        have.sort_unstable();
        have.dedup();
        let mut hint = names::hint(name.rsplit("::").next().unwrap_or(name), &have);
        if let Some(other) = self.named(name).first() {
            hint += &format!(
                "; there is a component \"{name}\" of kind {}",
                other.kind.name()
            );
        }
        if let Some(first) = self.broken.first() {
            let first = first.to_string();
            let first = first.lines().next().unwrap_or_default();
            let count = self.broken.len();
            hint += &format!(
                "\n{count} plugin file(s) could not be used (see `alambic plugin list`), first {first}"
            );
        }
        LookupError::Unknown {
            kind: kind.name(),
            name: name.to_owned(),
            hint,
        }
    }

    /// Makes a component and, of it, what the host calls.
    fn create<T>(
        &self,
        kind: Kind,
        name: &str,
        params: &Value,
        foreign: impl FnOnce(Callee) -> plugin_api::Result<T>,
    ) -> Result<T, CreateError> {
        let component = self.find(kind, name)?;
        let made = component.create(params);
        let made = made.map_err(|error| component.failed(error))?;
        let callee = Callee::named(made, component.full_name());
        foreign(callee).map_err(CreateError::Call)
    }

    /// Makes a loss from its options.
    ///
    /// # Errors
    /// [`CreateError`] when there is none of this name, or it refuses the options.
    pub fn create_loss(&self, name: &str, params: &Value) -> Result<ForeignLoss, CreateError> {
        self.create(Kind::LOSS, name, params, |c| Ok(ForeignLoss::new(c)))
    }

    /// Makes a regularizer from its options.
    ///
    /// # Errors
    /// As [`Registry::create_loss`].
    pub fn create_regularizer(
        &self,
        name: &str,
        params: &Value,
    ) -> Result<ForeignRegularizer, CreateError> {
        self.create(Kind::REGULARIZER, name, params, ForeignRegularizer::new)
    }

    /// Makes an architecture from its options.
    ///
    /// # Errors
    /// As [`Registry::create_loss`].
    pub fn create_architecture(
        &self,
        name: &str,
        params: &Value,
    ) -> Result<ForeignArchitecture, CreateError> {
        let foreign = |c| Ok(ForeignArchitecture::new(c));
        self.create(Kind::ARCHITECTURE, name, params, foreign)
    }

    /// Makes a relabeler from its options.
    ///
    /// # Errors
    /// As [`Registry::create_loss`].
    pub fn create_relabeler(
        &self,
        name: &str,
        params: &Value,
    ) -> Result<ForeignRelabeler, CreateError> {
        let foreign = |c| Ok(ForeignRelabeler::new(c));
        self.create(Kind::RELABELER, name, params, foreign)
    }

    /// Makes a matcher from its options.
    ///
    /// # Errors
    /// As [`Registry::create_loss`].
    pub fn create_matcher(
        &self,
        name: &str,
        params: &Value,
    ) -> Result<ForeignMatcher, CreateError> {
        self.create(Kind::MATCHER, name, params, ForeignMatcher::new)
    }

    /// Makes a selector from its options.
    ///
    /// # Errors
    /// As [`Registry::create_loss`].
    pub fn create_selector(
        &self,
        name: &str,
        params: &Value,
    ) -> Result<ForeignSelector, CreateError> {
        self.create(Kind::SELECTOR, name, params, ForeignSelector::new)
    }

    /// Makes a canvas hook from its options.
    ///
    /// # Errors
    /// As [`Registry::create_loss`].
    pub fn create_canvas_hook(
        &self,
        name: &str,
        params: &Value,
    ) -> Result<ForeignCanvasHook, CreateError> {
        let foreign = |c| Ok(ForeignCanvasHook::new(c));
        self.create(Kind::CANVAS, name, params, foreign)
    }

    /// All faults in the name and the options of a component: the name, the schema and, where those are fine, the constructor.
    pub fn check_params(&self, kind: Kind, name: &str, params: &Value) -> Vec<ParamFault> {
        let fault = |path: String, message: String| ParamFault { path, message };
        let component = match self.find(kind, name) {
            Ok(component) => component,
            Err(error) => return vec![fault("plugin".to_owned(), error.to_string())],
        };
        let empty = Value::Object(serde_json::Map::new());
        let table = if params.is_null() { &empty } else { params };
        let mut faults: Vec<ParamFault> = schema::faults(&component.schema, table)
            .into_iter()
            .map(|(path, message)| fault(schema::join("params", &path), message))
            .collect();
        if let (true, Err(error)) = (faults.is_empty(), component.create(table)) {
            faults.push(fault("params".to_owned(), error.to_string()));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_plugins_every_name_is_unknown() {
        let registry = Registry::default();
        let error = registry.create_loss("kl", &Value::Null).err().unwrap();
        assert_eq!(error.to_string(), "unknown loss \"kl\" (there are none)");
        let faults = registry.check_params(Kind::RELABELER, "fkd", &Value::Null);
        assert_eq!(faults[0].path, "plugin");
        assert_eq!(
            faults[0].message,
            "unknown relabeler \"fkd\" (there are none)"
        );
    }

    #[test]
    fn two_files_with_one_name_are_listed() {
        let file = |name: &str| {
            (
                name.to_owned(),
                PathBuf::from(format!("/plugins/lib{name}.so")),
            )
        };
        let error = LookupError::Ambiguous {
            kind: "loss",
            name: "kl".to_owned(),
            files: vec![file("one"), file("two")],
        };
        assert_eq!(
            error.to_string(),
            "loss \"kl\" is in 2 plugins:\n  one: /plugins/libone.so\n  two: /plugins/libtwo.so\n\
             select one with \"PLUGIN::kl\", or keep only one of the files"
        );
    }
}
