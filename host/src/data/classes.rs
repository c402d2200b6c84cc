//! The classes of a set, and the choice of some of them (`data.classes`, `data.exclude_classes`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::say::visible;

use super::fault::{Fault, unless};

/// How many names an error lists before it only counts the rest.
const MAX_NAMES: usize = 12;

/// More classes than any set has: a label beyond is taken for a wrong column or a damaged file.
const MAX_CLASSES: i64 = 1 << 20;

/// Names of the classes of a set that names none, "0", "1", ..: as many as the labels that occur ask for.
///
/// Null and negative labels are left for the check of each row, which names it; so are those beyond any real set.
pub(super) fn numbered(labels: impl IntoIterator<Item = Option<i64>>) -> Vec<String> {
    let Some(largest) = labels.into_iter().max() else {
        return Vec::new();
    };
    let last = largest.unwrap_or(0).clamp(0, MAX_CLASSES - 1);
    (0..=last).map(|label| label.to_string()).collect()
}

/// What the labels of a file mean, where it names classes of its own.
pub(super) struct Translation(Option<Vec<i64>>);

impl Translation {
    /// From a file with the classes `own`, where it names any, to a set with the classes `all`, by name.
    ///
    /// # Errors
    /// The classes that the set has not, or a name that stands for two classes.
    pub fn new(own: Option<&[String]>, all: &[String]) -> Result<Self, String> {
        let Some(own) = own.filter(|own| *own != all && !all.is_empty()) else {
            return Ok(Self(None));
        };
        let unknown = own.iter().filter(|name| !all.contains(name)).cloned();
        let unknown: Vec<String> = unknown.collect();
        if !unknown.is_empty() {
            return Err(format!(
                "its classes are others than those of the training images; it alone has {}",
                visible(&listed(&unknown))
            ));
        }
        let twice = |names: &[String]| (1..names.len()).any(|i| names[..i].contains(&names[i]));
        if twice(all) || twice(own) {
            return Err(
                "its classes have another order than the training images', and a name stands for two of them"
                    .to_owned(),
            );
        }
        let place = |name: &String| all.iter().position(|n| n == name).map(|i| i as i64);
        Ok(Self(own.iter().map(place).collect()))
    }

    /// The set's label of a label of the file.
    ///
    /// # Errors
    /// The file names no such class.
    pub fn label(&self, label: Option<i64>) -> Result<Option<i64>, String> {
        let (Some(places), Some(label)) = (&self.0, label) else {
            return Ok(label);
        };
        let place = usize::try_from(label).ok().and_then(|i| places.get(i));
        let last = places.len().saturating_sub(1);
        place.copied().map(Some).ok_or_else(|| {
            format!("label {label} is out of range, expected 0 to {last}, the classes of its file")
        })
    }
}

/// A class, as named in the experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassRef {
    /// By its index in the whole set, from 0
    Index(#[schemars(range(max = u32::MAX))] u32),
    /// By its name, as `alambic data info` lists it
    Name(String),
}

/// The classes kept, and what each label of the files becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Classes {
    /// Names of the classes kept, in label order.
    pub names: Vec<String>,
    /// For each label of the files, its new label, or none where the class is left out.
    relabel: Vec<Option<u32>>,
}

impl Classes {
    /// All classes of the set, in its order.
    pub fn all(names: Vec<String>) -> Self {
        let relabel = (0..names.len() as u32).map(Some).collect();
        Self { names, relabel }
    }

    /// The set's classes that are kept: the `chosen` ones in that order, or all but the `excluded` ones in the set's order.
    ///
    /// # Errors
    /// A fault for each entry that names no class or one already named, with the nearest names.
    pub fn pick(
        all: Vec<String>,
        chosen: Option<&[ClassRef]>,
        excluded: Option<&[ClassRef]>,
    ) -> Result<Self, Vec<Fault>> {
        let kept = match (chosen, excluded) {
            (Some(chosen), _) => indices(&all, chosen, "data.classes")?,
            (None, Some(excluded)) => {
                let key = "data.exclude_classes";
                let excluded = indices(&all, excluded, key)?;
                let kept = (0..all.len()).filter(|class| !excluded.contains(class));
                let kept: Vec<usize> = kept.collect();
                if kept.is_empty() {
                    let message =
                        format!("got all {} classes, expected some to be left", all.len());
                    return Err(vec![Fault::new(key, message)]);
                }
                kept
            }
            (None, None) => return Ok(Self::all(all)),
        };
        let mut relabel = vec![None; all.len()];
        for (label, class) in kept.iter().enumerate() {
            relabel[*class] = Some(label as u32);
        }
        let names = kept.iter().map(|class| all[*class].clone()).collect();
        Ok(Self { names, relabel })
    }

