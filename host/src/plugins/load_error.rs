//! Errors in a plugin file, each in one or two lines: what, where, got, expected and how to fix it.

use std::{
    io,
    path::{Path, PathBuf},
};

use plugin_api::abi::{API_VERSION, MAGIC};

/// A plugin file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: LoadFault,
}

impl LoadError {
    pub(super) fn at(path: &Path, fault: LoadFault) -> Self {
        let path = path.to_owned();
        Self { path, fault }
    }
}

/// Why a plugin file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadFault {
    /// There is no such file, or it cannot be read: the system's message.
    #[error("{0}")]
    Unreadable(io::Error),
    /// A folder, a device or the like.
    #[error("expected a plugin file, found {0}")]
    NotAFile(&'static str),
    /// No shared library of this machine, but what this says.
    #[error("not a shared library: {0}")]
    NotShared(String),
    /// The file ends too early.
    #[error(
        "truncated: got {got} bytes, expected {expected} according to its header; copy or build it again"
    )]
    Truncated {
        /// Bytes there.
        got: u64,
        /// Bytes promised.
        expected: u64,
    },
    /// Opening it ends the process that does, in this way.
    #[error("{0}; the file is damaged: copy or build it again")]
    Deadly(String),
    /// The system's loader refused it, with this message.
    #[error("the system cannot load it: {0}")]
    System(String),
    /// A shared library of another purpose, without this symbol.
    #[error(
        "a shared library, but not a plugin: it lacks the symbol {0} (is `export_plugin!` missing?)"
    )]
    NotAPlugin(&'static str),
    /// The preamble begins with these bytes, not as preambles do.
    #[error(
        "not a plugin for this program: its preamble starts with {0:02x?}, expected {MAGIC:02x?}"
    )]
    Magic([u8; 8]),
    /// Built for another major version of the plugin API.
    #[error(
        "plugin \"{plugin}\" is built for plugin API {}.{}, this program has {}.{}\nrebuild it against plugin-api {}.x",
        got[0], got[1], API_VERSION[0], API_VERSION[1], API_VERSION[0]
    )]
    Version {
        /// Name and version.
        plugin: String,
        /// The plugin's API version.
        got: [u32; 2],
    },
    /// Types that cross the boundary are laid out differently.
    #[error(
        "plugin \"{plugin}\" is incompatible with this program: {summary}\nrebuild it against plugin-api {}.x; {report}",
        API_VERSION[0]
    )]
    Layout {
        /// Name and version.
        plugin: String,
        /// One line.
        summary: String,
        /// Where the full account is.
        report: String,
    },
    /// The plugin's own start failed.
    #[error("plugin \"{plugin}\" failed to start: {reason}")]
    Constructor {
        /// Name and version.
        plugin: String,
        /// What went wrong.
        reason: String,
    },
}
