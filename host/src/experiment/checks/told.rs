//! What the schema finds and what a table's own check finds, each fault told once.

use crate::data::Fault;

/// Faults of the schema, but for those of which a table's own check says more, and then the others.
pub(super) fn told_once(of_schema: Vec<Fault>, others: Vec<Fault>) -> Vec<Fault> {
    let is_said = |fault: &Fault| others.iter().any(|other| says(other, &fault.path));
    let mut told: Vec<Fault> = of_schema.into_iter().filter(|f| !is_said(f)).collect();
    told.extend(others);
    told
}

/// Whether a fault is about a key, or the list that a key is in: `recover.roll: got ..`, or `recover: roll: got ..`.
fn says(fault: &Fault, key: &str) -> bool {
    let inner = fault.message.split_once(": ").map(|(inner, _)| inner);
    let inner = inner.map(|inner| format!("{}.{inner}", fault.path));
    let about = |path: &str| {
        let rest = key.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
    };
    about(&fault.path) || inner.is_some_and(|inner| about(&inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_messages_about_a_key_the_tables_own_is_told() {
        let of_schema = [
            ("squeeze.optimizer.lr", "expected at least 0, got -1"),
            ("squeeze.crop.scale[1]", "expected at most 1, got 2"),
            ("data.mean[0]", "expected at most 1, got 127"),
            ("squeeze.epochs", "expected at least 1, got 0"),
        ];
        let own = [
            ("squeeze.optimizer", "lr: got -1, expected a finite number"),
            ("squeeze.crop", "scale: got [1.0, 2.0], expected two"),
            ("data.mean", "got [127.0, 0.0, 0.0], expected values"),
            ("squeeze.schedule", "epochs: of another table"),
        ];
        let faults = |list: &[(&str, &str)]| -> Vec<Fault> {
            list.iter()
                .map(|&(path, message)| Fault::new(path, message))
                .collect()
        };
        let told = told_once(faults(&of_schema), faults(&own));
        let mut expected = faults(&of_schema[3..]);
        expected.extend(faults(&own));
        assert_eq!(told, expected);
    }
}
