//! Where plugin files are looked for, and which files there are plugins.

use std::{
    collections::BTreeSet,
    env, fs, io,
    path::{Path, PathBuf},
};

use super::{
    load_error::{LoadError, LoadFault},
    loader::{self, Opened},
};

/// The environment variable with more folders, separated as in `PATH`.
pub const PLUGINS_VARIABLE: &str = "ALAMBIC_PLUGINS";

/// Why a folder cannot be searched.
#[derive(Debug, thiserror::Error)]
#[error("plugin folder {}: {reason}; expected a folder with plugin files (*.so)", folder.display())]
pub struct SearchError {
    /// The folder.
    pub folder: PathBuf,
    /// The system's message.
    pub reason: io::Error,
}

/// What a search found.
#[derive(Default)]
pub(super) struct Found {
    /// Plugins, in the order of the folders and of their file names.
    pub opened: Vec<Opened>,
    /// Files that are meant to be plugins and are not fit.
    pub broken: Vec<LoadError>,
    seen: BTreeSet<PathBuf>,
}

/// The folder of this program.
fn program_folder() -> Option<PathBuf> {
    let program = env::current_exe().ok()?.canonicalize().ok()?;
    Some(program.parent()?.to_owned())
}

/// Where an installed program finds its plugins: `lib/alambic/plugins` beside the folder that it lies in, which is `bin`.
pub fn installed_folder() -> Option<PathBuf> {
    Some(program_folder()?.parent()?.join("lib/alambic/plugins"))
}

/// The folders besides those of the command line: [`PLUGINS_VARIABLE`], then the folder of this program and [`installed_folder`].
///
/// They need not exist: unlike a folder on the command line, nobody may have meant them just now.
pub(super) fn standing_folders() -> Vec<PathBuf> {
    let listed = env::var_os(PLUGINS_VARIABLE).unwrap_or_default();
    let folders = env::split_paths(&listed).filter(|folder| !folder.as_os_str().is_empty());
    let own = program_folder().into_iter().chain(installed_folder());
    folders.chain(own).collect()
}

/// That there are no plugins in any of some folders, and how to say where they are.
pub(super) fn none_in(folders: &[PathBuf]) -> String {
    let looked = folders.iter().map(|folder| match folder.is_dir() {
        true => folder.display().to_string(),
        false => format!("{} (no such folder)", folder.display()),
    });
    let looked: Vec<String> = looked.collect();
    format!(
        "no plugins found; looked in {}; name their folder with --plugin-dir or {PLUGINS_VARIABLE}, or install them with `alambic plugin install`",
        looked.join(", ")
    )
}

/// Opens every plugin file of a folder. Other libraries are passed over, and so is a plugin of which an earlier folder has one
/// of the same name: a folder on the command line can stand in for what lies beside the program.
pub(super) fn search(folder: &Path, found: &mut Found) -> Result<(), SearchError> {
    let fault = |reason| SearchError {
        folder: folder.to_owned(),
        reason,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        if path.extension().is_some_and(|e| e == "so") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let earlier = found.opened.len();
    for file in files {
        // The same file again, through a link or a folder that is named twice.
        let Ok(path) = file.canonicalize() else {
            continue;
        };
        if !found.seen.insert(path.clone()) {
            continue;
        }
        match loader::open_if_plugin(&path) {
            Ok(None)
            | Err(LoadError {
                fault: LoadFault::NotAPlugin(_),
                ..
            }) => {}
            // A copy of a plugin that is there already.
            Ok(Some(opened)) if found.opened.iter().any(|o| o.sha256 == opened.sha256) => {}
            Ok(Some(opened)) if shadows(&found.opened[..earlier], &opened) => {}
            Ok(Some(opened)) => found.opened.push(opened),
            Err(error) => found.broken.push(error),
        }
    }
    Ok(())
}

fn shadows(earlier: &[Opened], opened: &Opened) -> bool {
    earlier.iter().any(|o| o.root.name() == opened.root.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_passed_over_and_would_be_plugins_kept() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("stranger.so", &b"anything"[..]),
            ("plugin.so", b"\x7fELF then ALAMBIC_PLUGIN\0"),
            ("notes.txt", b"ALAMBIC_PLUGIN\0"),
        ] {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        fs::create_dir(folder.path().join("folder.so")).unwrap();
        let mut found = Found::default();
        for _ in 0..2 {
            search(folder.path(), &mut found).unwrap();
        }
        assert!(found.opened.is_empty());
        let broken: Vec<String> = found.broken.iter().map(LoadError::to_string).collect();
        assert!(
            broken.len() == 1 && broken[0].contains("plugin.so: truncated"),
            "{broken:?}"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let error = search(Path::new("/no/such/folder"), &mut Found::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("plugin folder /no/such/folder: No such file"),
            "{error}"
        );
    }
}
