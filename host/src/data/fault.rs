//! One error in a configuration, with its key.

/// How many faults of one kind are spelled out before the rest is only counted.
const MAX_LISTED: usize = 8;

/// Something wrong in an experiment's `[data]` table or in the files that it names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Fault {
    /// The key's path in the TOML file, `data.train` for example.
    pub path: String,
    /// What was found, what was expected, and how to mend it where that is known.
    pub message: String,
}

impl Fault {
    /// A fault of the key at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }

    /// Faults of one key and one kind: the first few in full, then how many more there are.
    pub(super) fn listed(path: &str, messages: Vec<String>) -> Vec<Fault> {
        let more = messages.len().saturating_sub(MAX_LISTED);
        let mut faults: Vec<Fault> = messages
            .into_iter()
            .take(MAX_LISTED)
            .map(|message| Fault::new(path, message))
            .collect();
        if more > 0 {
            faults.push(Fault::new(path, format!("and {more} more of this kind")));
        }
        faults
    }
}

/// All values, or the faults of one key.
pub(super) fn gather<T>(results: Vec<Result<T, Fault>>) -> Result<Vec<T>, Vec<Fault>> {
    let (mut values, mut messages, mut path) = (Vec::new(), Vec::new(), String::new());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(fault) => {
                path = fault.path;
                messages.push(fault.message);
            }
        }
    }
    unless(Fault::listed(&path, messages), values)
}

/// The value, unless there are faults.
pub(super) fn unless<T, F>(faults: Vec<F>, value: T) -> Result<T, Vec<F>> {
    match faults.is_empty() {
        true => Ok(value),
        false => Err(faults),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_key_and_message() {
        let fault = Fault::new("data.train", "no file \"a\"");
        assert_eq!(fault.to_string(), "data.train: no file \"a\"");
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        let messages: Vec<String> = (0..11).map(|i| format!("row {i}")).collect();
        let faults = Fault::listed("data.test", messages);
        assert_eq!(faults.len(), MAX_LISTED + 1);
        assert_eq!(faults[7].message, "row 7");
        assert_eq!(faults[8].message, "and 3 more of this kind");
        let exact = (0..MAX_LISTED).map(|i| i.to_string()).collect();
        assert_eq!(Fault::listed("data.test", exact).len(), MAX_LISTED);
    }
}
