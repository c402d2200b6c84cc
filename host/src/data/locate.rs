//! From what the TOML says (a path or a glob, relative to its folder) to the files on disk.

use std::path::{Path, PathBuf};

/// The paths that `pattern` names, sorted, each of which exists.
///
/// A pattern that is itself the name of an existing path means that path, whatever characters it holds.
///
/// # Errors
/// The path does not exist, the glob is malformed or nothing matches it.
pub(super) fn locate(pattern: &str, base: &Path) -> Result<Vec<PathBuf>, String> {
    let literal = base.join(pattern);
    if literal.exists() {
        return Ok(vec![literal]);
    }
    if !pattern.contains(['*', '?', '[']) {
        return Err(format!("no file or folder \"{}\"", literal.display()));
    }
    let paths = matches(pattern, base)?;
    if paths.is_empty() {
        return Err(format!(
            "nothing matches the glob \"{}\"",
            literal.display()
        ));
    }
    Ok(paths)
}

/// The matches of a glob below `base`, whose own name is taken literally.
fn matches(pattern: &str, base: &Path) -> Result<Vec<PathBuf>, String> {
    let below = Path::new(pattern);
    let full = if below.is_absolute() {
        pattern.to_string()
    } else {
        let base = glob::Pattern::escape(&base.to_string_lossy());
        Path::new(&base).join(below).to_string_lossy().into_owned()
    };
    let entries = glob::glob(&full).map_err(|e| format!("malformed glob \"{pattern}\": {e}"))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths
            .push(entry.map_err(|e| format!("cannot read {}: {}", e.path().display(), e.error()))?);
    }
    paths.sort();
    Ok(paths)
}

/// The folders directly in `folder`, sorted by name.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, String> {
    Ok(entries(folder)?
        .into_iter()
        .filter(|p| p.is_dir())
        .collect())
}

/// What lies directly in `folder`, sorted by name, without hidden entries.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |e: std::io::Error| format!("cannot read folder {}: {e}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The last component of a path as text.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn globs_are_sorted_and_relative_to_the_base() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b-1.parquet", "b-0.parquet", "a.txt"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let found = locate("b-*.parquet", dir.path()).unwrap();
        let names: Vec<String> = found.iter().map(|p| name_of(p)).collect();
        assert_eq!(names, ["b-0.parquet", "b-1.parquet"]);
    }

    #[test]
    fn a_base_with_glob_characters_is_literal() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("run[1]");
        fs::create_dir(&base).unwrap();
        fs::write(base.join("x.parquet"), "").unwrap();
        fs::write(base.join("[x].parquet"), "").unwrap();
        assert_eq!(locate("*.parquet", &base).unwrap().len(), 2);
        assert_eq!(
            locate("[x].parquet", &base).unwrap(),
            [base.join("[x].parquet")]
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = locate("none.parquet", dir.path()).unwrap_err();
        assert!(
            error.starts_with("no file or folder") && error.contains("none.parquet"),
            "{error}"
        );
        let error = locate("none-*.parquet", dir.path()).unwrap_err();
        assert!(
            error.starts_with("nothing matches") && error.contains("none-*"),
            "{error}"
        );
        let error = locate("a[.parquet", dir.path()).unwrap_err();
        assert!(error.starts_with("malformed glob"), "{error}");
    }

    #[test]
    fn hidden_folders_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".cache", "b", "a"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("c"), "").unwrap();
        let names: Vec<String> = subfolders(dir.path())
            .unwrap()
            .iter()
            .map(|p| name_of(p))
            .collect();
        assert_eq!(names, ["a", "b"]);
    }
}
