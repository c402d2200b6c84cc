//! Regularizers to try the checks on: good ones, and one for each way to break the contract.

use serde::de::DeserializeOwned;
use serde_json::json;

use super::{check_regularizer, device};
use crate::{contract::verify_regularizer, prelude::*};

macro_rules! regularizer {
    ($(#[$doc:meta])* $name:ident, $needs:expr, |$x:ident| $body:expr) => {
        $(#[$doc])*
        #[derive(Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        struct $name {}

        impl Regularizer for $name {
            fn forward(&self, $x: &RegularizerInput<'_>) -> Result<Tensor> {
                $body
            }

            fn needs(&self) -> Needs {
                $needs
            }
        }
    };
}

fn statistics(x: &RegularizerInput<'_>) -> Result<Tensor> {
    let mut sum = x.view.sqr()?.mean_all()?;
    for norm in x.batch_norms {
        sum = (sum + (&norm.mean - &norm.running_mean)?.norm_all()?)?;
        sum = (sum + (&norm.var - &norm.running_var)?.norm_all()?)?;
    }
    Ok(sum)
}

regularizer! {
    /// BatchNorm statistics.
    Statistics, Needs { batch_norm: true, ..Needs::default() }, |x| statistics(x)
}
regularizer! {
    /// A feature of a name of its own.
    Feature, Needs { features: vec!["layer2".to_owned()], ..Needs::default() }, |x| x.feature("layer2")?.sqr()?.mean_all()
}
regularizer! {
    /// Takes the logarithm of negative pixels.
    Undefined, Needs::default(), |x| x.view.log()?.mean_all()
}
regularizer! {
    /// Uses a feature without asking.
    Unasked, Needs::default(), |x| x.feature("embedding")?.sqr()?.mean_all()
}
regularizer! {
    /// Forgets one of the statistics' gradients.
    Detached, Needs { batch_norm: true, ..Needs::default() }, |x| {
        statistics(x)? + x.batch_norms[1].var.detach()?.sqr()?.mean_all()
    }
}
regularizer! {
    /// Is always 1.
    Nothing, Needs::default(), |x| x.view.ones_like()?.mean_all()
}

fn error<T: Regularizer + DeserializeOwned + JsonSchema>() -> String {
    check_regularizer::<T>("under-test", json!({}))
        .err()
        .map_or_else(String::new, |e| e.to_string())
}

#[test]
fn good_regularizers_pass() {
    assert_eq!(error::<Statistics>(), "");
    assert_eq!(error::<Feature>(), "");
}

#[test]
fn bad_regularizers_are_told() {
    let told = |text: String, part: &str| assert!(text.contains(part), "{text}");
    told(
        error::<Undefined>(),
        "regularizer \"under-test\": the value is NaN",
    );
    told(
        error::<Unasked>(),
        "what needs() requests (no BatchNorm, features: []): the architecture taps no feature",
    );
    told(
        error::<Detached>(),
        "the variance of a BatchNorm of shape [5]: wrong gradient",
    );
    told(error::<Nothing>(), "it does nothing");
}

#[test]
fn a_host_can_check_its_own_objects() {
    verify_regularizer(&Statistics {}, &device(), 1e-6).unwrap();
    assert!(verify_regularizer(&Undefined {}, &device(), 1e-6).is_err());
}
