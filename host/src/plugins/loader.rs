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
use plugin_api::abi::{
    API_VERSION, HeaderRef, LayoutFault, MAGIC, PREAMBLE_SYMBOL, Preamble, ROOT_SYMBOL, Root_Ref,
    check_layout, open_root,
};
use sha2::{Digest as _, Sha256};

use super::{
    LoadError,
    elf::{self, ElfFault},
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
    let path = canonical(path)?;
    let bytes = read(&path)?;
    check_elf(&path, &bytes)?;
    open_checked(path, &bytes)
}

/// The one path of a file.
pub(super) fn canonical(path: &Path) -> Result<PathBuf, LoadError> {
    path.canonicalize().map_err(|reason| LoadError::Unreadable {
        path: path.to_owned(),
        reason,
    })
}

/// The bytes of a regular file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let unreadable = |reason| LoadError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let kind = fs::metadata(path).map_err(unreadable)?.file_type();
    if !kind.is_file() {
        let found = if kind.is_dir() {
            "a folder"
        } else {
            "a device or a pipe"
        };
        return Err(LoadError::NotAFile {
            path: path.to_owned(),
            found,
        });
    }
    fs::read(path).map_err(unreadable)
}

/// Whether the bytes hold the preamble's name, as the symbol table of a plugin does, whole or truncated.
pub(super) fn mentions_preamble(bytes: &[u8]) -> bool {
    let symbol = format!("{PREAMBLE_SYMBOL}\0");
    let first = symbol.as_bytes()[0];
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte == first) {
        if rest[at..].starts_with(symbol.as_bytes()) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

pub(super) fn check_elf(path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
    elf::check(bytes).map_err(|fault| match fault {
        ElfFault::NotShared(reason) => LoadError::NotShared {
            path: path.to_owned(),
            reason,
        },
        ElfFault::Truncated(got, expected) => LoadError::Truncated {
            path: path.to_owned(),
            got,
            expected,
        },
    })
}

/// Opens a file whose ELF header is sound.
pub(super) fn open_checked(path: PathBuf, bytes: &[u8]) -> Result<Opened, LoadError> {
    // RTLD_NOW: a missing symbol shows up here, not in the middle of a run. RTLD_LOCAL: plugins do not see each other.
    // SAFETY: opening runs the file's initialisers; whoever put a plugin on the search path trusts it as far as that.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|e| LoadError::System {
        path: path.clone(),
        reason: one_line(&e),
    })?;
    let lacks = |symbol| LoadError::NotAPlugin {
        path: path.clone(),
        symbol,
    };
    // SAFETY: the symbol is a static of this layout in every plugin of every version; its magic is checked before anything else.
    let preamble = unsafe { library.get::<*const Preamble>(PREAMBLE_SYMBOL.as_bytes()) };
    let preamble = preamble.map_err(|_| lacks(PREAMBLE_SYMBOL))?;
    // SAFETY: the address of a static of a library that is open while the reference lives, and stays open after the version check.
    let preamble: &Preamble = unsafe { &**preamble };
    if preamble.magic != MAGIC {
        return Err(LoadError::Magic {
            path,
            got: preamble.magic,
        });
    }
    let plugin = format!(
        "{} {}",
        text(&preamble.plugin_name),
        text(&preamble.plugin_version)
    );
    if preamble.api[0] != API_VERSION[0] {
        return Err(LoadError::Version {
            path,
            plugin,
            got: preamble.api,
        });
    }
    // SAFETY: a plugin of this major version has a header of this type under this name.
    let header = unsafe { library.get::<HeaderRef>(ROOT_SYMBOL.as_bytes()) };
    let header: HeaderRef = *header.map_err(|_| lacks(ROOT_SYMBOL))?;
    check_layout(header, preamble).map_err(|fault| layout_error(&path, &plugin, &fault))?;
    let api = preamble.api;
    // From here on components, names and tables of functions point into the library: it is never closed.
    std::mem::forget(library);
    // SAFETY: the layouts were just compared.
    let root = unsafe { open_root(header) };
    let root = root.map_err(|e| LoadError::Constructor {
        path: path.clone(),
        plugin,
        reason: e.to_string(),
    })?;
    let sha256 = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Opened {
        path,
        sha256,
        api,
        root,
    })
}

fn layout_error(path: &Path, plugin: &str, fault: &LayoutFault) -> LoadError {
    let report = match write_report(&fault.report) {
        Ok(file) => format!("the full comparison is in {}", file.display()),
        Err(e) => format!("the full comparison could not be written: {e}"),
    };
    LoadError::Layout {
        path: path.to_owned(),
        plugin: plugin.to_owned(),
        summary: fault.summary.clone(),
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
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
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
