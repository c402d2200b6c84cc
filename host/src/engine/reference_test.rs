//! Agreement with PyTorch: ConvNet-3 forward values, losses and input gradients, and second-order matching.
//!
//! `tests/reference/make_reference.py` says how every tensor is filled and what the values are.

use std::collections::BTreeMap;

use candle_core::{DType, Device};
use serde_json::Value as Json;

use super::error::Result;
use super::ops::{BatchNormConfig, BatchNormMode, Conv2dParams, batch_norm, conv2d, group_norm};
use super::{Tensor, backward_free, grad};

fn reference() -> Json {
    serde_json::from_str(include_str!("../../tests/reference/reference.json")).unwrap()
}

fn number(json: &Json) -> f64 {
    json.as_f64().unwrap()
}

fn numbers(json: &Json) -> Vec<f64> {
    match json {
        Json::Array(items) => items.iter().flat_map(numbers).collect(),
        item => vec![number(item)],
    }
}

/// The uniform numbers in [-1, 1) that a name stands for.
fn uniform(name: &str, count: usize) -> Vec<f64> {
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    let draw = |i: usize| {
        let mut z = hash
            .wrapping_add(i as u64)
            .wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f64 / (1u64 << 24) as f64 * 2.0 - 1.0
    };
    (0..count).map(draw).collect()
}

fn filled(name: &str, dims: &[usize], dtype: DType) -> Tensor {
    let fan_in: usize = dims[1..].iter().product();
    let map: Box<dyn Fn(f64) -> f64> = if name == "input" {
        Box::new(|u| 1.5 * u)
    } else if name.ends_with("running_mean") || name.ends_with(".bias") {
        Box::new(|u| 0.1 * u)
    } else if name.ends_with("running_var") {
        Box::new(|u| 1.0 + 0.5 * u)
    } else if dims.len() == 1 {
        Box::new(|u| 1.0 + 0.1 * u)
    } else {
        Box::new(move |u| u * (3.0 / fan_in as f64).sqrt())
    };
    let data = uniform(name, dims.iter().product())
        .into_iter()
        .map(map)
        .collect();
    Tensor::from_vec(data, dims, &Device::Cpu)
        .unwrap()
        .to_dtype(dtype)
        .unwrap()
}

type Parameters = BTreeMap<String, Tensor>;

/// ConvNet-3 of width 128 for 32 x 32 images and 10 classes.
struct ConvNet {
    batch: bool,
    mode: BatchNormMode,
    state: Parameters,
}

impl ConvNet {
    fn new(batch: bool, mode: BatchNormMode, dtype: DType) -> Self {
        let mut state = Parameters::new();
        let mut add = |name: String, dims: &[usize]| {
            let tensor = filled(&name, dims, dtype);
            state.insert(name, tensor);
        };
        for (layer, channels) in [3, 128, 128].into_iter().enumerate() {
            let (conv, norm) = (layer * 4, layer * 4 + 1);
            add(format!("features.{conv}.weight"), &[128, channels, 3, 3]);
            for name in ["bias", "running_mean", "running_var"] {
                add(format!("features.{norm}.{name}"), &[128]);
            }
            add(format!("features.{norm}.weight"), &[128]);
            add(format!("features.{conv}.bias"), &[128]);
        }
        add("classifier.weight".into(), &[10, 2048]);
        add("classifier.bias".into(), &[10]);
        Self { batch, mode, state }
    }

    /// Names of the parameters, and the tensors as leaves.
    fn leaves(&self) -> Parameters {
        let parameters = self
            .state
            .iter()
            .filter(|(name, _)| !name.contains("running"));
        parameters
            .map(|(name, t)| (name.clone(), Tensor::leaf(t.value().clone())))
            .collect()
    }

    /// Logits and each batch normalisation's distance to its running statistics.
    fn forward(&self, parameters: &Parameters, x: &Tensor) -> Result<(Tensor, Vec<Tensor>)> {
        let (mut x, mut distances) = (x.clone(), Vec::new());
        for layer in 0..3 {
            let of = |offset: usize, name: &str| format!("features.{}.{name}", layer * 4 + offset);
            let parameter = |offset: usize, name: &str| &parameters[&of(offset, name)];
            let params = Conv2dParams {
                padding: [1, 1],
                ..Default::default()
            };
            x = conv2d(&x, parameter(0, "weight"), &params)?;
            x = x.add(&parameter(0, "bias").reshape(&[1, 128, 1, 1])?)?;
            let (weight, bias) = (parameter(1, "weight"), parameter(1, "bias"));
            if self.batch {
                let (mean, var) = (
                    &self.state[&of(1, "running_mean")],
                    &self.state[&of(1, "running_var")],
                );
                let config = BatchNormConfig {
                    mode: self.mode,
                    eps: 1e-5,
                    relu: true,
                };
                let out = batch_norm(&x, weight, bias, mean, var, &config, None)?;
                if let (Some(m), Some(v)) = (&out.mean, &out.var) {
                    distances.push(v.sub(var)?.norm_all()?.add(&m.sub(mean)?.norm_all()?)?);
                }
                x = out.y;
            } else {
                x = group_norm(&x, 128, weight, bias, 1e-5, true)?;
            }
            x = x.avg_pool2d([2, 2], [2, 2], [0, 0], true)?;
        }
        let logits = x.flatten_from(1)?.linear(
            &parameters["classifier.weight"],
            Some(&parameters["classifier.bias"]),
        )?;
        Ok((logits, distances))
    }
}

