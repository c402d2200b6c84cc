//! Kernels that plugins bring: on the CPU, and their CUDA source on a GPU or the emulated device.

use crate::support::{device, network::shipped_plugins, skipped};
use alambic::{
    engine::{self, Tensor, Value, gpu::on_gpu},
    plugins::{export, import},
};
use plugin_api::{
    Ctx, Error, Result, Tensor as Handle,
    kernel::{Array, Cuda, Kernel, Launch, Number, Real, apply},
    regularizer::{Regularizer, RegularizerInput},
};
use serde_json::json;

fn images(dims: &[usize]) -> Tensor {
    let count: usize = dims.iter().product();
    let numbers: Vec<f32> = (0..count).map(|i| (i as f32 * 12.9898).sin()).collect();
    Tensor::leaf(Value::from_vec(numbers, dims, &device()).unwrap())
}

/// The penalty of a shipped regularizer and its gradient, as one vector.
fn penalty(name: &str, options: &serde_json::Value, images: &Tensor) -> Vec<f64> {
    let registry = shipped_plugins();
    let regularizer = registry.create_regularizer(name, options).unwrap();
    let view = export(images.clone());
    let anchor = export(images.detach());
    let ctx = Ctx::new("recover", 0, &anchor).at(0, 1);
    let input = RegularizerInput::new(&view, &ctx);
    let loss = regularizer.forward(&input).unwrap();
    let loss = import(&loss).unwrap();
    let grads = engine::grad(loss, &[images], false).unwrap();
    let mut all = vec![loss.to_scalar().unwrap()];
    all.extend(grads[0].as_ref().unwrap().to_f64_vec().unwrap());
    all
}

fn assert_near(got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    let error = got
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).powi(2))
        .sum::<f64>()
        .sqrt();
    let norm = expected.iter().map(|b| b * b).sum::<f64>().sqrt();
    assert!(error <= tolerance * norm, "{error} of {norm}");
}

#[test]
fn total_variation_is_image_priors_on_both_devices() {
    let images = images(&[3, 3, 9, 14]);
    for options in [
        json!({"tv_l1": 1.0}),
        json!({"tv_l2": 0.5}),
        json!({"tv_l1": 0.3, "tv_l2": 2.0}),
    ] {
        let expected = penalty("image-prior", &options, &images);
        let cpu = penalty("tv-kernel", &options, &images);
        assert_near(&cpu, &expected, 1e-5);
        let gpu = on_gpu(&device(), || penalty("tv-kernel", &options, &images));
        assert_near(&gpu, &expected, 1e-5);
        if device().is_cpu() {
            assert_ne!(
                cpu, gpu,
                "the same rounding: was the CUDA source run at all?"
            );
        } else {
            let why = "all tensors of this run lie on one device";
            skipped("total variation by loops and by CUDA source differ", why);
        }
    }
}

