//! `alambic plugin new`: a crate with one small, real component, to be replaced by one's own.
//!
//! It builds and passes its tests as it is, outside of any workspace.

use std::{
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use plugin_api::{
    abi::{API_VERSION, Kind},
    contract::is_kebab_case,
};

/// Why a crate is not written.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    /// The name cannot be that of a component.
    #[error(
        "\"{0}\" is not a valid component name: expected lower-case letters, digits and single dashes, starting with a letter (as in \"bn-stats\")"
    )]
    Name(String),
    /// The description is more than a line, or none.
    #[error("--description: expected one line of text, got {0:?}")]
    Description(String),
    /// There is no example of this kind.
    #[error(
        "unknown kind of component \"{0}\" (have: loss, regularizer, architecture, relabeler, matcher, selector, canvas)"
    )]
    Kind(String),
    /// There is something already.
    #[error("{}: already exists; choose another name or folder, or remove it", .0.display())]
    Exists(PathBuf),
    /// The path leads to no plugin API.
    #[error("{}: no plugin-api here; expected the folder of plugin-api, or of the project that contains it", .0.display())]
    NoPluginApi(PathBuf),
    /// The system refused to write a file or a folder.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
}

/// Source and usage of the example of a kind.
fn example(kind: Kind) -> Option<[&'static str; 2]> {
    Some(match kind {
        Kind::LOSS => [
            include_str!("templates/loss.rs"),
            "[recover]\nloss = { plugin = \"__NAME__\", params = { gamma = 2.0 } }",
        ],
        Kind::REGULARIZER => [
            include_str!("templates/regularizer.rs"),
            "[recover]\nregularizers = [ { plugin = \"__NAME__\", weight = 0.01, params = { canvas = false } } ]",
        ],
        Kind::ARCHITECTURE => [
            include_str!("templates/architecture.rs"),
            "[squeeze]\narchitecture = { plugin = \"__NAME__\", params = { depth = 3, width = 16 } }",
        ],
        Kind::RELABELER => [
            include_str!("templates/relabeler.rs"),
            "[relabel]\nrelabeler = { plugin = \"__NAME__\", params = { smoothing = 0.1 } }",
        ],
        Kind::MATCHER => [
            include_str!("templates/matcher.rs"),
            "[match]\nmatcher = { plugin = \"__NAME__\", params = { real_per_class = 32 } }",
        ],
        Kind::SELECTOR => [
            include_str!("templates/selector.rs"),
            "[recover]\ninit = { plugin = \"__NAME__\", params = {}, pool = 300 }",
        ],
        Kind::CANVAS => [
            include_str!("templates/canvas.rs"),
            "[recover]\nhooks = [ { plugin = \"__NAME__\", params = {}, every = 100 } ]",
        ],
        _ => return None,
    })
}

/// The kind of a name on the command line.
///
/// # Errors
/// [`ScaffoldError::Kind`] for any other.
pub fn kind_of(name: &str) -> Result<Kind, ScaffoldError> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| ScaffoldError::Kind(name.to_owned()))
}

