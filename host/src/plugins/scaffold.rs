//! `alambic plugin new`: a crate with one small, real component, to be replaced by one's own.
//!
//! It builds and passes its tests as it is, outside of any workspace.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use plugin_api::{abi::Kind, contract::is_kebab_case};

pub use super::scaffold_api::PluginApi;
use super::scaffold_api::dependency;

/// Why a crate is not written.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    /// The name cannot be that of a component.
    #[error(
        "\"{name}\" is not a valid component name: expected lower-case letters, digits and single dashes, starting with a letter (as in \"bn-stats\")"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// There is no example of this kind.
    #[error(
        "unknown kind of component \"{kind}\" (have: loss, regularizer, architecture, relabeler, matcher)"
    )]
    Kind {
        /// The kind.
        kind: String,
    },
    /// There is something already.
    #[error("{}: already exists; choose another name or folder, or remove it", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The path leads to no plugin API.
    #[error("{}: no plugin-api here; expected the folder of plugin-api, or of the project that contains it", path.display())]
    NoPluginApi {
        /// The folder.
        path: PathBuf,
    },
    /// The system refused to write.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's message.
        reason: io::Error,
    },
}

struct Example {
    source: &'static str,
    description: &'static str,
    usage: &'static str,
}

fn example(kind: Kind) -> Option<Example> {
    let (source, description, usage) = match kind {
        Kind::LOSS => (
            include_str!("templates/loss.rs"),
            "focal cross-entropy",
            "[recover]\nloss = { plugin = \"__NAME__\", params = { gamma = 2.0 } }",
        ),
        Kind::REGULARIZER => (
            include_str!("templates/regularizer.rs"),
            "total variation of the images",
            "[recover]\nregularizers = [ { plugin = \"__NAME__\", weight = 0.01, params = { canvas = false } } ]",
        ),
        Kind::ARCHITECTURE => (
            include_str!("templates/architecture.rs"),
            "a small convolutional network",
            "[squeeze]\narchitecture = { plugin = \"__NAME__\", params = { depth = 3, width = 16 } }",
        ),
        Kind::RELABELER => (
            include_str!("templates/relabeler.rs"),
            "smoothed class labels",
            "[relabel]\nrelabeler = { plugin = \"__NAME__\", params = { smoothing = 0.1 } }",
        ),
        Kind::MATCHER => (
            include_str!("templates/matcher.rs"),
            "distance of mean features",
            "[match]\nmatcher = { plugin = \"__NAME__\", params = { real_per_class = 32 } }",
        ),
        _ => return None,
    };
    Some(Example {
        source,
        description,
        usage,
    })
}

/// The kind of a name on the command line.
///
/// # Errors
/// [`ScaffoldError::Kind`] for any other.
pub fn kind_of(name: &str) -> Result<Kind, ScaffoldError> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| ScaffoldError::Kind {
        kind: name.to_owned(),
    })
}

/// Writes the crate `<kind>-<name>` into `folder` and gives its path.
///
/// # Errors
/// [`ScaffoldError`]; nothing is left behind then.
pub fn write_plugin(
    kind: Kind,
    name: &str,
    plugin_api: &PluginApi,
    folder: &Path,
) -> Result<PathBuf, ScaffoldError> {
    if !is_kebab_case(name) {
        return Err(ScaffoldError::Name {
            name: name.to_owned(),
        });
    }
    let example = example(kind).ok_or_else(|| ScaffoldError::Kind {
        kind: kind.name().to_owned(),
    })?;
    let crate_name = format!("{}-{name}", kind.name());
    let target = folder.join(&crate_name);
    if target.symlink_metadata().is_ok() {
        return Err(ScaffoldError::Exists { path: target });
    }
    let dependency = dependency(plugin_api)?;
    let render = |text: &str| {
        text.replace("__USE__", example.usage)
            .replace("__CRATE__", &crate_name)
            .replace("__LIB__", &crate_name.replace('-', "_"))
            .replace("__DESCRIPTION__", example.description)
            .replace("__PLUGIN_API__", &dependency)
            .replace("__KIND__", kind.name())
            .replace("__TYPE__", &type_name(kind, name))
            .replace("__NAME__", name)
    };
    let files = [
        (
            "Cargo.toml",
            render(include_str!("templates/Cargo.toml.txt")),
        ),
        ("README.md", render(include_str!("templates/README.md.txt"))),
        (".gitignore", "/target\n".to_owned()),
        ("src/lib.rs", render(example.source)),
    ];
    write_all(folder, &target, &files)?;
    Ok(target)
}

/// Writes into a folder beside the target and renames it, so that there is never half a crate.
fn write_all(folder: &Path, target: &Path, files: &[(&str, String)]) -> Result<(), ScaffoldError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |reason| ScaffoldError::Io { path, reason }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", "Focal", "2x", "a--b", "a-", "a_b", "../x", "a b"] {
            let error =
                write_plugin(Kind::LOSS, name, &PluginApi::default(), folder.path()).unwrap_err();
            assert!(
                matches!(error, ScaffoldError::Name { .. }),
                "{name}: {error}"
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(kind_of("regularizer").unwrap(), Kind::REGULARIZER);
        assert!(
            kind_of("los")
                .unwrap_err()
                .to_string()
                .ends_with("(have: loss, regularizer, architecture, relabeler, matcher)")
        );
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
        let path = write_plugin(Kind::RELABELER, "smooth", &api, folder.path()).unwrap();
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
        let error = write_plugin(Kind::RELABELER, "smooth", &api, folder.path()).unwrap_err();
        assert!(error.to_string().contains("already exists"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
