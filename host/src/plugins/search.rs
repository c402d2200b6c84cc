//! Where plugin files are looked for, and which files there are plugins.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs, io,
    path::{Path, PathBuf},
};

use super::{
    load_error::{LoadError, LoadFault},
    loader::{self, Inspected, Opened},
    probe::Prober,
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

/// A file that a search found.
pub(super) struct Candidate {
    /// The number of its folder among those that were searched.
    folder: usize,
    /// The file, or what is wrong with it before it is even opened.
    file: Result<Inspected, LoadError>,
}

/// What a search found.
#[derive(Default)]
pub(super) struct Found {
    /// Plugins, in the order of the folders and of their file names.
    pub opened: Vec<Opened>,
    /// Files that are meant to be plugins and are not fit.
    pub broken: Vec<LoadError>,
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

/// The files of folders that are meant to be plugins, in the order of the folders and of their names; other libraries are passed over.
pub(super) fn candidates(folders: &[PathBuf]) -> Result<Vec<Candidate>, SearchError> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for (number, folder) in folders.iter().enumerate() {
        for file in libraries(folder)? {
            // The same file again, through a link or a folder that is named twice.
            let Ok(path) = file.canonicalize() else {
                continue;
            };
            if !seen.insert(path.clone()) {
                continue;
            }
            let inspected = loader::inspect_if_plugin(&path).transpose();
            found.extend(inspected.map(|file| Candidate {
                folder: number,
                file,
            }));
        }
    }
    Ok(found)
}

fn libraries(folder: &Path) -> Result<Vec<PathBuf>, SearchError> {
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
    Ok(files)
}

/// Opens files, but for those that a prober finds deadly. A plugin is passed over of which an earlier folder has one of the same name:
/// a folder on the command line can stand in for what lies beside the program.
pub(super) fn open_all(candidates: Vec<Candidate>, prober: Option<&Prober>) -> Found {
    let files = candidates.iter().filter_map(|c| c.file.as_ref().ok());
    let files: Vec<(&Path, &str)> = files
        .map(|f| (f.path.as_path(), f.sha256.as_str()))
        .collect();
    let deadly = prober.map_or_else(Vec::new, |prober| prober.deadly(&files));
    let mut deadly: BTreeMap<PathBuf, String> = deadly
        .into_iter()
        .map(|(path, how)| (path.to_owned(), how))
        .collect();
    let mut found = Found::default();
    // How many plugins were open when the candidate's folder began.
    let (mut folder, mut earlier) = (0, 0);
    for candidate in candidates {
        if candidate.folder != folder {
            (folder, earlier) = (candidate.folder, found.opened.len());
        }
        let opened = candidate
            .file
            .and_then(|file| match deadly.remove(&file.path) {
                Some(how) => Err(LoadError::at(&file.path, LoadFault::Deadly(how))),
                None => open_once(file, &found.opened),
            });
        match opened {
            // A copy of a plugin that is there already.
            Ok(None) => {}
            Ok(Some(opened)) if shadows(&found.opened[..earlier], &opened) => {}
            Ok(Some(opened)) => found.opened.push(opened),
            Err(LoadError {
                fault: LoadFault::NotAPlugin(_),
                ..
            }) => {}
            Err(error) => found.broken.push(error),
        }
    }
    found
}

fn open_once(file: Inspected, opened: &[Opened]) -> Result<Option<Opened>, LoadError> {
    match opened.iter().any(|other| other.sha256 == file.sha256) {
        true => Ok(None),
        false => file.open().map(Some),
    }
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
        let twice = [folder.path().to_owned(), folder.path().to_owned()];
        let found = open_all(candidates(&twice).unwrap(), None);
        assert!(found.opened.is_empty());
        let broken: Vec<String> = found.broken.iter().map(LoadError::to_string).collect();
        assert!(
            broken.len() == 1 && broken[0].contains("plugin.so: truncated"),
            "{broken:?}"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let error = candidates(&["/no/such/folder".into()]).err().unwrap();
        assert!(
            error
                .to_string()
                .starts_with("plugin folder /no/such/folder: No such file"),
            "{error}"
        );
    }
}