/// `a b`, entry by entry, with a CUDA source of choice.
struct Product(Option<&'static str>);

impl Kernel for Product {
    fn name(&self) -> &str {
        "product"
    }

    fn output(&self, inputs: &[&[usize]]) -> Result<Vec<usize>> {
        match inputs {
            [a, b] if a == b => Ok(a.to_vec()),
            _ => Err(Error::msg(format!(
                "expected two shapes alike, got {inputs:?}"
            ))),
        }
    }

    fn forward<F: Real>(&self, x: &[Array<'_, F>], y: &mut [F]) -> Result<()> {
        for ((y, a), b) in y.iter_mut().zip(x[0].data).zip(x[1].data) {
            *y = *a * *b;
        }
        Ok(())
    }

    fn backward<F: Real>(
        &self,
        x: &[Array<'_, F>],
        g: &[F],
        grads: &mut [Option<Vec<F>>],
    ) -> Result<()> {
        for (i, grad) in grads.iter_mut().enumerate() {
            for ((to, g), other) in grad.iter_mut().flatten().zip(g).zip(x[1 - i].data) {
                *to += *g * *other;
            }
        }
        Ok(())
    }

    fn cuda(&self, inputs: &[&[usize]]) -> Result<Option<Cuda>> {
        let count = inputs[0].iter().product();
        let each = |routine| {
            vec![Launch::each(
                routine,
                count,
                vec![Number::Integer(count as i64)],
            )]
        };
        Ok(self.0.map(|source| Cuda {
            source: source.to_owned(),
            scratch: 0,
            forward: each("forward"),
            backward: each("backward"),
        }))
    }
}

const SOURCE: &str = r#"
#define EACH(i, n) for (long long i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)

extern "C" __global__ void forward(const real* a, const real* b, real* y, double* scratch, long long n) {
    EACH(i, n) y[i] = a[i] * b[i];
}

extern "C" __global__ void backward(const real* a, const real* b, const real* g, real* da, real* db, double* scratch,
                                    long long n) {
    EACH(i, n) {
        if (da) da[i] = g[i] * b[i];
        if (db) db[i] = g[i] * a[i];
    }
}
"#;

fn lent(tensor: &Tensor) -> Handle {
    export(tensor.clone())
}

/// The product of two tensors, and the gradients of its sum by those that are tracked.
fn product(kernel: Product, a: &Tensor, b: &Tensor) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
    let y = apply(kernel, &[&lent(a), &lent(b)])?;
    let y = import(&y)?;
    let leaves: Vec<&Tensor> = [a, b].into_iter().filter(|t| t.is_tracked()).collect();
    let grads = engine::grad(&y.sum_all().unwrap(), &leaves, false);
    let grads = grads.map_err(Error::msg)?;
    let grads = grads.iter().flatten().map(|g| g.to_f64_vec().unwrap());
    Ok((y.to_f64_vec().unwrap(), grads.collect()))
}

#[test]
fn gradients_go_to_the_inputs_that_want_them() {
    let (a, b) = (
        images(&[5, 70]),
        images(&[7, 50]).reshape(&[5, 70]).unwrap(),
    );
    let b = Tensor::leaf(b.affine(0.5, 1.0).unwrap().into_value());
    let [x, y] = [&a, &b].map(|t| t.to_f64_vec().unwrap());
    let expected: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x * y).collect();
    let run = |kernel: Product, a: &Tensor, b: &Tensor| {
        let (value, grads) = product(kernel, a, b).unwrap();
        assert_near(&value, &expected, 1e-6);
        grads
    };
    let all = || {
        // Without a source of CUDA the processor computes, wherever the tensors lie.
        for source in [None, Some(SOURCE)] {
            assert_eq!(run(Product(source), &a, &b), [y.clone(), x.clone()]);
            assert_eq!(run(Product(source), &a.detach(), &b).concat(), x);
            assert_eq!(run(Product(source), &a, &b.detach()).concat(), y);
        }
    };
    all();
    on_gpu(&device(), all);
}

#[test]
fn a_second_derivative_is_refused() {
    let a = images(&[6]);
    for source in [None, Some(SOURCE)] {
        let twice = || {
            let y = apply(Product(source), &[&lent(&a), &lent(&a)]).unwrap();
            let loss = import(&y).unwrap().sum_all().unwrap();
            let first = engine::grad(&loss, &[&a], true).unwrap().remove(0).unwrap();
            let second = engine::grad(&first.sum_all().unwrap(), &[&a], false);
            second.unwrap_err().to_string()
        };
        for text in [twice(), on_gpu(&device(), twice)] {
            assert!(text.contains("no second derivative"), "{text}");
        }
    }
}

#[test]
fn faults_of_a_source_are_told_with_kernel_and_line() {
    let a = images(&[4]);
    let fail = |source| {
        on_gpu(&device(), || product(Product(Some(source)), &a, &a))
            .unwrap_err()
            .to_string()
    };
    let text = fail("// A comment.\nextern \"C\" __global__ void forward() { undefined_name; }\n");
    let expected = ["kernel \"product\"", "do not compile", "undefined_name"];
    assert!(expected.iter().all(|part| text.contains(part)), "{text}");
    // A line in the words of the C++ compiler, or of NVRTC.
    let places = ["product.cu:2", "product.cu(2)"];
    assert!(places.iter().any(|place| text.contains(place)), "{text}");
    let text = fail("extern \"C\" __global__ void other() {}\n");
    assert!(
        text.contains("product") && text.contains("forward"),
        "{text}"
    );
}

#[test]
fn shapes_and_types_that_do_not_fit_are_told() {
    let text = product(Product(None), &images(&[4]), &images(&[2, 2]))
        .unwrap_err()
        .to_string();
    assert!(text.contains("[[4], [2, 2]]"), "{text}");
    let labels = lent(&images(&[4])).new_u32(&[1, 2], &[2]).unwrap();
    let text = apply(Product(None), &[&labels, &labels])
        .err()
        .unwrap()
        .to_string();
    assert!(text.contains("f32 or f64; input 0"), "{text}");
    assert!(apply(Product(None), &[]).is_err());
}
