//! Opens one plugin file, checking it before, during and after loading.
//!
//! In order: canonical path, regular file, ELF header and length, `dlopen`, the preamble and its version, the layouts of all types
//! that cross the boundary, the plugin's constructor. A plugin is never unloaded.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use memchr::memmem;
use plugin_api::abi::{
    API_VERSION, HeaderRef, LayoutFault, MAGIC, PREAMBLE_SYMBOL, Preamble, ROOT_SYMBOL, Root_Ref,
    check_layout, open_root,
};
use sha2::{Digest as _, Sha256};

use crate::say::visible;

use super::{
    elf::{self, ElfFault},
    load_error::{LoadError, LoadFault},
};

/// A plugin file that passed all checks.
pub struct Opened {
    /// Its canonical path.
    pub path: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The plugin API that it was built for: major, minor.
    pub api: [u32; 2],
    /// What it offers.
    pub root: Root_Ref,
}

/// Opens a plugin file.
///
/// # Errors
/// [`LoadError`], for anything that is wrong with the file; the process lives on.
pub fn open(path: &Path) -> Result<Opened, LoadError> {
    inspect(path)?.open()
}

/// A file that is a sound library by its header, and not yet opened.
pub(super) struct Inspected {
    /// Its canonical path.
    pub path: PathBuf,
    /// SHA-256 of its content.
    pub sha256: String,
}

/// Reads a file without opening it as a library.
///
/// # Errors
/// When it is no file, or its header is not that of a whole library.
pub(super) fn inspect(path: &Path) -> Result<Inspected, LoadError> {
    let canonical = path.canonicalize();
    let path = canonical.map_err(|e| LoadError::at(path, LoadFault::Unreadable(e)))?;
    let read = read(&path).and_then(|bytes| Inspected::of(&path, &bytes));
    read.map_err(|fault| LoadError::at(&path, fault))
}

/// Nothing for a file that does not even mention the preamble: opening it would run the initialisers of a stranger.
pub(super) fn inspect_if_plugin(path: &Path) -> Result<Option<Inspected>, LoadError> {
    let read = read(path).and_then(|bytes| match mentions_preamble(&bytes) {
        true => Inspected::of(path, &bytes).map(Some),
        false => Ok(None),
    });
    read.map_err(|fault| LoadError::at(path, fault))
}

