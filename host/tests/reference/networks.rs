//! Shipped networks, loss and regularizers against PyTorch, through the plugin boundary: values, gradients, and gradients of gradients.
//!
//! `reference/make_reference.py` says how every tensor is filled and what each value is.

use std::{collections::BTreeMap, env, process::Command};

use crate::case::{Case, DOUBLE, SINGLE, check_all, instructions, numbers};
use crate::support::{
    network::{FilledNetwork, derivatives, shipped_plugins},
    skipped,
};
use alambic::{engine::kernel::isa::Isa, plugins::Registry};
use candle_core::DType;
use plugin_api::{
    Result,
    architecture::InputShape,
    regularizer::{BatchNormInput, Regularizer, RegularizerInput},
    tensor::BatchNormMode,
};
use serde_json::{Value as Json, json};

/// What recover does with a teacher: logits, loss, each penalty, their sum, its gradient by the images.
fn check_forward(registry: &Registry, case: &mut Case) -> Result<()> {
    let net = case.network(registry)?;
    check_declaration(&net, case);
    let x = net.images(case.images())?.leaf()?;
    let pass = net.forward(&net.params, &x, BatchNormMode::RECOVER)?;
    case.value("logits", &pass.logits)?;
    let ce = net.cross_entropy(&pass)?;
    case.value("ce", &ce)?;

    let batch_norms = net.batch_norms(&pass);
    let penalty = |name: &str, options: Json, batch_norms: &[BatchNormInput]| {
        let regularizer = registry.create_regularizer(name, &options);
        let regularizer = regularizer.unwrap_or_else(|error| panic!("{error}"));
        regularizer.forward(&RegularizerInput {
            batch_norms,
            features: &pass.features,
            ..RegularizerInput::new(&x, &net.ctx)
        })
    };
    let expected = numbers(&case.expected["bn"]);
    case.equal("number of bn", batch_norms.len(), expected.len());
    for (norm, expected) in batch_norms.iter().zip(expected) {
        let alone = std::slice::from_ref(norm);
        let got = penalty("bn-stats", json!({"first_layer": 1.0}), alone)?;
        case.near("bn", &got.to_vec_f64()?, &[expected], case.precision.value);
    }
    for key in ["tv_l1", "tv_l2", "l2"] {
        case.value(key, &penalty("image-prior", json!({key: 1.0}), &[])?)?;
    }

    let prior = json!({"tv_l2": 1e-4, "l2": 1e-5});
    let mut total = (ce + penalty("image-prior", prior, &batch_norms)?)?;
    if !batch_norms.is_empty() {
        total = (total + (penalty("bn-stats", json!({}), &batch_norms)? * 0.01)?)?;
    }
    case.value("total", &total)?;
    let by_images = &derivatives(&total, &[&x], false)?[0];
    case.gradient(["grad_norm", "grad_head"], by_images)
}

fn check_declaration(net: &FilledNetwork, case: &mut Case) {
    let declared = net.spec.params.iter();
    let got: BTreeMap<String, Vec<usize>> = declared
        .map(|p| (p.name.clone(), p.shape.clone()))
        .collect();
    let expected = serde_json::from_value(case.expected["state"].clone()).expect("shapes by name");
    case.equal("state", got, expected);
    let sizes = net
        .learned()
        .into_iter()
        .map(|i| net.params[i].elem_count());
    let parameters = case.number("parameters") as usize;
    case.equal("parameters", sizes.sum(), parameters);
}

fn check_second_order(registry: &Registry, case: &mut Case) -> Result<()> {
    if case.expected["steps"].is_null() {
        check_gradient_matching(registry, case)
    } else {
        check_trajectory_matching(registry, case)
    }
}

/// The distance of the parameters' gradients to given ones (DC's, row by row), and its derivative by the images.
fn check_gradient_matching(registry: &Registry, case: &mut Case) -> Result<()> {
    let net = case.network(registry)?;
    let x = net.images(case.images())?.leaf()?;
    let mut distance = net.ctx.tensor(&[0.], &[])?;
    for (i, g) in net
        .learned()
        .into_iter()
        .zip(net.gradients(&net.leaves()?, &x)?)
    {
        if g.rank() == 1 {
            continue;
        }
        let (g, target) = (g.flatten_from(1)?, net.target(i)?.flatten_from(1)?);
        let norms = (g.norm(&[1])? * target.norm(&[1])?)?;
        let cosine = ((g * target)?.sum(&[1])? / (norms + 1e-6)?)?;
        distance = (distance + cosine.affine(-1., 1.)?.sum_all()?)?;
    }
    case.value("gradient_matching", &distance)?;
    let by_images = &derivatives(&distance, &[&x], false)?[0];
    case.gradient(["dx_norm", "dx_head"], by_images)
}

