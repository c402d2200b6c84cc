//! Every lent operation against finite differences, to the second order, called by its number as plugins call it.
//!
//! An operation has cases, or a reason why it has none; one that is added without either fails here. So does a function of the
//! engine's that is neither an operation of that list nor checked by name in its own file.

mod cases;
mod sources;

use candle_core::Device;
use plugin_api::ops;

use super::{Call, Outputs, export, perform};
use crate::engine::gpu::on_gpu;
use crate::engine::gradcheck::{check, device, ramp};
use crate::engine::{Error, Result, Tensor};

/// One input of a case.
#[derive(Clone)]
enum Input {
    /// Differentiated by; of any sign.
    Free(&'static [usize]),
    /// Differentiated by; above 1.
    Positive(&'static [usize]),
    Constant(Tensor),
}

/// One call of an operation.
struct Case {
    op: u32,
    inputs: Vec<Input>,
    ints: Vec<i64>,
    floats: Vec<f64>,
}

impl Case {
    fn name(&self) -> String {
        let shape = |input: &Input| match input {
            Input::Free(dims) | Input::Positive(dims) => format!("{dims:?}"),
            Input::Constant(t) => format!("constant {:?}", t.dims()),
        };
        let shapes: Vec<String> = self.inputs.iter().map(shape).collect();
        let (op, ints, floats) = (ops::name(self.op), &self.ints, &self.floats);
        format!(
            "{op}({}; ints {ints:?}, floats {floats:?})",
            shapes.join(", ")
        )
    }

    /// Compares the operation after a smooth bent function, so that linear operations have a second derivative too.
    fn check(&self) {
        check(&self.name(), &self.free(), |free| self.outputs(free));
    }

    /// What it is differentiated by.
    fn free(&self) -> Vec<Tensor> {
        let dims = self.inputs.iter().filter_map(|input| match input {
            Input::Free(dims) | Input::Positive(dims) => Some(*dims),
            Input::Constant(_) => None,
        });
        dims.enumerate()
            .map(|(i, dims)| ramp(dims, 0.37 + 0.16 * i as f64))
            .collect()
    }

    /// The same case with all that it reads on the CPU.
    fn on_cpu(&self) -> Self {
        let moved = self.inputs.iter().map(|input| match input {
            Input::Constant(t) => Input::Constant(on_cpu(t)),
            other => other.clone(),
        });
        Self {
            inputs: moved.collect(),
            ints: self.ints.clone(),
            floats: self.floats.clone(),
            ..*self
        }
    }

    /// All floating-point results, as one tensor.
    fn outputs(&self, free: &[Tensor]) -> Result<Tensor> {
        let mut free = free.iter();
        let mut next = |least: f64| {
            let x = free
                .next()
                .expect("one for each input that is not constant");
            x.add(&x.sqr()?.affine(0.3, least)?)
        };
        let inputs = self.inputs.iter().map(|input| match input {
            Input::Free(_) => next(0.0),
            Input::Positive(_) => next(2.0),
            Input::Constant(t) => Ok(t.clone()),
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let mut outputs = call(self.op, &inputs, &self.ints, &self.floats)?;
        outputs.retain(|output| output.dtype().is_float());
        if let [output] = outputs.as_slice() {
            return Ok(output.clone());
        }
        let flat = outputs.iter().map(|output| output.flatten_from(0));
        let flat = flat.collect::<Result<Vec<_>>>()?;
        Tensor::cat(&flat.iter().collect::<Vec<_>>(), 0)
    }
}

fn on_cpu(tensor: &Tensor) -> Tensor {
    Tensor::constant(tensor.value().to_device(&Device::Cpu).expect("room for it"))
}

/// Calls an operation by its number; absent results are left out.
fn call(op: u32, inputs: &[Tensor], ints: &[i64], floats: &[f64]) -> Result<Vec<Tensor>> {
    let handles: Vec<_> = inputs.iter().cloned().map(export).collect();
    let raws: Vec<_> = handles.iter().map(|handle| handle.raw()).collect();
    // SAFETY: the handles are live, and of this host.
    let call = unsafe { Call::new(&raws, ints, floats) };
    match perform(op, &call) {
        Ok(Outputs::One(tensor)) => Ok(vec![tensor]),
        Ok(Outputs::Many(tensors)) => Ok(tensors.into_iter().flatten().collect()),
        Err(fault) => Err(Error::argument("call", call.error(op, fault).to_string())),
    }
}

/// Operations without a derivative to check, and why. Of those marked the result must not be tracked.
const WITHOUT: [(u32, bool, &str); 18] = [
    (ops::EQ, true, "a mask"),
    (ops::NE, true, "a mask"),
    (ops::LT, true, "a mask"),
    (ops::LE, true, "a mask"),
    (ops::GT, true, "a mask"),
    (ops::GE, true, "a mask"),
    (ops::SIGN, true, "constant almost everywhere"),
    (ops::FLOOR, true, "constant almost everywhere"),
    (ops::CEIL, true, "constant almost everywhere"),
    (ops::ROUND, true, "constant almost everywhere"),
    (ops::DETACH, true, "cuts the graph"),
    (ops::FULL_LIKE, true, "a constant"),
    (ops::IS_TRACKED, true, "a flag"),
    (ops::ARGMAX, true, "an index"),
    (ops::ARGMIN, true, "an index"),
    (ops::LEAF, false, "starts a graph"),
    (
        ops::TO_DTYPE,
        false,
        "a difference would be that of f32's rounding; unary.rs has a test of its gradient",
    ),
    (ops::GRAD, false, "what every case calls, twice"),
];

#[test]
fn derivatives_agree_with_finite_differences_to_the_second_order() {
    for case in cases::all() {
        case.check();
    }
}

#[test]
fn values_on_a_gpu_are_those_of_the_cpu() {
    for case in cases::all() {
        let free = case.free();
        let got = on_gpu(&device(), || case.outputs(&free)).and_then(|y| y.to_f64_vec());
        let free: Vec<Tensor> = free.iter().map(on_cpu).collect();
        let expected = case.on_cpu().outputs(&free).and_then(|y| y.to_f64_vec());
        let name = case.name();
        let [got, expected] = [got, expected].map(|r| r.unwrap_or_else(|e| panic!("{name}: {e}")));
        assert_eq!(got.len(), expected.len(), "{name}");
        let off = got
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs() / b.abs().max(1.));
        assert!(
            off.clone().all(|off| off < 1e-10),
            "{name}: {:?}",
            off.reduce(f64::max)
        );
    }
}

#[test]
fn every_operation_has_a_derivative_case_or_a_reason() {
    let cases = cases::all();
    for &op in ops::ALL {
        let checked = cases.iter().any(|case| case.op == op);
        let excused = WITHOUT.iter().any(|(other, ..)| *other == op);
        let name = ops::name(op);
        assert!(
            checked || excused,
            "{name} has neither a derivative case nor a reason to have none"
        );
        assert!(
            !(checked && excused),
            "{name} has both derivative cases and a reason to have none"
        );
    }
}

#[test]
fn what_has_no_derivative_is_not_tracked() {
    let x = Tensor::leaf(ramp(&[3], 0.37).into_value());
    for (op, constant, reason) in WITHOUT {
        if constant {
            let made = call(op, &[x.clone(), x.clone()], &[0, 0], &[1.0]).unwrap();
            assert!(
                !made[0].is_tracked(),
                "{}: {reason}, but tracked",
                ops::name(op)
            );
        }
    }
}
