//! Class folders that anybody wrote: which class each is of.

use anyhow::{Result, bail, ensure};

/// How folders were matched with classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Each has the name of its class.
    Name,
    /// Each begins with the index of its class.
    Index,
    /// Neither: in sorted order.
    Order,
}

/// The place of each class's folder among `folders`, which are sorted by name.
///
/// Names that are those of all classes decide; names that are those of some are refused. Otherwise indices do, `0`, `1`, .. or `00000_..`;
/// otherwise the order.
///
/// # Errors
/// When there are more or fewer folders than classes, or the names or indices fit only some of them.
pub fn matched(folders: &[String], classes: &[String]) -> Result<(Vec<usize>, By)> {
    ensure!(
        folders.len() == classes.len(),
        "{} class folders, expected {}{}",
        folders.len(),
        classes.len(),
        odd_ones(folders, classes)
    );
    let place = |class: &String| folders.iter().position(|folder| folder == class);
    let named: Vec<usize> = classes.iter().filter_map(place).collect();
    if is_permutation(&named, folders.len()) {
        return Ok((named, By::Name));
    }
    let alike = |a: &String, b: &String| a.to_lowercase() == b.to_lowercase();
    if folders.iter().any(|f| classes.iter().any(|c| alike(f, c))) {
        bail!(
            "some class folders have names of classes, others have not{}; rename them",
            odd_ones(folders, classes)
        );
    }
    let indices: Option<Vec<usize>> = folders.iter().map(|name| index_of(name)).collect();
    let Some(indices) = indices else {
        return Ok(((0..folders.len()).collect(), By::Order));
    };
    ensure!(
        is_permutation(&indices, folders.len()),
        "class folders are numbered {}, expected 0 to {}",
        listed(indices.iter().map(usize::to_string)),
        folders.len() - 1
    );
    let mut places = vec![0; folders.len()];
    for (place, index) in indices.into_iter().enumerate() {
        places[index] = place;
    }
    Ok((places, By::Index))
}

/// The index that a name begins with, alone or before an underscore.
fn index_of(name: &str) -> Option<usize> {
    let digits = name.split('_').next()?;
    let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all.then(|| digits.parse().ok()).flatten()
}

fn is_permutation(places: &[usize], count: usize) -> bool {
    let mut sorted = places.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..count)
}

/// Folders without a class and classes without a folder, in words; empty where too many are.
fn odd_ones(folders: &[String], classes: &[String]) -> String {
    let without = |some: &[String], all: &[String]| -> Vec<String> {
        let odd = some.iter().filter(|name| !all.contains(name));
        odd.map(|name| format!("{name:?}")).collect()
    };
    let parts = [
        ("folders of no class", without(folders, classes)),
        ("classes without a folder", without(classes, folders)),
    ];
    let told = parts.into_iter().filter(|(_, names)| !names.is_empty());
    let told = told.map(|(what, names)| format!("; {what}: {}", listed(names.into_iter())));
    told.collect()
}

/// The first twelve, and how many more.
fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    const MOST: usize = 12;
    let more = names.len().saturating_sub(MOST);
    let mut text = names.take(MOST).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    fn sorted(mut all: Vec<String>) -> Vec<String> {
        all.sort();
        all
    }

    #[test]
    fn integers_without_padding_are_indices() {
        let folders = sorted((0..12).map(|i| i.to_string()).collect());
        let classes: Vec<String> = (0..12).map(|i| format!("class {i}")).collect();
        let (places, by) = matched(&folders, &classes).unwrap();
        assert_eq!(by, By::Index);
        let found: Vec<&str> = places.iter().map(|&p| folders[p].as_str()).collect();
        assert_eq!(
            found,
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]
        );
        let padded = names(&["00000_b", "00001_a"]);
        assert_eq!(
            matched(&padded, &names(&["b", "a"])).unwrap(),
            (vec![0, 1], By::Index)
        );
        let error = matched(&names(&["1", "2"]), &names(&["a", "b"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "class folders are numbered 1, 2, expected 0 to 1"
        );
    }

    #[test]
    fn names_decide_whatever_their_order() {
        let folders = names(&["ant", "bee", "cat"]);
        let classes = names(&["cat", "ant", "bee"]);
        assert_eq!(
            matched(&folders, &classes).unwrap(),
            (vec![2, 0, 1], By::Name)
        );
        let digits = names(&["1", "0"]);
        assert_eq!(
            matched(&names(&["0", "1"]), &digits).unwrap(),
            (vec![1, 0], By::Name)
        );
    }

    #[test]
    fn one_name_that_differs_is_refused_with_it() {
        for odd in ["bea", "Bee"] {
            let folders = sorted(names(&["ant", odd, "cat"]));
            let error = matched(&folders, &names(&["ant", "bee", "cat"])).unwrap_err();
            let error = error.to_string();
            let told = format!("folders of no class: {odd:?}; classes without a folder: \"bee\"");
            assert!(error.contains(&told), "{error}");
        }
        // Even where only the case differs, in all of them.
        assert!(matched(&names(&["A", "B"]), &names(&["a", "b"])).is_err());
    }

    #[test]
    fn other_names_are_taken_in_order() {
        let classes = names(&["cat", "ant"]);
        let wnids = names(&["n01", "n02"]);
        assert_eq!(matched(&wnids, &classes).unwrap(), (vec![0, 1], By::Order));
        let error = matched(&wnids[..1], &classes).unwrap_err().to_string();
        assert!(
            error.starts_with("1 class folders, expected 2; folders of no class"),
            "{error}"
        );
    }
}
