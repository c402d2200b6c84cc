//! The shipped matchers against PyTorch, on the engine and through the plugin boundary: losses, gradients, and memory.
//!
//! `reference/make_reference.py` and `reference/make_matching.py` say how every tensor is filled and what each value is.

use std::sync::Arc;

use crate::case::{Case, DOUBLE, SINGLE, check_all, numbers};
use crate::support::network::FilledNetwork;
use alambic::plugins::Registry;
use plugin_api::{
    Ctx, Error, Result, Tensor,
    architecture::{ForeignModule, Module},
    matcher::{Lab, Matched, Network, Synthetic},
    nn::{ModuleSpec, Params},
    testing,
};
use serde_json::{Value as Json, json};

/// Images of a synthetic set of the reference.
const IMAGES: usize = 4;

/// How far an expert goes from its first epoch to any later one.
const WAY: f64 = 0.01;

/// A lab around a network that is filled by name.
struct ReferenceLab {
    case: Json,
    precision: crate::case::Precision,
    /// Let the matcher see all images as of class 0, and real images' gradients as those given.
    disguised: bool,
}

/// A network whose loss on one image has a given gradient, and whose logits of four images are told as if all were of class 0.
struct Disguised {
    inner: ForeignModule,
    spec: ModuleSpec,
    targets: Vec<Tensor>,
    params: Vec<Tensor>,
}

impl Module for Disguised {
    fn forward(&self, params: &Params, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let classes = 10;
        if x.dim(0)? == IMAGES {
            let logits = self.inner.forward(params, x, ctx)?;
            // Image i of class i: columns 0 and i change places.
            let column = |image: usize, at: usize| match at {
                0 => image as u32,
                at if at == image => 0,
                at => at as u32,
            };
            let index: Vec<u32> = (0..IMAGES)
                .flat_map(|image| (0..classes).map(move |at| column(image, at)))
                .collect();
            return logits.gather(&ctx.indices(&index, &[IMAGES, classes])?, 1);
        }
        // With logits (c s, 0, .., 0) at s = 0 and label 0 the loss has the derivative c (1/K - 1) by s.
        let mut s = ctx.tensor(&[0.], &[])?;
        let learned = self.spec.params.iter().zip(params.tensors());
        for (((spec, param), target), value) in learned.zip(&self.targets).zip(&self.params) {
            if spec.trainable {
                s = (s + ((param - value)? * target)?.sum_all()?)?;
            }
        }
        let slope = 1. / (1. / classes as f64 - 1.);
        let rest = ctx.tensor(&vec![0.; classes - 1], &[1, classes - 1])?;
        Tensor::cat(&[&(s.reshape(&[1, 1])? * slope)?, &rest], 1)
    }
}

impl ReferenceLab {
    fn filled(&self) -> Result<FilledNetwork> {
        let case = Case::new(self.case.clone(), self.precision);
        case.network(&crate::support::network::shipped_plugins())
    }
}

impl Lab for ReferenceLab {
    fn real(&self, class: u32, count: usize, _draw: u64) -> Result<Tensor> {
        let net = self.filled()?;
        if self.disguised {
            return net.images(1);
        }
        let dims = [count, 3, 32, 32];
        let values = testing::uniform_by_name(&format!("real.{class}"), dims.iter().product());
        net.ctx.tensor(&values, &dims)? * 1.5
    }

    fn augment(&self, images: &Tensor, _each: bool, _draw: u64) -> Result<Tensor> {
        Ok(images.clone())
    }

    fn network(&self) -> Result<Network> {
        let net = self.filled()?;
        let targets: Result<Vec<Tensor>> = (0..net.params.len()).map(|i| net.target(i)).collect();
        let (spec, params) = (net.spec.clone(), net.params.clone());
        let inner = net.into_module();
        if !self.disguised {
            return Ok(Network {
                module: inner,
                spec,
            });
        }
        let module = ForeignModule::of(Disguised {
            inner,
            spec: spec.clone(),
            targets: targets?,
            params,
        });
        Ok(Network { module, spec })
    }

    fn initial(&self, _draw: u64) -> Result<Vec<Tensor>> {
        Ok(self.filled()?.params)
    }

    fn expert(&self, _expert: u64, epoch: u64) -> Result<Vec<Tensor>> {
        let net = self.filled()?;
        let way = if epoch == 0 { 0. } else { WAY };
        let moved = net.params.iter().enumerate();
        moved
            .map(|(i, value)| value + (net.target(i)? * way)?)
            .collect::<Result<_, Error>>()
    }
}

