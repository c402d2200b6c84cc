//! Regularizers to try the checks on: good ones, and one for each way to break the contract.

use crate::prelude::*;

macro_rules! regularizer {
    ($(#[$doc:meta])* $name:ident, $needs:expr, |$x:ident| $body:expr) => {
        $(#[$doc])*
        #[derive(Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {}

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
