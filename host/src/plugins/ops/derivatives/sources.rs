//! The engine's functions that plugins do not call by number: each is checked by name in its own file, or has a reason.

use std::path::Path;

use plugin_api::tensor::Operation;

/// Public functions of the engine's operations that give tensors, but no derivative of their own.
const WITHOUT: [(&str, &str); 2] = [
    ("scalar_like", "a constant"),
    ("moved", "records what its callers computed"),
];

/// Functions of one file that give tensors: their names are what follows `fn` in a public signature.
fn functions(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let heads = code.split("pub fn ").skip(1);
    let heads = heads.chain(code.split("pub(crate) fn ").skip(1));
    let gives_tensors = |head: &&str| {
        let signature = head.split('{').next().unwrap_or_default();
        let result = signature.rsplit("->").next().unwrap_or_default();
        result.contains("Tensor") || result.contains("Output")
    };
    let name = |head: &str| {
        let end = head.find(|c: char| !c.is_alphanumeric() && c != '_');
        head[..end.unwrap_or(head.len())].to_owned()
    };
    heads.filter(gives_tensors).map(name).collect()
}

#[test]
fn every_function_of_the_engine_is_checked_against_finite_differences() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/src/ops");
    let texts: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let numbered: Vec<String> = Operation::rows()
        .map(|row| row.name.replace('_', ""))
        .collect();
    let mut found = 0;
    for name in texts.iter().flat_map(|text| functions(text)) {
        found += 1;
        let by_number = numbered.contains(&name.replace('_', ""));
        let excused = WITHOUT.iter().any(|(other, _)| *other == name);
        let calls = [
            format!("check(\"{name}\""),
            format!("check_first(\"{name}\""),
        ];
        let by_name = texts
            .iter()
            .any(|text| calls.iter().any(|call| text.contains(call)));
        assert!(
            by_number || excused || by_name,
            "{name} of engine/ops has no operation number, no check(\"{name}\", ..) and no reason to have none"
        );
    }
    assert!(
        found > 60,
        "only {found} functions were found: has their form changed?"
    );
}

#[test]
fn functions_are_found_by_their_results() {
    let text = "pub fn relu(&self) -> Result<Tensor> {\n}\nfn own() -> Result<Tensor> {\n}\npub(crate) fn gate(&self, by: &Value) -> \
                Result<(Tensor, Tensor)> {\n}\npub fn shape(x: &Tensor) -> Vec<usize> {\n}\n#[cfg(test)]\npub fn ramp() -> Tensor {}";
    assert_eq!(functions(text), ["relu", "gate"]);
}