/// One iteration of a matcher on the reference's images.
fn matched(
    registry: &Registry,
    case: &Case,
    (matcher, options): (&str, Json),
    classes: Vec<u32>,
) -> Result<Matched> {
    let net = case.network(registry)?;
    let rate = case.expected["lr"].as_f64().unwrap_or(0.01);
    let synthetic = Synthetic {
        images: net.images(IMAGES)?.leaf()?,
        classes,
        labels: None,
        learning_rate: Some(net.ctx.tensor(&[rate], &[])?.leaf()?),
    };
    let lab = ReferenceLab {
        case: case.expected.clone(),
        precision: case.precision,
        disguised: matcher == "gradient",
    };
    let matcher = registry.create_matcher(matcher, &options);
    let matcher = matcher.unwrap_or_else(|error| panic!("{error}"));
    matcher.forward(&synthetic, Arc::new(lab), &net.ctx)
}

fn given(gradient: &Option<Tensor>) -> &Tensor {
    gradient.as_ref().expect("a gradient")
}

fn trajectory(method: &str, steps: f64) -> (&'static str, Json) {
    let options = json!({
        "method": method, "steps": steps as u64, "expert_epochs": 1, "max_start_epoch": 1
    });
    ("trajectory", options)
}

fn check_second_order(registry: &Registry, case: &mut Case) -> Result<()> {
    if case.expected["steps"].is_null() {
        let found = matched(registry, case, ("gradient", json!({})), vec![0; IMAGES])?;
        case.value("gradient_matching", &found.loss)?;
        return case.gradient(["dx_norm", "dx_head"], given(&found.gradients[0]));
    }
    for method in ["mtt", "tesla-exact"] {
        let options = trajectory(method, case.number("steps"));
        let found = matched(registry, case, options, vec![0, 1, 2, 3])?;
        case.value("trajectory_matching", &found.loss)?;
        case.gradient(["dx_norm", "dx_head"], given(&found.gradients[0]))?;
        let tolerance = case.precision.gradient;
        let by_rate = given(&found.gradients[1]).to_vec_f64()?;
        case.near("dlr", &by_rate, &[case.number("dlr")], tolerance);
    }
    Ok(())
}

#[test]
fn second_order_in_double_precision() {
    check_all("second_order", DOUBLE, check_second_order);
}

#[test]
fn second_order_in_single_precision() {
    check_all("second_order", SINGLE, check_second_order);
}

/// The cases of `matching.json` of a kind, as [`Case`]s of a network with a norm.
fn matching(kind: &str) -> Vec<Case> {
    let all: Json = serde_json::from_str(include_str!("matching.json")).expect("JSON");
    let cases = all[kind].as_array().expect("cases").iter();
    assert!(cases.len() > 0, "no case of {kind}");
    let model = |case: &Json| match case["norm"].as_str() {
        Some("batch") => "convnet3-bn",
        _ => "convnet3-in",
    };
    cases
        .map(|case| {
            let mut whole = case.clone();
            whole["model"] = json!(model(case));
            whole["input"] = json!([IMAGES, 3, 32, 32]);
            whole["classes"] = json!(10);
            Case::new(whole, DOUBLE)
        })
        .collect()
}

#[test]
fn distribution_matching_is_pytorchs() {
    let registry = crate::support::network::shipped_plugins();
    for mut case in matching("distribution") {
        let options = ("distribution", json!({"real_per_class": 5}));
        let found = matched(&registry, &case, options, vec![0, 1, 0, 1]).unwrap();
        case.value("loss", &found.loss).unwrap();
        let gradient = given(&found.gradients[0]);
        case.gradient(["dx_norm", "dx_head"], gradient).unwrap();
        case.assert_fine();
    }
}

#[test]
fn tesla_is_pytorchs_with_constant_parameters_and_has_the_loss_of_mtt() {
    let registry = crate::support::network::shipped_plugins();
    for mut case in matching("tesla") {
        let of = |method| {
            let options = trajectory(method, case.number("steps"));
            matched(&registry, &case, options, vec![0, 1, 2, 3]).unwrap()
        };
        let (found, mtt) = (of("tesla"), of("mtt"));
        case.value("loss", &found.loss).unwrap();
        let gradient = given(&found.gradients[0]);
        case.gradient(["dx_norm", "dx_head"], gradient).unwrap();
        let by_rate = given(&found.gradients[1]).to_vec_f64().unwrap();
        case.near("dlr", &by_rate, &numbers(&case.expected["dlr"]), 1e-9);
        let losses = [&found.loss, &mtt.loss].map(|l| l.to_vec_f64().unwrap());
        case.near("loss of mtt", &losses[0], &losses[1], 1e-6);
        if case.number("steps") == 1. {
            let all = |m: &Matched| given(&m.gradients[0]).to_vec_f64().unwrap();
            case.near("gradient of mtt", &all(&found), &all(&mtt), 1e-9);
        }
        case.assert_fine();
    }
}