    /// The new label of a label of the files, or none where its class is left out.
    ///
    /// # Errors
    /// The label is null, negative or not below the number of classes.
    pub fn relabel(&self, label: Option<i64>) -> Result<Option<u32>, String> {
        let num_classes = self.relabel.len();
        match label {
            None => Err("label is null, expected an integer".to_string()),
            Some(label) if label < 0 => Err(format!(
                "label {label} is negative, expected 0 to {}",
                num_classes - 1
            )),
            Some(label) => self.relabel.get(label as usize).copied().ok_or_else(|| {
                let last = num_classes - 1;
                format!(
                    "label {label} is out of range, expected 0 to {last} ({num_classes} classes)"
                )
            }),
        }
    }
}

/// The classes that a list names, each once.
fn indices(all: &[String], list: &[ClassRef], key: &str) -> Result<Vec<usize>, Vec<Fault>> {
    if list.is_empty() {
        let message = "got an empty list, expected at least one class; remove the key to keep all";
        return Err(vec![Fault::new(key, message)]);
    }
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for (position, class) in list.iter().enumerate() {
        let index = find(all, class).and_then(|index| {
            match found.iter().position(|earlier| *earlier == Some(index)) {
                Some(earlier) => Err(format!(
                    "class \"{}\" is already at position {earlier}; remove one",
                    all[index]
                )),
                None => Ok(index),
            }
        });
        if let Err(message) = &index {
            faults.push(Fault::new(format!("{key}[{position}]"), message));
        }
        found.push(index.ok());
    }
    unless(faults, found.into_iter().flatten().collect())
}

fn find(all: &[String], class: &ClassRef) -> Result<usize, String> {
    match class {
        ClassRef::Index(index) if (*index as usize) < all.len() => Ok(*index as usize),
        ClassRef::Index(index) => {
            let last = all.len().saturating_sub(1);
            Err(format!(
                "no class {index}, expected 0 to {last} ({} classes)",
                all.len()
            ))
        }
        ClassRef::Name(name) => all.iter().position(|n| n == name).ok_or_else(|| {
            format!(
                "unknown class \"{}\" ({})",
                visible(name),
                visible(&suggestions(all, name))
            )
        }),
    }
}

/// The nearest name where one is near enough, and the names there are, as far as they fit.
fn suggestions(all: &[String], name: &str) -> String {
    let nearest = all
        .iter()
        .map(|candidate| {
            (
                strsim::normalized_damerau_levenshtein(candidate, name),
                candidate,
            )
        })
        .filter(|(similarity, _)| *similarity > 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| format!("nearest: {candidate}; "))
        .unwrap_or_default();
    format!("{nearest}have: {}", listed(all))
}