/// Writes the crate `<kind>-<name>` into `folder` and gives its path. `description` is one line on what it does, of the crate and of its
/// component; without it they say that nobody has described them yet.
///
/// # Errors
/// [`ScaffoldError`]; nothing is left behind then.
pub fn write_plugin(
    kind: Kind,
    name: &str,
    description: Option<&str>,
    plugin_api: &PluginApi,
    folder: &Path,
) -> Result<PathBuf, ScaffoldError> {
    if !is_kebab_case(name) {
        return Err(ScaffoldError::Name(name.to_owned()));
    }
    let none_yet = || format!("{} \"{name}\", not described yet", kind.name());
    let description = description.map_or_else(none_yet, str::to_owned);
    if description.trim().is_empty() || description.contains(char::is_control) {
        return Err(ScaffoldError::Description(description));
    }
    let unknown = || ScaffoldError::Kind(kind.name().to_owned());
    let [source, usage] = example(kind).ok_or_else(unknown)?;
    let crate_name = format!("{}-{name}", kind.name());
    let target = folder.join(&crate_name);
    if target.symlink_metadata().is_ok() {
        return Err(ScaffoldError::Exists(target));
    }
    let dependency = dependency(plugin_api)?;
    let render = |text: &str| {
        text.replace("__USE__", usage)
            .replace("__CRATE__", &crate_name)
            .replace("__LIB__", &crate_name.replace('-', "_"))
            .replace("__PLUGIN_API__", &dependency)
            .replace("__KIND__", kind.name())
            .replace("__TYPE__", &type_name(kind, name))
            .replace("__NAME__", name)
            .replace("__TOML_DESCRIPTION__", &quoted(&description))
            .replace("__PLAIN_DESCRIPTION__", &description)
            // A literal of Rust.
            .replace("__DESCRIPTION__", &format!("{description:?}"))
    };
    let files = [
        (
            "Cargo.toml",
            render(include_str!("templates/Cargo.toml.txt")),
        ),
        ("README.md", render(include_str!("templates/README.md.txt"))),
        (".gitignore", "/target\n".to_owned()),
        ("src/lib.rs", render(source)),
    ];
    write_all(folder, &target, &files)?;
    Ok(target)
}

/// Writes into a folder beside the target and renames it, so that there is never half a crate.
fn write_all(folder: &Path, target: &Path, files: &[(&str, String)]) -> Result<(), ScaffoldError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |reason| ScaffoldError::Io(path, reason)
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let beside = tempfile::Builder::new()
        .prefix(".alambic-new-")
        .tempdir_in(folder)
        .map_err(failed(folder))?;
    let whole = beside.path().join("crate");
    fs::create_dir_all(whole.join("src")).map_err(failed(&whole))?;
    for (name, text) in files {
        let path = whole.join(name);
        fs::write(&path, text).map_err(failed(&path))?;
    }
    fs::rename(&whole, target).map_err(failed(target))
}

/// `focal` as `FocalLoss`: the kind at the end keeps it apart from the names of the prelude.
fn type_name(kind: Kind, name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let pascal: String = name.split('-').map(capital).collect();
    let kind = capital(kind.name());
    if pascal.ends_with(&kind) && pascal != kind {
        pascal
    } else {
        pascal + &kind
    }
}

/// Where the new crate finds the plugin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginApi {
    /// A checkout: the folder of plugin-api, or of the project around it.
    Path(PathBuf),
    /// A git repository.
    Git(String),
    /// A version of the registry.
    Version(String),
}

impl Default for PluginApi {
    fn default() -> Self {
        Self::Version(format!("{}.{}", API_VERSION[0], API_VERSION[1]))
    }
}

impl FromStr for PluginApi {
    type Err = Infallible;

    /// A URL is a repository, what begins like a version is one, anything else is a path.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let text = text.trim();
        let version = text.trim_start_matches(['^', '=', '~']);
        Ok(if text.contains("://") || text.starts_with("git@") {
            Self::Git(text.to_owned())
        } else if version.starts_with(|c: char| c.is_ascii_digit()) && !version.contains('/') {
            Self::Version(text.to_owned())
        } else {
            Self::Path(text.into())
        })
    }
}

