//! Where a new plugin crate finds the plugin API: a checkout, a repository or a registry.

use std::{convert::Infallible, fs, path::PathBuf, str::FromStr};

use plugin_api::abi::API_VERSION;

use super::scaffold::ScaffoldError;

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
pub(super) fn dependency(plugin_api: &PluginApi) -> Result<String, ScaffoldError> {
    Ok(match plugin_api {
        PluginApi::Version(version) => format!("version = {}", quoted(version)),
        PluginApi::Git(url) => format!("git = {}", quoted(url)),
        PluginApi::Path(path) => {
            let missing = || ScaffoldError::NoPluginApi { path: path.clone() };
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
    use std::path::Path;

    use super::*;

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