/// The first names, and how many more.
fn listed(all: &[String]) -> String {
    let listed = all[..all.len().min(MAX_NAMES)].join(", ");
    match all.len().saturating_sub(MAX_NAMES) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["airplane", "bird", "cat", "dog"]
            .map(String::from)
            .to_vec()
    }

    fn name(text: &str) -> ClassRef {
        ClassRef::Name(text.to_string())
    }

    #[test]
    fn the_choice_orders_and_relabels() {
        let chosen = [name("dog"), ClassRef::Index(1)];
        let classes = Classes::pick(names(), Some(&chosen), None).unwrap();
        assert_eq!(classes.names, ["dog", "bird"]);
        assert_eq!(classes.relabel(Some(3)), Ok(Some(0)));
        assert_eq!(classes.relabel(Some(1)), Ok(Some(1)));
        assert_eq!(classes.relabel(Some(0)), Ok(None));
    }

    #[test]
    fn without_a_choice_labels_stay() {
        let classes = Classes::pick(names(), None, None).unwrap();
        assert_eq!(classes.relabel(Some(2)), Ok(Some(2)));
    }

    #[test]
    fn labels_outside_the_classes_are_refused() {
        let classes = Classes::pick(names(), Some(&[name("dog")]), None).unwrap();
        assert!(classes.relabel(None).unwrap_err().contains("null"));
        assert!(
            classes
                .relabel(Some(-1))
                .unwrap_err()
                .contains("label -1 is negative")
        );
        let error = classes.relabel(Some(4)).unwrap_err();
        assert_eq!(
            error,
            "label 4 is out of range, expected 0 to 3 (4 classes)"
        );
    }

    #[test]
    fn every_wrong_choice_is_named() {
        let chosen = [
            name("dgo"),
            ClassRef::Index(9),
            name("cat"),
            ClassRef::Index(2),
        ];
        let faults = Classes::pick(names(), Some(&chosen), None).unwrap_err();
        assert_eq!(faults.len(), 3);
        assert_eq!(faults[0].path, "data.classes[0]");
        assert!(
            faults[0]
                .message
                .contains("nearest: dog; have: airplane, bird"),
            "{}",
            faults[0]
        );
        assert_eq!(faults[1].message, "no class 9, expected 0 to 3 (4 classes)");
        assert_eq!(faults[2].path, "data.classes[3]");
        assert!(
            faults[2]
                .message
                .contains("\"cat\" is already at position 2"),
            "{}",
            faults[2]
        );
    }

    #[test]
    fn a_file_with_names_of_its_own_is_read_by_them() {
        let own = |all: &[&str]| all.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let some = own(&["dog", "bird"]);
        let by_name = Translation::new(Some(&some), &names()).unwrap();
        assert_eq!(by_name.label(Some(0)), Ok(Some(3)));
        assert_eq!(by_name.label(None), Ok(None));
        let error = by_name.label(Some(2)).unwrap_err();
        assert!(
            error.contains("label 2 is out of range, expected 0 to 1"),
            "{error}"
        );
        let others = own(&["dog", "emu"]);
        let error = Translation::new(Some(&others), &names()).err().unwrap();
        assert!(error.ends_with("it alone has emu"), "{error}");
        let twice = own(&["a", "b", "a"]);
        let turned = own(&["a", "a", "b"]);
        assert!(Translation::new(Some(&turned), &twice).is_err());
        for same in [Some(&names()[..]), None] {
            assert_eq!(
                Translation::new(same, &names()).unwrap().label(Some(9)),
                Ok(Some(9))
            );
        }
    }

    #[test]
    fn an_empty_choice_is_a_fault() {
        let faults = Classes::pick(names(), Some(&[]), None).unwrap_err();
        assert_eq!(faults[0].path, "data.classes");
        let faults = Classes::pick(names(), None, Some(&[])).unwrap_err();
        assert_eq!(faults[0].path, "data.exclude_classes");
    }

    #[test]
    fn excluded_classes_leave_the_others_in_their_order() {
        let excluded = [name("cat"), ClassRef::Index(0)];
        let classes = Classes::pick(names(), None, Some(&excluded)).unwrap();
        assert_eq!(classes.names, ["bird", "dog"]);
        let labels = [0, 1, 2, 3].map(|label| classes.relabel(Some(label)).unwrap());
        assert_eq!(labels, [None, Some(0), None, Some(1)]);
        let wrong = [name("dgo"), name("cat"), name("cat")];
        let faults = Classes::pick(names(), None, Some(&wrong)).unwrap_err();
        assert_eq!(faults[0].path, "data.exclude_classes[0]");
        assert!(faults[0].message.contains("nearest: dog"), "{}", faults[0]);
        assert_eq!(faults[1].path, "data.exclude_classes[2]");
        let all = names().iter().map(|n| name(n)).collect::<Vec<_>>();
        let faults = Classes::pick(names(), None, Some(&all)).unwrap_err();
        assert_eq!(
            faults[0].message,
            "got all 4 classes, expected some to be left"
        );
    }
}
