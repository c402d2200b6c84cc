//! What every kind shares: a name, and options that a schema explains.

use serde_json::Value;

use crate::{Result, ensure};

/// Whether a name has lower-case letters, digits and single dashes, a letter first.
pub fn is_kebab_case(name: &str) -> bool {
    let part = |p: &str| {
        !p.is_empty()
            && p.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.split('-').all(part)
}

/// Checks the name of a component of a kind.
///
/// # Errors
/// When it is not in kebab case.
pub fn verify_name(kind: &str, name: &str) -> Result<()> {
    ensure!(
        is_kebab_case(name),
        "the {kind} name \"{name}\" is not in kebab case: lower-case letters, digits and single dashes (as in \"bn-stats\")"
    );
    Ok(())
}

/// Checks the JSON schema of a component's options.
///
/// # Errors
/// When it is not that of a table, or a field has no description.
pub fn verify_schema(schema: &Value) -> Result<()> {
    ensure!(
        schema["type"] == "object",
        "expected the schema of a table; derive JsonSchema on a struct with named fields"
    );
    for (field, property) in schema["properties"].as_object().into_iter().flatten() {
        let described = property["description"]
            .as_str()
            .is_some_and(|text| !text.trim().is_empty());
        ensure!(
            described,
            "field \"{field}\" has no description; add a doc comment to it"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_without_documentation_are_named() {
        let schema = |property: Value| json!({"type": "object", "properties": {"gamma": property}});
        assert!(verify_schema(&schema(json!({"description": "how steep"}))).is_ok());
        let error = verify_schema(&schema(json!({"type": "number"})))
            .unwrap_err()
            .to_string();
        assert!(error.contains("\"gamma\""), "{error}");
        assert!(verify_schema(&json!({"type": "string"})).is_err());
    }
}