/// The distance to given parameters after unrolled steps of gradient descent, and its derivative by images and learning rate.
fn check_trajectory_matching(registry: &Registry, case: &mut Case) -> Result<()> {
    let net = case.network(registry)?;
    let x = net.images(case.images())?.leaf()?;
    let lr = net.ctx.tensor(&[case.number("lr")], &[])?.leaf()?;
    let mut params = net.leaves()?;
    for _ in 0..case.number("steps") as usize {
        params = net.descend(&params, &x, &lr)?;
    }
    let zero = net.ctx.tensor(&[0.], &[])?;
    let (mut left, mut way) = (zero.clone(), zero);
    for i in net.learned() {
        let target = (&net.params[i] + (net.target(i)? * 0.01)?)?;
        left = (left + (&params[i] - &target)?.sqr()?.sum_all()?)?;
        way = (way + (&net.params[i] - &target)?.sqr()?.sum_all()?)?;
    }
    let distance = (left / way)?;
    case.value("trajectory_matching", &distance)?;
    let found = derivatives(&distance, &[&x, &lr], false)?;
    case.gradient(["dx_norm", "dx_head"], &found[0])?;
    let by_lr = found[1].to_vec_f64()?;
    let (expected, tolerance) = ([case.number("dlr")], case.precision.gradient);
    case.near("dlr", &by_lr, &expected, tolerance);
    Ok(())
}

#[test]
fn networks_in_double_precision() {
    check_all("forward", DOUBLE, check_forward);
}

#[test]
fn networks_in_single_precision() {
    check_all("forward", SINGLE, check_forward);
}

#[test]
fn matching_in_double_precision() {
    check_all("second_order", DOUBLE, check_second_order);
}

#[test]
fn matching_in_single_precision() {
    check_all("second_order", SINGLE, check_second_order);
}

/// The kernels are chosen once in a process, so that each narrower set of instructions needs one of its own.
#[test]
fn single_precision_on_narrower_instructions() {
    for isa in Isa::ALL.into_iter().filter(|isa| *isa < Isa::widest()) {
        if !isa.is_available() {
            let what = format!("single precision by {}", isa.name());
            skipped(&what, "the processor has no such instructions");
            continue;
        }
        let tests = [
            "networks::networks_in_single_precision",
            "networks::matching_in_single_precision",
        ];
        let mut child = Command::new(env::current_exe().expect("a test is a file"));
        child.args(tests).args(["--exact", "--nocapture"]);
        let output = child.env("ALAMBIC_ISA", isa.name()).output();
        let output = output.expect("this test starts again");
        let said = [output.stdout, output.stderr].map(|o| String::from_utf8_lossy(&o).into_owned());
        let said = said.concat();
        println!("{said}");
        assert!(output.status.success(), "{}: {said}", isa.name());
        for part in ["2 passed", &instructions(isa)] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
    }
}

/// A step of training, twice, on the device of the tests: loss and every gradient to the bit.
#[test]
fn a_step_gives_the_same_bits_again() {
    let registry = shipped_plugins();
    let input = InputShape {
        channels: 3,
        height: 32,
        width: 32,
        classes: 10,
    };
    let options = json!({"depth": 18, "stem": "small", "width": 16});
    let network = FilledNetwork::new(&registry, ("resnet", &options), input, DType::F32, 1.0);
    let network = network.expect("a network");
    let step = || -> Result<Vec<Vec<f64>>> {
        let params = network.leaves()?;
        let pass = network.forward(&params, &network.images(16)?, BatchNormMode::TRAIN)?;
        let loss = network.cross_entropy(&pass)?;
        let learned: Vec<_> = network.learned().iter().map(|&i| &params[i]).collect();
        let mut made = derivatives(&loss, &learned, false)?;
        made.push(loss);
        made.iter().map(|t| t.to_vec_f64()).collect()
    };
    let (first, again) = (step().expect("a step"), step().expect("a step"));
    assert!(first.iter().flatten().any(|v| *v != 0.));
    assert_eq!(first, again);
}
