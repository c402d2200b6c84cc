//! `alambic plugin check`: the contract of every component in a plugin file, on this program's own tensors.

use std::{collections::BTreeMap, fmt, path::Path};

use candle_core::{DType, Device};
use plugin_api::{
    Context as _, ErrorKind, Result, Tensor,
    abi::{Kind, RComponent, caught},
    architecture::ForeignArchitecture,
    canvas::ForeignCanvasHook,
    contract::{
        SMALL, TOLERANCE, verify_architecture, verify_canvas, verify_loss, verify_matcher,
        verify_name, verify_regularizer, verify_relabeler, verify_schema, verify_selector,
    },
    ensure,
    loss::ForeignLoss,
    matcher::ForeignMatcher,
    regularizer::ForeignRegularizer,
    relabeler::ForeignRelabeler,
    selector::ForeignSelector,
};
use serde_json::{Value, json};

use super::{Component, LoadError, Registry, ops::export};
use crate::engine;

/// One check of one component; as text, one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Kind and name of the component.
    pub subject: String,
    /// What was checked.
    pub what: &'static str,
    /// How it went.
    pub outcome: Outcome,
}

/// How a check went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The contract is kept.
    Passed,
    /// It could not be checked, and why.
    Skipped(String),
    /// The contract is broken, and how.
    Failed(String),
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, why) = match &self.outcome {
            Outcome::Passed => ("ok", ""),
            Outcome::Skipped(why) => ("skipped", why.as_str()),
            Outcome::Failed(why) => ("FAILED", why.as_str()),
        };
        write!(f, "{word:<8} {}: {}", self.subject, self.what)?;
        if why.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", why.replace('\n', " "))
        }
    }
}

/// Opens a plugin file and checks each of its components, with the options that `params` has under its name (none by default).
///
/// # Errors
/// When the file cannot be opened as a plugin. What is wrong with a component is in its checks.
pub fn check_file(
    path: &Path,
    params: &BTreeMap<String, Value>,
) -> std::result::Result<Vec<Check>, LoadError> {
    Ok(check_all(&Registry::of_file(path, None)?, params))
}

/// Checks each component, with the options that `params` has under its name (none by default).
pub fn check_all(registry: &Registry, params: &BTreeMap<String, Value>) -> Vec<Check> {
    let none = json!({});
    let checks = registry.components().iter().flat_map(|component| {
        let params = params.get(&component.name).unwrap_or(&none);
        check_component(registry, component, params)
    });
    checks.collect()
}

fn check_component(registry: &Registry, component: &Component, params: &Value) -> Vec<Check> {
    let subject = format!("{} \"{}\"", component.kind.name(), component.name);
    let check = |what: &'static str, outcome: Outcome| Check {
        subject: subject.clone(),
        what,
        outcome,
    };
    let checked = |what, result: Result<()>| {
        let failed = result.err().map(|error| Outcome::Failed(error.to_string()));
        check(what, failed.unwrap_or(Outcome::Passed))
    };
    let mut checks = vec![
        checked(
            "its name is unique and in kebab case",
            name(registry, component),
        ),
        checked(
            "its options are documented",
            verify_schema(&component.schema),
        ),
    ];
    let behaviour = "it keeps its contract";
    match component.create(params) {
        Err(error) if error.kind() == ErrorKind::PANIC => {
            checks.push(checked(behaviour, Err(error)))
        }
        Err(error) => {
            let why = format!("it needs other options than {params}: {error}");
            checks.push(check(behaviour, Outcome::Skipped(why)));
        }
        Ok(made) => {
            let refused = refuses_unknown(component, params);
            checks.push(checked("it rejects unknown options", refused));
            let kept = caught("the check", || verify(component.kind, made));
            checks.push(checked(behaviour, kept));
        }
    }
    checks
}

fn name(registry: &Registry, component: &Component) -> Result<()> {
    verify_name(component.kind.name(), &component.name)?;
    let all = registry.components().iter();
    let same = all.filter(|c| c.kind == component.kind && c.name == component.name);
    ensure!(
        same.count() == 1,
        "the plugin has two components with this kind and name"
    );
    Ok(())
}

fn refuses_unknown(component: &Component, params: &Value) -> Result<()> {
    let mut params = params.clone();
    params["no_such_field"] = json!(1);
    ensure!(
        component.create(&params).is_err(),
        "an unknown field is accepted silently; add #[serde(deny_unknown_fields)]"
    );
    Ok(())
}

fn verify(kind: Kind, made: RComponent) -> Result<()> {
    let device = device()?;
    match kind {
        Kind::LOSS => verify_loss(&ForeignLoss::new(made), &device, TOLERANCE),
        Kind::REGULARIZER => {
            verify_regularizer(&ForeignRegularizer::new(made)?, &device, TOLERANCE)
        }
        Kind::ARCHITECTURE => {
            verify_architecture(&ForeignArchitecture::new(made), &SMALL, &device, TOLERANCE)
        }
        Kind::RELABELER => verify_relabeler(&ForeignRelabeler::new(made), &device, TOLERANCE),
        Kind::MATCHER => verify_matcher(&ForeignMatcher::new(made)?, &device),
        Kind::CANVAS => verify_canvas(&ForeignCanvasHook::new(made), &device),
        Kind::SELECTOR => verify_selector(&ForeignSelector::new(made)?, &device),
        _ => Ok(()),
    }
}

/// An f64 scalar of the engine, beside which the checks make their tensors.
fn device() -> Result<Tensor> {
    engine::Tensor::zeros(&[], DType::F64, &Device::Cpu)
        .map(export)
        .context("a tensor to start from")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_one_line() {
        let check = |outcome| {
            Check {
                subject: "loss \"x\"".to_owned(),
                what: "it keeps its contract",
                outcome,
            }
            .to_string()
        };
        assert_eq!(
            check(Outcome::Passed),
            "ok       loss \"x\": it keeps its contract"
        );
        assert_eq!(
            check(Outcome::Failed("a\nb".to_owned())),
            "FAILED   loss \"x\": it keeps its contract: a b"
        );
    }

    #[test]
    fn checks_run_on_the_engine() {
        let device = device().unwrap();
        assert_eq!(
            (device.shape().len(), device.to_vec_f64().unwrap()),
            (0, vec![0.])
        );
        assert!(crate::plugins::import(&device).is_ok());
    }
}
