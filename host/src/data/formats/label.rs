//! A label as files write it, and the class that it means.

use std::collections::HashMap;

use crate::data::classes::Translation;

/// A label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// The number of a class.
    Number(i64),
    /// The name of a class.
    Name(String),
}

impl Label {
    /// A number, also one like `1.0` or `"1"`; anything else is a name.
    pub fn of(text: &str) -> Self {
        let text = text.trim().trim_matches('"');
        let number = text.parse().ok();
        let number = number.or_else(|| text.parse().ok().and_then(whole));
        number.map_or_else(|| Self::Name(text.to_owned()), Self::Number)
    }
}

/// A whole number that a float holds exactly.
pub fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0. && value.abs() < 1e15).then_some(value as i64)
}

/// What the labels of a file mean.
pub struct Meaning<'a> {
    by_name: HashMap<&'a str, i64>,
    translation: Translation,
}

impl<'a> Meaning<'a> {
    /// From a file with the classes `own`, where it names any, to a set with the classes `all`.
    ///
    /// # Errors
    /// As [`Translation::new`].
    pub fn new(own: Option<&[String]>, all: &'a [String]) -> Result<Self, String> {
        // Of two classes of one name the first counts.
        let names = all.iter().enumerate().rev();
        let names = names.map(|(i, name)| (name.as_str(), i as i64));
        Ok(Self {
            by_name: names.collect(),
            translation: Translation::new(own, all)?,
        })
    }

    /// The set's class of a label, or none where it is null.
    ///
    /// # Errors
    /// The file has no such class.
    pub fn class(&self, label: Option<&Label>) -> Result<Option<i64>, String> {
        match label {
            None => self.translation.label(None),
            Some(Label::Number(number)) => self.translation.label(Some(*number)),
            Some(Label::Name(name)) => match (self.by_name.get(name.as_str()), Label::of(name)) {
                (Some(class), _) => Ok(Some(*class)),
                (None, Label::Number(number)) => self.translation.label(Some(number)),
                (None, Label::Name(name)) => {
                    let name: String = name.chars().take(40).collect();
                    Err(format!(
                        "got \"{name}\", expected the number or the name of a class"
                    ))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_many_forms() {
        for (text, number) in [("3\n", 3), ("\"3\"", 3), ("3.0", 3), ("-1", -1)] {
            assert_eq!(Label::of(text), Label::Number(number), "{text}");
        }
        for name in ["cat", "3.5", "1e40", "inf", ""] {
            assert_eq!(Label::of(name), Label::Name(name.to_owned()));
        }
    }

    #[test]
    fn a_name_is_looked_up_and_a_number_translated() {
        let all = ["cat", "dog", "cat"].map(String::from);
        let meaning = Meaning::new(None, &all).unwrap();
        let class = |label: Label| meaning.class(Some(&label));
        assert_eq!(class(Label::Name("cat".into())), Ok(Some(0)));
        assert_eq!(class(Label::Number(7)), Ok(Some(7)));
        assert_eq!(class(Label::Name("1.0".into())), Ok(Some(1)));
        assert_eq!(meaning.class(None), Ok(None));
        let error = class(Label::Name("emu".into())).unwrap_err();
        assert_eq!(
            error,
            "got \"emu\", expected the number or the name of a class"
        );
    }
}
