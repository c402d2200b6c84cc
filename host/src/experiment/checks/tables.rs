//! Which tables of an experiment can be combined.

use serde_json::Value as Json;

use crate::{artifact::Stage, data::Fault};

/// Missing tables, and tables that exclude each other.
pub fn faults(json: &Json) -> Vec<Fault> {
    let has = |stage: &Stage| json.get(stage.name()).is_some();
    let mut faults = Vec::new();
    let mut missing = |needed: Stage, stage: Stage| {
        let message = format!("missing table [{needed}], which [{stage}] needs");
        faults.push(Fault::new(needed.name(), message));
    };
    for stage in Stage::ALL.into_iter().filter(has) {
        for group in stage.needs().iter().filter(|group| !group.iter().any(has)) {
            missing(group[0], stage);
        }
    }
    let makers: Vec<Stage> = Stage::MAKERS.into_iter().filter(has).collect();
    let (has_teacher, relabelled) = (has(&Stage::Squeeze), has(&Stage::Relabel));
    if has(&Stage::Validate) && !relabelled && makers == [Stage::Recover] {
        missing(Stage::Relabel, Stage::Validate);
    }
    if json.get("teachers").is_some() && !has_teacher {
        let message = "missing table [squeeze], from which [[teachers]] take what they leave out";
        faults.push(Fault::new(Stage::Squeeze.name(), message));
    }
    if json.pointer("/data/whitening").is_some() && has_teacher {
        let message = "whitening applies only to [experts], [match], [given] and their students; [squeeze] and later stages work \
                       on normalised pixels: remove one of the two";
        faults.push(Fault::new("data.whitening", message));
    }
    if let [first, second, ..] = makers.as_slice() {
        let message =
            format!("both [{second}] and [{first}] make the distilled images; keep only one");
        faults.push(Fault::new(second.name(), message));
    }
    if makers.is_empty() && !has_teacher {
        let message = "nothing to do: expected a table [squeeze], [match] or [given]";
        faults.push(Fault::new("experiment", message));
    }
    if let Some(validate) = json.get(Stage::Validate.name()) {
        faults.extend(epochs(validate, relabelled, has_teacher));
    }
    faults
}

fn epochs(validate: &Json, relabelled: bool, has_teacher: bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    let own = validate.get("epochs").is_some();
    if relabelled && own {
        let message = "students train for relabel.epochs; remove this key";
        faults.push(Fault::new("validate.epochs", message));
    }
    if !relabelled && !own {
        let message =
            "missing, expected the number of epochs of a student, because there is no [relabel]";
        faults.push(Fault::new("validate.epochs", message));
    }
    let controls = validate.get("controls").and_then(Json::as_array);
    let full = controls.is_some_and(|c| c.iter().any(|name| name == "full-data"));
    if full && !has_teacher && validate.pointer("/full_data/epochs").is_none() {
        let message =
            "missing, expected the number of epochs of the control, because there is no [squeeze]";
        faults.push(Fault::new("validate.full_data.epochs", message));
    }
    let unaugmented = controls.is_some_and(|c| c.iter().any(|name| name == "unaugmented"));
    let augment = validate.get("augment").and_then(Json::as_str);
    if unaugmented && !relabelled && augment.is_none_or(|words| words == "none") {
        let message = "the control unaugmented has nothing to leave out; set validate.augment, or remove the control";
        faults.push(Fault::new("validate.controls", message));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(json: Json) -> Vec<String> {
        faults(&json).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn whole_experiments_have_no_fault() {
        for json in [
            json!({"squeeze": {}}),
            json!({"squeeze": {}, "recover": {}, "relabel": {}, "validate": {}}),
            json!({"match": {}, "validate": {"epochs": 1}}),
            json!({"given": {}, "validate": {"epochs": 1}}),
            json!({"squeeze": {}, "match": {}, "relabel": {}, "validate": {}}),
        ] {
            assert_eq!(told(json.clone()), Vec::<String>::new(), "{json}");
        }
    }

    #[test]
    fn what_is_missing_or_double_is_told() {
        for (json, part) in [
            (json!({}), "nothing to do"),
            (
                json!({"recover": {}}),
                "squeeze: missing table [squeeze], which [recover] needs",
            ),
            (
                json!({"squeeze": {}, "relabel": {}}),
                "recover: missing table [recover]",
            ),
            (
                json!({"squeeze": {}, "recover": {}, "validate": {"epochs": 1}}),
                "relabel: missing table [relabel], which [validate] needs",
            ),
            (
                json!({"match": {}, "relabel": {}}),
                "squeeze: missing table [squeeze], which [relabel]",
            ),
            (
                json!({"match": {}, "recover": {}, "squeeze": {}}),
                "keep only one",
            ),
            (
                json!({"match": {}, "validate": {}}),
                "validate.epochs: missing",
            ),
            (
                json!({"match": {}, "squeeze": {}, "relabel": {}, "validate": {"epochs": 1}}),
                "validate.epochs: students train for relabel.epochs",
            ),
            (
                json!({"match": {}, "validate": {"epochs": 1, "controls": ["full-data"]}}),
                "validate.full_data.epochs: missing",
            ),
        ] {
            let all = told(json.clone());
            assert!(
                all.iter().any(|text| text.contains(part)),
                "{json}: {all:?}"
            );
        }
    }
}
