//! The user's folder of what can be made anew.

use std::{env, path::PathBuf};

/// `$ALAMBIC_CACHE`, `$XDG_CACHE_HOME/alambic` or `~/.cache/alambic`, the first that is known; it need not be there.
pub fn folder() -> Option<PathBuf> {
    let folder = |name: &str| {
        let value = env::var_os(name).map(PathBuf::from);
        value.filter(|folder| folder.is_absolute())
    };
    let of_system = || {
        let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
        Some(caches?.join("alambic"))
    };
    folder("ALAMBIC_CACHE").or_else(of_system)
}
