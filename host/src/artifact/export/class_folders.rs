//! The folders of classes: named after them wherever a file system and every reader take the names, and keep their order.

use super::super::images::class_folder;

/// Bytes that a name may have on every file system.
const LONGEST: usize = 255;

/// The folder of each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassFolders {
    /// Names, in the order of the classes, which is that of their sorting.
    pub names: Vec<String>,
    /// Why they begin with the indices of the classes, where they do.
    pub numbered: Option<String>,
}

impl ClassFolders {
    /// The names of the classes themselves, or, where those will not do, each behind its class's index: `00003_cat`.
    pub fn of(classes: &[String]) -> Self {
        let Some(reason) = unfit(classes) else {
            return Self {
                names: classes.to_vec(),
                numbered: None,
            };
        };
        let numbered = classes.iter().enumerate();
        let folder = |(i, name): (usize, &String)| {
            let folder = class_folder(i, name);
            folder.trim_end_matches(['.', ' ']).to_owned()
        };
        Self {
            names: numbered.map(folder).collect(),
            numbered: Some(reason),
        }
    }
}

/// Why names of classes cannot be those of their folders.
fn unfit(classes: &[String]) -> Option<String> {
    if let Some((name, why)) = classes.iter().find_map(|n| Some((n, unusable(n)?))) {
        return Some(format!("{name:?} cannot be the name of a folder: {why}"));
    }
    let mut lower: Vec<String> = classes.iter().map(|name| name.to_lowercase()).collect();
    lower.sort_unstable();
    if let Some(pair) = lower.windows(2).find(|pair| pair[0] == pair[1]) {
        return Some(format!("two classes are called {:?}", pair[0]));
    }
    // Readers count classes in the sorted order of their folders.
    let pair = classes.windows(2).find(|pair| pair[0] >= pair[1])?;
    Some(format!(
        "readers sort folders, and {:?} would come before {:?}",
        pair[1], pair[0]
    ))
}

/// Why a name cannot be that of a folder, on any usual file system and for `datasets` and torchvision.
fn unusable(name: &str) -> Option<&'static str> {
    let odd = |c: char| c.is_control() || "/\\:*?\"<>|".contains(c);
    match name {
        "" => Some("it is empty"),
        _ if name.len() > LONGEST => Some("it is too long"),
        _ if name.contains(odd) => Some("it has a character that file systems reserve"),
        _ if name.starts_with('.') || name.starts_with("__") => {
            Some("readers pass over such folders")
        }
        _ if name != name.trim() || name.ends_with('.') => Some("its ends would be cut"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(classes: &[&str]) -> ClassFolders {
        let classes: Vec<String> = classes.iter().map(|name| (*name).to_owned()).collect();
        ClassFolders::of(&classes)
    }

    #[test]
    fn sorted_names_stay_as_they_are() {
        let folders = of(&["0", "1", "10", "Übung", "日本"]);
        assert_eq!(folders.names, ["0", "1", "10", "Übung", "日本"]);
        assert_eq!(folders.numbered, None);
    }

    #[test]
    fn names_in_another_order_are_numbered() {
        let folders = of(&["0", "2", "10"]);
        assert_eq!(folders.names, ["00000_0", "00001_2", "00002_10"]);
        let reason = folders.numbered.unwrap();
        assert!(
            reason.contains("\"10\" would come before \"2\""),
            "{reason}"
        );
    }

    #[test]
    fn names_that_no_folder_can_have_are_told() {
        for (name, part) in [
            ("", "empty"),
            ("a/b", "reserve"),
            ("a\tb", "reserve"),
            ("..", "pass over"),
            ("__x", "pass over"),
            ("b ", "cut"),
            ("b.", "cut"),
        ] {
            let folders = of(&["a", name]);
            let reason = folders.numbered.unwrap();
            assert!(reason.contains(part), "{name:?}: {reason}");
            let folder = &folders.names[1];
            assert!(folder.starts_with("00001_"), "{folder}");
            assert_eq!(unusable(folder), None, "{folder}");
        }
        assert!(of(&["a", &"x".repeat(256)]).numbered.is_some());
        assert!(of(&["Cat", "cat"]).numbered.unwrap().contains("\"cat\""));
    }
}
