//! From what the TOML says (a path, a glob or a range in braces, relative to its folder) to the files on disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files that the braces of one pattern may stand for.
const MOST_PATTERNS: usize = 100_000;

/// The paths that `pattern` names, each of which exists: those of a glob sorted, those of braces in their order.
///
/// A pattern that is itself the name of an existing path means that path, whatever characters it holds.
///
/// # Errors
/// A path does not exist, the glob is malformed or nothing matches it.
pub(super) fn locate(pattern: &str, base: &Path) -> Result<Vec<PathBuf>, String> {
    let literal = base.join(pattern);
    if literal.exists() {
        return Ok(vec![literal]);
    }
    let patterns = expanded(pattern, 0)?;
    let (mut paths, mut missing) = (Vec::new(), Vec::new());
    for one in &patterns {
        match located(one, base) {
            Ok(found) => paths.extend(found),
            Err(message) => missing.push(message),
        }
    }
    let Some(first) = missing.first() else {
        let mut seen = BTreeSet::new();
        paths.retain(|path| seen.insert(path.clone()));
        return Ok(paths);
    };
    Err(match patterns.len() {
        1 => first.clone(),
        all => format!(
            "{first}; {} of the {all} names that \"{pattern}\" stands for are missing",
            missing.len()
        ),
    })
}

/// The pattern as one that names the same paths from anywhere.
pub(super) fn absolute(pattern: &str, base: &Path) -> String {
    let is_glob = pattern.contains(['*', '?', '[']) && !base.join(pattern).exists();
    let base = base.to_string_lossy();
    let base = match is_glob {
        true => glob::Pattern::escape(&base),
        false => base.into_owned(),
    };
    Path::new(&base)
        .join(pattern)
        .to_string_lossy()
        .into_owned()
}

/// The paths of a pattern without braces.
fn located(pattern: &str, base: &Path) -> Result<Vec<PathBuf>, String> {
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

/// The patterns that one with braces stands for, as WebDataset's do: `{00000..00009}` and `{train,val}`, behind byte `from`; braces
/// around anything else are characters.
fn expanded(pattern: &str, from: usize) -> Result<Vec<String>, String> {
    let Some(close) = pattern[from..].find('}').map(|at| from + at) else {
        return Ok(vec![pattern.to_string()]);
    };
    let Some(open) = pattern[from..close].rfind('{').map(|at| from + at) else {
        return expanded(pattern, close + 1);
    };
    let too_many = || format!("\"{pattern}\" stands for more than {MOST_PATTERNS} files");
    let inside = &pattern[open + 1..close];
    let parts = match numbers(inside) {
        Some(numbers) => numbers.ok_or_else(too_many)?,
        None if inside.contains(',') => inside.split(',').map(str::to_string).collect(),
        None => return expanded(pattern, close + 1),
    };
    let mut patterns = Vec::new();
    for part in parts {
        let one = format!("{}{part}{}", &pattern[..open], &pattern[close + 1..]);
        patterns.extend(expanded(&one, from)?);
        if patterns.len() > MOST_PATTERNS {
            return Err(too_many());
        }
    }
    Ok(patterns)
}

/// The numbers from `first` to `last` in `first..last`, as wide as the wider one where one begins with a zero; none within where they are
/// too many.
fn numbers(range: &str) -> Option<Option<Vec<String>>> {
    let (first, last) = range.split_once("..")?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(first) || !is_number(last) {
        return None;
    }
    let is_padded = [first, last]
        .iter()
        .any(|n| n.len() > 1 && n.starts_with('0'));
    let width = if is_padded {
        first.len().max(last.len())
    } else {
        0
    };
    let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse::<u64>()) else {
        return Some(None);
    };
    if first.abs_diff(last) >= MOST_PATTERNS as u64 {
        return Some(None);
    }
    let mut numbers: Vec<u64> = (first.min(last)..=first.max(last)).collect();
    if last < first {
        numbers.reverse();
    }
    let padded = numbers.into_iter().map(|n| format!("{n:0width$}"));
    Some(Some(padded.collect()))
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
    fn ranges_in_braces_are_files_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a-08.tar", "a-09.tar", "a-10.tar", "b-0.tar", "x{1}.tar"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let names = |pattern: &str| -> Result<Vec<String>, String> {
            let found = locate(pattern, dir.path())?;
            Ok(found.iter().map(|p| name_of(p)).collect())
        };
        let all = ["a-08.tar", "a-09.tar", "a-10.tar"].map(String::from);
        assert_eq!(names("a-{08..10}.tar").unwrap(), all);
        assert_eq!(names("a-{10..08}.tar").unwrap()[0], "a-10.tar");
        let two = names("{b-{0..0},a-*8}.tar").unwrap();
        assert_eq!(two, ["b-0.tar", "a-08.tar"]);
        assert_eq!(names("x{1}.tar").unwrap(), ["x{1}.tar"]);
        let error = names("a-{08..11}.tar").unwrap_err();
        assert!(
            error.contains(
                "a-11.tar\"; 1 of the 4 names that \"a-{08..11}.tar\" stands for are missing"
            ),
            "{error}"
        );
        for many in [
            "a-{0..99999999}.tar",
            "{0..999}{0..999}",
            "{0..99999999999999999999}",
        ] {
            let error = names(many).unwrap_err();
            assert!(
                error.ends_with("stands for more than 100000 files"),
                "{error}"
            );
        }
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