impl Inspected {
    fn of(path: &Path, bytes: &[u8]) -> Result<Self, LoadFault> {
        elf::check(bytes).map_err(|fault| match fault {
            ElfFault::NotShared(reason) => LoadFault::NotShared(reason),
            ElfFault::Truncated(got, expected) => LoadFault::Truncated { got, expected },
        })?;
        let digest = Sha256::digest(bytes);
        Ok(Self {
            path: path.to_owned(),
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// Opens it as a plugin.
    ///
    /// # Errors
    /// For anything that is wrong with it.
    pub fn open(self) -> Result<Opened, LoadError> {
        let path = self.path.clone();
        open_inspected(self).map_err(|fault| LoadError::at(&path, fault))
    }
}

/// Whether the bytes hold the preamble's name, as the symbol table of a plugin does, whole or truncated.
fn mentions_preamble(bytes: &[u8]) -> bool {
    memmem::find(bytes, format!("{PREAMBLE_SYMBOL}\0").as_bytes()).is_some()
}

/// The bytes of a regular file.
fn read(path: &Path) -> Result<Vec<u8>, LoadFault> {
    let kind = fs::metadata(path)
        .map_err(LoadFault::Unreadable)?
        .file_type();
    if kind.is_dir() {
        return Err(LoadFault::NotAFile("a folder"));
    }
    if !kind.is_file() {
        return Err(LoadFault::NotAFile("a device or a pipe"));
    }
    fs::read(path).map_err(LoadFault::Unreadable)
}

fn open_inspected(Inspected { path, sha256 }: Inspected) -> Result<Opened, LoadFault> {
    // RTLD_NOW: a missing symbol shows up here, not in the middle of a run. RTLD_LOCAL: plugins do not see each other.
    // SAFETY: opening runs the file's initialisers; whoever put a plugin on the search path trusts it as far as that.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|e| LoadFault::System(one_line(&e)))?;
    // SAFETY: the symbol is a static of this layout in every plugin of every version; its magic is checked before anything else.
    let preamble = unsafe { library.get::<*const Preamble>(PREAMBLE_SYMBOL.as_bytes()) };
    let preamble = preamble.map_err(|_| LoadFault::NotAPlugin(PREAMBLE_SYMBOL))?;
    // SAFETY: the address of a static of a library that is open while the reference lives, and stays open after the version check.
    let preamble: &Preamble = unsafe { &**preamble };
    if preamble.magic != MAGIC {
        return Err(LoadFault::Magic(preamble.magic));
    }
    let plugin = format!(
        "{} {}",
        text(&preamble.plugin_name),
        text(&preamble.plugin_version)
    );
    if preamble.api[0] != API_VERSION[0] {
        let got = preamble.api;
        return Err(LoadFault::Version { plugin, got });
    }
    // SAFETY: a plugin of this major version has a header of this type under this name.
    let header = unsafe { library.get::<HeaderRef>(ROOT_SYMBOL.as_bytes()) };
    let header: HeaderRef = *header.map_err(|_| LoadFault::NotAPlugin(ROOT_SYMBOL))?;
    check_layout(header, preamble).map_err(|fault| layout_fault(&plugin, fault))?;
    let api = preamble.api;
    // From here on components, names and tables of functions point into the library: it is never closed.
    std::mem::forget(library);
    // SAFETY: the layouts were just compared.
    let root = unsafe { open_root(header) };
    let root = root.map_err(|e| LoadFault::Constructor {
        plugin,
        reason: e.to_string(),
    })?;
    Ok(Opened {
        path,
        sha256,
        api,
        root,
    })
}

fn layout_fault(plugin: &str, fault: LayoutFault) -> LoadFault {
    let report = match write_report(&fault.report) {
        Ok(file) => format!("the full comparison is in {}", file.display()),
        Err(e) => format!("the full comparison could not be written: {e}"),
    };
    LoadFault::Layout {
        plugin: plugin.to_owned(),
        summary: fault.summary,
        report,
    }
}

fn write_report(report: &str) -> io::Result<PathBuf> {
    let mut file = tempfile::Builder::new()
        .prefix("alambic-layout-")
        .suffix(".txt")
        .tempfile()?;
    file.write_all(report.as_bytes())?;
    let (_, path) = file.keep().map_err(|e| e.error)?;
    Ok(path)
}

/// A NUL-terminated text of a preamble.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    visible(&String::from_utf8_lossy(text)).into_owned()
}

/// The innermost cause of a loader's error, on one line.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    text.lines().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preamble_is_found_anywhere_and_only_whole() {
        assert!(mentions_preamble(b"AAL\0ALAMBIC_PLUGIN\0rest"));
        assert!(!mentions_preamble(b"ALAMBIC_PLUGIN_ROOT\0ALAMBIC_PLUGIN"));
        assert!(!mentions_preamble(b""));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let error = |path: &str| open(Path::new(path)).err().unwrap().to_string();
        assert!(error("/no/such/plugin.so").starts_with("/no/such/plugin.so: No such file"));
        assert_eq!(error("/"), "/: expected a plugin file, found a folder");
        assert_eq!(
            error("/dev/null"),
            "/dev/null: expected a plugin file, found a device or a pipe"
        );
    }

    #[test]
    fn texts_end_at_the_first_nul() {
        assert_eq!(
            (text(b"abc\0def"), text(b"abc")),
            ("abc".to_owned(), "abc".to_owned())
        );
    }
}