/// The line of a manifest that finds it.
fn dependency(plugin_api: &PluginApi) -> Result<String, ScaffoldError> {
    Ok(match plugin_api {
        PluginApi::Version(version) => format!("version = {}", quoted(version)),
        PluginApi::Git(url) => format!("git = {}", quoted(url)),
        PluginApi::Path(path) => {
            let missing = || ScaffoldError::NoPluginApi(path.clone());
            let is_it = |folder: &PathBuf| {
                let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
                manifest
                    .lines()
                    .any(|line| line.trim() == "name = \"alambic-plugin-api\"")
            };
            let folder = [path.join("plugin-api"), path.clone()]
                .into_iter()
                .find(is_it)
                .ok_or_else(missing)?;
            let folder = folder.canonicalize().map_err(|_| missing())?;
            format!("path = {}", quoted(&folder.to_string_lossy()))
        }
    })
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", "Focal", "2x", "a--b", "a-", "a_b", "../x", "a b"] {
            let error = write_plugin(Kind::LOSS, name, None, &PluginApi::default(), folder.path())
                .unwrap_err();
            assert!(
                matches!(error, ScaffoldError::Name { .. }),
                "{name}: {error}"
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(kind_of("regularizer").unwrap(), Kind::REGULARIZER);
        assert!(kind_of("los").unwrap_err().to_string().ends_with(
            "(have: loss, regularizer, architecture, relabeler, matcher, selector, canvas)"
        ));
    }

    #[test]
    fn types_do_not_hide_those_of_the_prelude() {
        assert_eq!(type_name(Kind::LOSS, "poly-1"), "Poly1Loss");
        assert_eq!(type_name(Kind::LOSS, "focal-loss"), "FocalLoss");
        assert_eq!(
            type_name(Kind::ARCHITECTURE, "architecture"),
            "ArchitectureArchitecture"
        );
    }

    #[test]
    fn a_crate_is_written_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let api: PluginApi = "1.0".parse().unwrap();
        let path = write_plugin(Kind::RELABELER, "smooth", None, &api, folder.path()).unwrap();
        assert_eq!(path, folder.path().join("relabeler-smooth"));
        let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        assert_eq!(
            manifest["dependencies"]["plugin-api"]["version"].as_str(),
            Some("1.0")
        );
        assert!(manifest["workspace"].as_table().unwrap().is_empty());
        for file in ["src/lib.rs", "README.md"] {
            let text = fs::read_to_string(path.join(file)).unwrap();
            assert!(!text.contains("__") && text.contains("smooth"), "{text}");
        }
        let error = write_plugin(Kind::RELABELER, "smooth", None, &api, folder.path()).unwrap_err();
        assert!(error.to_string().contains("already exists"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_crate_has_no_description_of_the_example() {
        let folder = tempfile::tempdir().unwrap();
        let api = PluginApi::default();
        let odd = "sharp \"edges\" \\ and {braces}";
        for (name, description, told) in [
            ("plain", None, "loss \"plain\", not described yet"),
            ("odd", Some(odd), odd),
        ] {
            let path = write_plugin(Kind::LOSS, name, description, &api, folder.path()).unwrap();
            let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
            let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
            assert_eq!(manifest["package"]["description"].as_str(), Some(told));
            assert!(read("README.md").contains(told));
            let export = read("src/lib.rs");
            let export = export.lines().find(|l| l.starts_with("export_plugin!"));
            let literal = format!("{told:?} }}");
            assert!(export.unwrap().ends_with(&literal), "{export:?}");
            assert!(!read("README.md").contains("focal"));
        }
        for wrong in ["", " ", "two\nlines"] {
            let error = write_plugin(Kind::LOSS, "x", Some(wrong), &api, folder.path());
            assert!(matches!(error, Err(ScaffoldError::Description(_))));
        }
    }

    #[test]
    fn the_plugin_api_is_a_version_a_repository_or_a_folder() {
        let parsed = |text: &str| text.parse::<PluginApi>().unwrap();
        assert_eq!(parsed("^1.2"), PluginApi::Version("^1.2".to_owned()));
        assert_eq!(
            parsed("https://example.org/x.git"),
            PluginApi::Git("https://example.org/x.git".to_owned())
        );
        assert_eq!(parsed("../alambic"), PluginApi::Path("../alambic".into()));
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let line = dependency(&PluginApi::Path(project)).unwrap();
        assert!(
            line.starts_with("path = ") && line.ends_with("plugin-api\""),
            "{line}"
        );
        let missing = dependency(&PluginApi::Path("/no/such/folder".into())).unwrap_err();
        assert!(
            missing
                .to_string()
                .starts_with("/no/such/folder: no plugin-api here")
        );
    }
}