fn cross_entropy(logits: &Tensor) -> Result<Tensor> {
    let [batch, classes] = logits.dims2()?;
    let labels: Vec<u32> = (0..batch).map(|i| (i % classes) as u32).collect();
    let labels = Tensor::from_vec(labels, &[batch, 1], logits.device())?;
    logits.log_softmax(1)?.gather(1, &labels)?.mean_all()?.neg()
}

/// Sum of the Frobenius norms of the differences to four neighbours.
fn total_variation(x: &Tensor) -> Result<Tensor> {
    let cut = |y: usize, x0: usize, h: usize, w: usize| x.narrow(2, y, h)?.narrow(3, x0, w);
    let pairs = [
        (cut(0, 0, 32, 31)?, cut(0, 1, 32, 31)?),
        (cut(0, 0, 31, 32)?, cut(1, 0, 31, 32)?),
        (cut(1, 0, 31, 31)?, cut(0, 1, 31, 31)?),
        (cut(0, 0, 31, 31)?, cut(1, 1, 31, 31)?),
    ];
    let mut sum = x.scalar_like(0.0)?;
    for (a, b) in pairs {
        sum = sum.add(&a.sub(&b)?.norm_all()?)?;
    }
    Ok(sum)
}

/// `‖a - b‖ / ‖b‖` must stay under the tolerance.
fn assert_close(name: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{name}");
    let difference: f64 = got.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum();
    let scale: f64 = expected.iter().map(|b| b * b).sum();
    let error = (difference / scale).sqrt();
    assert!(error < tolerance, "{name}: relative error {error:e}");
}

fn scalar(t: &Tensor) -> Vec<f64> {
    vec![t.to_scalar().unwrap()]
}

fn forward_case(
    key: &str,
    dtype: DType,
    loss_tolerance: f64,
    gradient_tolerance: f64,
) -> Result<()> {
    let all = reference();
    let case = all["forward"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["model"] == key)
        .unwrap();
    let net = ConvNet::new(key.ends_with("bn"), BatchNormMode::Recover, dtype);
    let x = Tensor::leaf(filled("input", &[4, 3, 32, 32], dtype).into_value());
    let (logits, distances) = net.forward(&net.state, &x)?;
    let near = |name: &str, got: &[f64], expected: &Json| {
        assert_close(
            &format!("{key} {name}"),
            got,
            &numbers(expected),
            loss_tolerance,
        );
    };
    near("logits", &logits.to_f64_vec()?, &case["logits"]);
    let ce = cross_entropy(&logits)?;
    near("ce", &scalar(&ce), &case["ce"]);
    let (tv, l2) = (
        total_variation(&x)?,
        x.flatten_from(1)?.norm(&[1], false)?.mean_all()?,
    );
    near("tv_l2", &scalar(&tv), &case["tv_l2"]);
    near("l2", &scalar(&l2), &case["l2"]);
    let mut total = ce
        .add(&tv.affine(1e-4, 0.0)?)?
        .add(&l2.affine(1e-5, 0.0)?)?;
    let got: Vec<f64> = distances.iter().flat_map(scalar).collect();
    assert_eq!(got.len(), if key.ends_with("bn") { 3 } else { 0 });
    if !got.is_empty() {
        near("bn", &got, &case["bn"]);
    }
    for (layer, distance) in distances.iter().enumerate() {
        let weight = if layer == 0 { 0.1 } else { 0.01 };
        total = total.add(&distance.affine(weight, 0.0)?)?;
    }
    near("total", &scalar(&total), &case["total"]);
    let g = backward_free(total, &[&x])?.remove(0).unwrap();
    let near = |name: &str, got: &[f64], expected: &Json| {
        assert_close(
            &format!("{key} {name}"),
            got,
            &numbers(expected),
            gradient_tolerance,
        );
    };
    near("grad_norm", &scalar(&g.norm_all()?), &case["grad_norm"]);
    near("grad_head", &g.to_f64_vec()?[..16], &case["grad_head"]);
    Ok(())
}

