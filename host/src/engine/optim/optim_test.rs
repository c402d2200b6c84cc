//! Tests of the optimizers against PyTorch's update rules written as plain loops.

use super::config::{AdamConfig, AdamWConfig, SgdConfig};
use super::*;

const STEPS: usize = 5;
const LEN: usize = 3;

fn gradient(step: usize, i: usize) -> f64 {
    ((step * 7 + i * 3) as f64).sin()
}

fn start(i: usize) -> f64 {
    0.5 - i as f64 * 0.4
}

fn values(numbers: Vec<f64>) -> Value {
    Value::new(numbers, &Device::Cpu).unwrap()
}

/// Runs an optimizer for a few steps on one parameter.
fn run(config: OptimizerConfig, decay: bool) -> Vec<f64> {
    let mut optimizer = Optimizer::new(config, &[vec![LEN]]);
    let mut params = [values((0..LEN).map(start).collect())];
    for step in 0..STEPS {
        let grad = values((0..LEN).map(|i| gradient(step, i)).collect());
        optimizer
            .step(&mut params, &[Some(grad)], 0.1, &[decay])
            .unwrap();
    }
    assert_eq!(optimizer.steps(), STEPS as u64);
    params[0].to_vec1().unwrap()
}

fn assert_close(got: &[f64], expected: &[f64]) {
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() < 1e-12, "{got:?} {expected:?}");
    }
}

/// torch.optim.SGD, `_single_tensor_sgd`, one number at a time.
fn sgd_by_hand(momentum: f64, nesterov: bool, decay: f64) -> Vec<f64> {
    let one = |i: usize| {
        let (mut p, mut buffer) = (start(i), None);
        for step in 0..STEPS {
            let mut d = gradient(step, i) + decay * p;
            if momentum != 0.0 {
                let b = buffer.map_or(d, |b: f64| momentum * b + d);
                buffer = Some(b);
                d = if nesterov { d + momentum * b } else { b };
            }
            p -= 0.1 * d;
        }
        p
    };
    (0..LEN).map(one).collect()
}

/// torch.optim.Adam and AdamW from the papers' formulas, with bias-corrected moments.
fn adam_by_hand([b1, b2]: [f64; 2], eps: f64, coupled: f64, decoupled: f64) -> Vec<f64> {
    let one = |i: usize| {
        let (mut p, mut m, mut v) = (start(i), 0.0, 0.0);
        for step in 0..STEPS {
            p -= 0.1 * decoupled * p;
            let g = gradient(step, i) + coupled * p;
            m = b1 * m + (1.0 - b1) * g;
            v = b2 * v + (1.0 - b2) * g * g;
            let t = step as i32 + 1;
            let (m_hat, v_hat) = (m / (1.0 - b1.powi(t)), v / (1.0 - b2.powi(t)));
            p -= 0.1 * m_hat / (v_hat.sqrt() + eps);
        }
        p
    };
    (0..LEN).map(one).collect()
}

#[test]
fn sgd_follows_pytorch() {
    for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
        let config = || {
            OptimizerConfig::Sgd(SgdConfig {
                momentum,
                nesterov,
                weight_decay: 0.2,
                ..Default::default()
            })
        };
        assert_close(&run(config(), true), &sgd_by_hand(momentum, nesterov, 0.2));
        assert_close(&run(config(), false), &sgd_by_hand(momentum, nesterov, 0.0));
    }
}

#[test]
fn adam_and_adamw_follow_pytorch() {
    let (betas, eps, weight_decay) = ([0.5, 0.9], 1e-3, 0.3);
    let adam = || {
        OptimizerConfig::Adam(AdamConfig {
            betas,
            eps,
            weight_decay,
            ..Default::default()
        })
    };
    let adamw = || {
        OptimizerConfig::AdamW(AdamWConfig {
            betas,
            eps,
            weight_decay,
            ..Default::default()
        })
    };
    assert_close(&run(adam(), true), &adam_by_hand(betas, eps, 0.3, 0.0));
    assert_close(&run(adamw(), true), &adam_by_hand(betas, eps, 0.0, 0.3));
    assert_close(&run(adamw(), false), &adam_by_hand(betas, eps, 0.0, 0.0));
}

#[test]
fn a_restored_optimizer_goes_on_to_the_byte() {
    let config = OptimizerConfig::AdamW(AdamWConfig::default());
    let shapes = [vec![LEN], vec![2]];
    let single = |numbers: Vec<f64>| values(numbers).to_dtype(DType::F32).unwrap();
    let grad = |step: usize| Some(single((0..LEN).map(|i| gradient(step, i)).collect()));
    let mut whole = Optimizer::new(config.clone(), &shapes);
    let mut params = [single(vec![1.0, 2.0, 3.0]), single(vec![1.0, 1.0])];
    let mut resumed = None;
    for step in 0..6 {
        // The second parameter joins late, so its own step count differs.
        let late = (step >= 2).then(|| single(vec![0.3, -0.2]));
        if step == 3 {
            let mut other = Optimizer::new(config.clone(), &shapes);
            other
                .load_state(&whole.state().unwrap(), &Device::Cpu)
                .unwrap();
            resumed = Some((other, params.clone()));
        }
        if let Some((other, params)) = &mut resumed {
            other
                .step(params, &[grad(step), late.clone()], 0.1, &[true, true])
                .unwrap();
        }
        whole
            .step(&mut params, &[grad(step), late], 0.1, &[true, true])
            .unwrap();
    }
    let (_, others) = resumed.unwrap();
    for (a, b) in params.iter().zip(&others) {
        assert_eq!(a.to_vec1::<f32>().unwrap(), b.to_vec1::<f32>().unwrap());
    }
}

#[test]
fn a_step_leaves_shared_values_alone() {
    let mut optimizer = Optimizer::new(OptimizerConfig::Sgd(SgdConfig::default()), &[vec![1]]);
    let before = values(vec![1.0]);
    let mut params = [before.clone()];
    optimizer
        .step(&mut params, &[Some(values(vec![1.0]))], 0.5, &[false])
        .unwrap();
    assert_eq!(params[0].to_vec1::<f64>().unwrap(), [0.5]);
    assert_eq!(before.to_vec1::<f64>().unwrap(), [1.0]);
    optimizer.step(&mut params, &[None], 0.5, &[false]).unwrap();
    assert_eq!(params[0].to_vec1::<f64>().unwrap(), [0.5]);
}

#[test]
fn what_does_not_fit_is_told() {
    let mut optimizer = Optimizer::new(OptimizerConfig::Sgd(SgdConfig::default()), &[vec![2]]);
    let mut params = [values(vec![1.0])];
    let text = optimizer
        .step(&mut params, &[None], 0.1, &[true])
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("parameter 0") && text.contains("[2]"),
        "{text}"
    );
    assert!(optimizer.step(&mut params, &[], 0.1, &[true]).is_err());
    let wrong = [("7.first".to_owned(), values(vec![1.0]))];
    let text = optimizer
        .load_state(&wrong, &Device::Cpu)
        .unwrap_err()
        .to_string();
    assert!(text.contains("7.first"), "{text}");
    assert!(optimizer.load_state(&[], &Device::Cpu).is_err());
}
