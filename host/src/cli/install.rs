//! `alambic plugin install`: copies plugins to where an installed program finds them.

use std::{
    fs,
    path::{Path, PathBuf},
    slice,
};

use anyhow::Context;
use plugin_api::contract::TENSORS_FILE;

use crate::{
    artifact::atomic,
    data::Fault,
    experiment::failure::{Failure, config_fault},
    plugins::{Registry, installed_folder},
};

use super::run::prober;

/// Copies the plugins among `from`, files or folders of them, once all have been found fit.
pub fn install(from: &[PathBuf], to: Option<&Path>) -> Result<(), Failure> {
    let Some(folder) = to.map(Path::to_owned).or_else(installed_folder) else {
        let message = "cannot tell where this program lies; name a folder";
        return Err(config_fault("--to", message));
    };
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    let mut faults = Vec::new();
    for path in from {
        match found(path) {
            Ok(own) => files.extend(own),
            Err(own) => faults.extend(own),
        }
    }
    if !faults.is_empty() {
        return Err(Failure::Config(faults));
    }
    for (what, file) in files {
        let name = file.file_name().context("a file without a name")?;
        let copy = folder.join(name);
        if copy.canonicalize().ok().as_ref() != Some(&file) {
            let bytes = fs::read(&file).with_context(|| file.display().to_string())?;
            // Renamed into place: a program that runs keeps the file that it has open.
            atomic::write(&copy, &bytes)?;
        }
        say!("{what}: {}", copy.display());
    }
    Ok(())
}

/// What to copy for a path: each plugin, and from a folder also the library that tests of plugins need; with words for each.
fn found(path: &Path) -> Result<Vec<(String, PathBuf)>, Vec<Fault>> {
    let prober = prober();
    let prober = prober.as_ref();
    let fault = |message: String| vec![Fault::new(path.display().to_string(), message)];
    let registry = match path.is_dir() {
        true => Registry::search(slice::from_ref(&path.to_owned()), prober)
            .map_err(|error| fault(error.reason.to_string()))?,
        // The error names the file.
        false => Registry::of_file(path, prober)
            .map_err(|error| vec![Fault::new("plugin install", error.to_string())])?,
    };
    let broken = registry.broken().iter();
    let broken = broken.map(|error| Fault::new("plugin install", error.to_string()));
    let broken: Vec<Fault> = broken.collect();
    if !broken.is_empty() {
        return Err(broken);
    }
    if registry.plugins().is_empty() {
        return Err(fault(
            "no plugins in it; expected plugin files (lib*.so)".to_owned(),
        ));
    }
    let plugins = registry.plugins().iter();
    let plugins = plugins.map(|p| (format!("{} {}", p.name, p.version), p.path.clone()));
    let tensors = path.join(TENSORS_FILE).canonicalize().ok();
    let tensors = tensors.map(|file| ("tensors for `alambic plugin test`".to_owned(), file));
    Ok(plugins.chain(tensors).collect())
}
