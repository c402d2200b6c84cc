//! Layers in bf16, on the emulated device and on a CPU that has it: near f32 and not equal to it, and f32 for whoever looks on.

mod support;

use std::sync::Barrier;

use alambic::{
    engine::{
        self,
        gpu::emulated,
        kernel::isa::{Isa, isa},
        precision::{Precision, compute_in, offered},
    },
    plugins::{export, import},
};
use candle_core::{DType, Device};
use plugin_api::{Tensor, architecture::InputShape, tensor::BatchNormMode};
use serde_json::json;
use support::network::{FilledNetwork, derivatives, shipped_plugins};

fn distance(got: &[Tensor], expected: &[Tensor]) -> f64 {
    let all = |tensors: &[Tensor]| -> Vec<f64> {
        let entries = tensors.iter().map(|t| t.to_vec_f64().unwrap());
        entries.collect::<Vec<_>>().concat()
    };
    let (got, expected) = (all(got), all(expected));
    assert_eq!(got.len(), expected.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut got.iter().zip(&expected).map(|(a, b)| a - b));
    error / norm(&mut expected.iter().copied())
}

#[test]
fn networks_in_bf16_are_near_those_in_f32() {
    let registry = shipped_plugins();
    let input = InputShape {
        channels: 3,
        height: 16,
        width: 16,
        classes: 10,
    };
    for (architecture, options) in [
        ("resnet", json!({"depth": 18, "stem": "small", "width": 8})),
        (
            "convnet",
            json!({"depth": 3, "width": 16, "norm": "instance"}),
        ),
        (
            "convnet",
            json!({"depth": 2, "width": 16, "norm": "batch", "pooling": "max"}),
        ),
        ("vit", json!({"patch": 4, "depth": 2})),
    ] {
        let network =
            FilledNetwork::new(&registry, (architecture, &options), input, DType::F32, 1.0);
        let network = network.unwrap_or_else(|e| panic!("{architecture}: {e}"));
        let x = network.images(6).unwrap();
        let params = network.leaves().unwrap();
        let run = || {
            let pass = network
                .forward(&params, &x, BatchNormMode::RECOVER)
                .unwrap();
            let statistics = network.batch_norms(&pass);
            let is_f32 = |t: &Tensor| t.dtype() == plugin_api::tensor::DType::F32;
            assert!(statistics.iter().all(|s| is_f32(&s.mean) && is_f32(&s.var)));
            let logits = pass
                .logits
                .to_dtype(plugin_api::tensor::DType::F32)
                .unwrap();
            let trained = network.forward(&params, &x, BatchNormMode::TRAIN).unwrap();
            let loss = network.cross_entropy(&trained).unwrap();
            let learned: Vec<&Tensor> = network.learned().iter().map(|&i| &params[i]).collect();
            let gradients = derivatives(&loss, &learned, false).unwrap();
            assert!(gradients.iter().all(is_f32));
            let dtype = import(&pass.logits).unwrap().dtype();
            (dtype, [logits], gradients)
        };
        let (_, logits, gradients) = run();
        let (dtype, same_logits, same_gradients) = emulated(run);
        assert_eq!(dtype, DType::F32);
        assert!(distance(&same_logits, &logits) < 1e-4, "{architecture}");
        assert!(
            distance(&same_gradients, &gradients) < 1e-3,
            "{architecture}"
        );
        let (dtype, near_logits, near_gradients) = emulated(|| {
            let _computing = compute_in(Precision::Bf16);
            run()
        });
        assert_eq!(dtype, DType::BF16, "{architecture}");
        let errors = [
            distance(&near_logits, &logits),
            distance(&near_gradients, &gradients),
        ];
        eprintln!("{architecture}: relative errors of logits and gradients {errors:?}");
        assert!(
            errors[0] > 1e-4 && errors[0] < 0.05,
            "{architecture}: {errors:?}"
        );
        // PyTorch's autocast is off by 0.30 in the gradients of a ResNet-18 at this size: masks of ReLUs flip.
        assert!(errors[1] < 0.45, "{architecture}: {errors:?}");
        // The CPU keeps f32 in memory, and where it lacks the instruction computes in it too.
        let _computing = compute_in(Precision::Bf16);
        let (dtype, near_logits, near_gradients) = run();
        assert_eq!(dtype, DType::F32, "{architecture}");
        let errors = [
            distance(&near_logits, &logits),
            distance(&near_gradients, &gradients),
        ];
        eprintln!("{architecture} on the CPU: {errors:?}");
        if offered(Precision::Bf16, &Device::Cpu).is_ok() {
            assert!(
                errors[0] > 1e-4 && errors[0] < 0.02,
                "{architecture}: {errors:?}"
            );
            // With AMX all convolutions take bf16, as on a GPU; else kernels of 1x1 alone.
            let most = if isa() == Isa::Amx { 0.45 } else { 0.2 };
            assert!(
                errors[1] > 1e-4 && errors[1] < most,
                "{architecture}: {errors:?}"
            );
        } else {
            assert_eq!(errors, [0.0; 2], "{architecture}");
        }
    }
}

#[test]
fn layers_on_two_threads_compute_in_different_precisions() {
    let met = Barrier::new(2);
    let product = |precision| {
        let _computing = compute_in(precision);
        met.wait();
        let ones = engine::Tensor::full(1.0, &[2, 2], DType::F32, &candle_core::Device::Cpu);
        let x = export(ones.unwrap());
        let dtype = import(&emulated(|| x.matmul(&x)).unwrap()).unwrap().dtype();
        met.wait();
        dtype
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| product(Precision::Bf16));
        assert_eq!(product(Precision::F32), DType::F32);
        assert_eq!(other.join().unwrap(), DType::BF16);
    });
}
