//! Tests of the optimizers: PyTorch's values, thread counts, states that are restored, what does not fit.

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

// torch 2.15, float64:
//
//   p = torch.tensor([0.5, 0.1, -0.3], dtype=torch.float64)
//   opt = torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.2, nesterov=True)     # and so on
//   for step in range(5):
//       p.grad = torch.tensor([math.sin(step * 7 + i * 3) for i in range(3)], dtype=torch.float64)
//       opt.step()

#[test]
fn sgd_gives_pytorchs_values() {
    let sgd = |momentum, nesterov, weight_decay| {
        OptimizerConfig::Sgd(SgdConfig {
            momentum,
            nesterov,
            weight_decay,
            ..Default::default()
        })
    };
    let plain = [0.22448446187424154, 0.3673914602038748, -0.5539155403879868];
    assert_close(&run(sgd(0.0, false, 0.0), true), &plain);
    assert_close(&run(sgd(0.0, false, 0.2), false), &plain);
    let decayed = [
        0.18590458346961072,
        0.35006151033175054,
        -0.5192619999930963,
    ];
    assert_close(&run(sgd(0.0, false, 0.2), true), &decayed);
    let momentum = [
        -0.28491097494158124,
        0.6631936718527812,
        -0.7299757032625293,
    ];
    assert_close(&run(sgd(0.9, false, 0.2), true), &momentum);
    let nesterov = [-0.4907370220385076, 0.8400158478696904, -0.8979001926179856];
    assert_close(&run(sgd(0.9, true, 0.2), true), &nesterov);
}

#[test]
fn adam_and_adamw_give_pytorchs_values() {
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
    let plain = [0.11719633240655611, 0.3762410285775739, -0.5503238515323852];
    assert_close(&run(adam(), false), &plain);
    assert_close(&run(adamw(), false), &plain);
    let coupled = [0.009367984014303013, 0.3651544758343476, -0.514580229601677];
    assert_close(&run(adam(), true), &coupled);
    let decoupled = [0.0640175208277311, 0.357455735727658, -0.5059484900856663];
    assert_close(&run(adamw(), true), &decoupled);
    let defaults = OptimizerConfig::Adam(AdamConfig::default());
    let default = [
        0.16503212159102615,
        0.3015814442925767,
        -0.45013001485190696,
    ];
    assert_close(&run(defaults, false), &default);
}

#[test]
fn a_step_does_not_depend_on_threads() {
    // More than one task, and a rest.
    const LONG: usize = (1 << 15) + 77;
    let configs = [
        OptimizerConfig::Sgd(SgdConfig::default()),
        OptimizerConfig::Sgd(SgdConfig {
            momentum: 0.9,
            nesterov: true,
            ..Default::default()
        }),
        OptimizerConfig::AdamW(AdamWConfig::default()),
    ];
    for config in configs {
        let run_in = |threads: usize| -> Vec<f32> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let numbers = |phase: f32| (0..LONG).map(move |i| (i as f32 + phase).sin());
                let value = |phase: f32| Value::from_iter(numbers(phase), &Device::Cpu).unwrap();
                let mut optimizer = Optimizer::new(config.clone(), &[vec![LONG]]);
                let mut params = [value(0.0)];
                for step in 1..4 {
                    let grad = Some(value(step as f32));
                    optimizer.step(&mut params, &[grad], 0.1, &[true]).unwrap();
                }
                params[0].to_vec1().unwrap()
            })
        };
        let one = run_in(1);
        assert_eq!(one, run_in(2));
        // Entries do not mix: the last one alone gives the same.
        let mut alone = Optimizer::new(config.clone(), &[vec![1]]);
        let last = |phase: f32| Value::new(&[((LONG - 1) as f32 + phase).sin()], &Device::Cpu);
        let mut params = [last(0.0).unwrap()];
        for step in 1..4 {
            let grad = Some(last(step as f32).unwrap());
            alone.step(&mut params, &[grad], 0.1, &[true]).unwrap();
        }
        assert_eq!(params[0].to_vec1::<f32>().unwrap(), one[LONG - 1..]);
    }
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