#[test]
fn forward_values_and_gradients_in_double_precision() {
    for key in ["convnet3-bn", "convnet3-in"] {
        forward_case(key, DType::F64, 1e-9, 1e-9).unwrap();
    }
}

#[test]
fn forward_values_and_gradients_in_single_precision() {
    for key in ["convnet3-bn", "convnet3-in"] {
        forward_case(key, DType::F32, 1e-4, 1e-3).unwrap();
    }
}

fn check_second(case: &Json, name: &str, loss: &Tensor, dx: &Tensor) {
    let model = case["model"].as_str().unwrap();
    let near = |part: &str, got: &[f64], expected: &Json| {
        assert_close(&format!("{model} {part}"), got, &numbers(expected), 1e-9);
    };
    near(name, &scalar(loss), &case[name]);
    near(
        "dx_norm",
        &scalar(&dx.norm_all().unwrap()),
        &case["dx_norm"],
    );
    near("dx_head", &dx.to_f64_vec().unwrap()[..16], &case["dx_head"]);
}

/// Gradient matching: the derivative, by the images, of the distance of the parameters' gradients to given ones.
fn gradient_matching(case: &Json) -> Result<()> {
    let batch = case["model"].as_str().unwrap().ends_with("bn");
    let net = ConvNet::new(batch, BatchNormMode::Train, DType::F64);
    let x = Tensor::leaf(filled("input", &[4, 3, 32, 32], DType::F64).into_value());
    let parameters = net.leaves();
    let ce = cross_entropy(&net.forward(&parameters, &x)?.0)?;
    let grads = grad(&ce, &parameters.values().collect::<Vec<_>>(), true)?;
    let mut loss = x.scalar_like(0.0)?;
    for ((name, parameter), g) in parameters.iter().zip(grads) {
        if parameter.rank() == 1 {
            continue;
        }
        let target = uniform(&format!("target.{name}"), parameter.elem_count());
        let target = Tensor::from_vec(target, parameter.dims(), x.device())?.flatten_from(1)?;
        let g = g.unwrap().flatten_from(1)?;
        let norms = g.norm(&[1], false)?.mul(&target.norm(&[1], false)?)?;
        let cosine = g
            .mul(&target)?
            .sum(&[1], false)?
            .div(&norms.affine(1.0, 1e-6)?)?;
        loss = loss.add(&cosine.affine(-1.0, 1.0)?.sum_all()?)?;
    }
    let dx = grad(&loss, &[&x], false)?.remove(0).unwrap();
    check_second(case, "gradient_matching", &loss, &dx);
    Ok(())
}

/// Trajectory matching: the derivative, by images and learning rate, through unrolled SGD steps.
fn trajectory_matching(case: &Json) -> Result<()> {
    let net = ConvNet::new(false, BatchNormMode::Train, DType::F64);
    let x = Tensor::leaf(filled("input", &[4, 3, 32, 32], DType::F64).into_value());
    let lr = Tensor::leaf(x.scalar_like(number(&case["lr"]))?.into_value());
    let start = net.leaves();
    let mut theta = start.clone();
    for _ in 0..case["steps"].as_u64().unwrap() {
        let ce = cross_entropy(&net.forward(&theta, &x)?.0)?;
        let grads = grad(&ce, &theta.values().collect::<Vec<_>>(), true)?;
        for (parameter, g) in theta.values_mut().zip(grads) {
            *parameter = parameter.sub(&lr.mul(&g.unwrap())?)?;
        }
    }
    let (mut numerator, mut denominator) = (x.scalar_like(0.0)?, x.scalar_like(0.0)?);
    for (name, parameter) in &theta {
        let shift = uniform(&format!("target.{name}"), parameter.elem_count());
        let shift = Tensor::from_vec(shift, parameter.dims(), x.device())?.affine(0.01, 0.0)?;
        let target = start[name].detach().add(&shift)?;
        numerator = numerator.add(&parameter.sub(&target)?.sqr()?.sum_all()?)?;
        denominator = denominator.add(&start[name].detach().sub(&target)?.sqr()?.sum_all()?)?;
    }
    let loss = numerator.div(&denominator)?;
    let mut grads = grad(&loss, &[&x, &lr], false)?;
    let dlr = grads.pop().unwrap().unwrap();
    check_second(
        case,
        "trajectory_matching",
        &loss,
        &grads[0].take().unwrap(),
    );
    assert_close("dlr", &scalar(&dlr), &[number(&case["dlr"])], 1e-9);
    Ok(())
}

#[test]
fn gradient_and_trajectory_matching_in_double_precision() {
    let all = reference();
    let cases = all["second_order"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        if case["steps"].is_null() {
            gradient_matching(case).unwrap();
        } else {
            trajectory_matching(case).unwrap();
        }
    }
}
