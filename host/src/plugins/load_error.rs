//! Errors in a plugin file, each in one or two lines: what, where, got, expected and how to fix it.

use std::{io, path::PathBuf};

use plugin_api::abi::{API_VERSION, MAGIC};

/// Why a plugin file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such file, or it cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's message.
        reason: io::Error,
    },
    /// A folder, a device or the like.
    #[error("{}: expected a plugin file, found {found}", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// No shared library of this machine.
    #[error("{}: not a shared library: {reason}", path.display())]
    NotShared {
        /// The file.
        path: PathBuf,
        /// What it is.
        reason: String,
    },
    /// The file ends too early.
    #[error("{}: truncated: got {got} bytes, expected {expected} according to its header; copy or build it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes there.
        got: u64,
        /// Bytes promised.
        expected: u64,
    },
    /// The system's loader refused it.
    #[error("{}: the system cannot load it: {reason}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// The loader's message.
        reason: String,
    },
    /// A shared library of another purpose.
    #[error("{}: a shared library, but not a plugin: it lacks the symbol {symbol} (is `export_plugin!` missing?)", path.display())]
    NotAPlugin {
        /// The file.
        path: PathBuf,
        /// The symbol that was looked for.
        symbol: &'static str,
    },
    /// The preamble does not begin as preambles do.
    #[error("{}: not a plugin for this program: its preamble starts with {got:02x?}, expected {MAGIC:02x?}", path.display())]
    Magic {
        /// The file.
        path: PathBuf,
        /// The bytes found.
        got: [u8; 8],
    },
    /// Built for another major version of the plugin API.
    #[error(
        "{}: plugin \"{plugin}\" is built for plugin API {}.{}, this program has {}.{}\nrebuild it against plugin-api {}.x",
        path.display(), got[0], got[1], API_VERSION[0], API_VERSION[1], API_VERSION[0]
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Name and version.
        plugin: String,
        /// The plugin's API version.
        got: [u32; 2],
    },
    /// Types that cross the boundary are laid out differently.
    #[error(
        "{}: plugin \"{plugin}\" is incompatible with this program: {summary}\nrebuild it against plugin-api {}.x; {report}",
        path.display(), API_VERSION[0]
    )]
    Layout {
        /// The file.
        path: PathBuf,
        /// Name and version.
        plugin: String,
        /// One line.
        summary: String,
        /// Where the full account is.
        report: String,
    },
    /// The plugin's own start failed.
    #[error("{}: plugin \"{plugin}\" failed to start: {reason}", path.display())]
    Constructor {
        /// The file.
        path: PathBuf,
        /// Name and version.
        plugin: String,
        /// What went wrong.
        reason: String,
    },
}
