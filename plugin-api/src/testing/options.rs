//! What every kind shares: a name, options that parse, and a schema that explains them.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    Context as _, Error, ErrorKind, Result,
    abi::RComponent,
    bail,
    component::{Serve, create, schema_json},
    contract::{verify_name, verify_schema},
    ensure,
    schemars::JsonSchema,
};

/// What makes components of one type from options, as the entry of a plugin does.
pub(super) struct Maker<T> {
    what: &'static str,
    serve: Serve<T>,
    options: Value,
}

impl<T: DeserializeOwned + JsonSchema + Send + Sync + 'static> Maker<T> {
    /// Checks name, options and schema.
    pub(super) fn check(
        what: &'static str,
        name: &str,
        options: Value,
        serve: Serve<T>,
    ) -> Result<Self> {
        verify_name(what, name)?;
        let maker = Self {
            what,
            serve,
            options,
        };
        maker.make().context("options")?;
        let schema = serde_json::from_str(&schema_json::<T>().into_result()?)?;
        verify_schema(&schema).context("options")?;
        maker.refuses_unknown_fields().context("options")?;
        Ok(maker)
    }

    /// A component.
    pub(super) fn make(&self) -> Result<RComponent> {
        self.make_from(&self.options)
    }

    fn make_from(&self, options: &Value) -> Result<RComponent> {
        ensure!(options.is_object(), "expected a JSON object, got {options}");
        create(options.to_string().as_str().into(), self.what, self.serve).into_result()
    }

    fn refuses_unknown_fields(&self) -> Result<()> {
        let mut options = self.options.clone();
        options["no_such_field"] = json!(1);
        match self.make_from(&options) {
            Ok(_) => {
                bail!("an unknown field is accepted silently; add #[serde(deny_unknown_fields)]")
            }
            Err(e) if e.kind() == ErrorKind::CONFIG && e.message().contains("no_such_field") => {
                Ok(())
            }
            Err(e) => Err(Error::msg(format!(
                "an unknown field gives an error that does not name it: {e}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{Loss, LossInput, serve};
    use crate::prelude::*;

    /// A documented loss.
    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Good {
        /// What it is multiplied with.
        #[serde(default)]
        scale: f64,
    }

    #[derive(Deserialize, JsonSchema)]
    struct Lax {}

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Terse {
        #[allow(dead_code)] // only its schema matters
        scale: f64,
    }

    impl Loss for Good {
        fn forward(&self, x: &LossInput<'_>) -> Result<Tensor> {
            x.logits.affine(self.scale, 0.)?.mean_all()
        }
    }

    impl Loss for Lax {
        fn forward(&self, x: &LossInput<'_>) -> Result<Tensor> {
            x.logits.mean_all()
        }
    }

    impl Loss for Terse {
        fn forward(&self, x: &LossInput<'_>) -> Result<Tensor> {
            x.logits.mean_all()
        }
    }

    fn error<T: Loss + DeserializeOwned + JsonSchema>(name: &str, options: Value) -> String {
        Maker::<T>::check("loss", name, options, serve::<T>)
            .err()
            .map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn good_options_pass() {
        assert_eq!(error::<Good>("focal-2", json!({ "scale": 2. })), "");
    }

    #[test]
    fn names_are_kebab_case() {
        for name in ["Focal", "focal_loss", "-focal", "focal--loss", "", "2focal"] {
            let text = error::<Good>(name, json!({}));
            assert!(text.contains("kebab case"), "{name}: {text}");
        }
    }

    #[test]
    fn faults_of_options_are_told() {
        assert!(error::<Good>("x", json!({ "scale": "two" })).starts_with("options: invalid type"));
        assert!(error::<Good>("x", json!([1])).contains("expected a JSON object, got [1]"));
        assert!(error::<Lax>("x", json!({})).contains("deny_unknown_fields"));
        let text = error::<Terse>("x", json!({ "scale": 1. }));
        assert_eq!(
            text,
            "options: field \"scale\" has no description; add a doc comment to it"
        );
    }
}
