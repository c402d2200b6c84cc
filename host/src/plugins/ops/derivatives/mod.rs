//! Every lent operation against finite differences, to the second order, called as plugins call it.
//!
//! Each subject has cases beside its operations, or a reason why one has none; an operation that is added without either fails here. So
//! does a function of the engine's that is neither an operation nor checked by name in its own file.

mod sources;

use candle_core::{Device, WithDType};
use plugin_api::tensor::Operation;

use super::{export, perform};
use crate::engine::gpu::on_gpu;
use crate::engine::gradcheck::{check, device, ramp};
use crate::engine::{Error, Result, Tensor};

/// One input of a case.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// Differentiated by; of any sign.
    Free(&'static [usize]),
    /// Differentiated by; above 1.
    Positive(&'static [usize]),
    /// Of any type.
    Constant(Tensor),
}

/// An input that nothing is differentiated by.
pub(super) fn constant<T: WithDType>(numbers: &[T], dims: &[usize]) -> Input {
    Input::Constant(Tensor::from_vec(numbers.to_vec(), dims, &device()).expect("the count fits"))
}

/// What is known of an operation's derivative.
pub(super) enum Case {
    /// It agrees with finite differences for these inputs.
    Differentiable(Call),
    /// The result is a constant, and why.
    Constant(Operation, &'static str),
    /// It is not checked here, and why.
    Elsewhere(Operation, &'static str),
}

/// What is known of the derivatives of a subject's operations.
pub(super) trait Cases {
    /// Calls to differentiate, for each operation, or why there are none.
    fn cases() -> Vec<Case>;
}

/// One call of an operation.
pub(super) struct Call {
    operation: Operation,
    inputs: Vec<Input>,
}

/// A case that is differentiated.
pub(super) fn case(operation: impl Into<Operation>, inputs: &[Input]) -> Case {
    Case::Differentiable(Call {
        operation: operation.into(),
        inputs: inputs.to_vec(),
    })
}

impl Case {
    fn operation(&self) -> &Operation {
        match self {
            Self::Differentiable(call) => &call.operation,
            Self::Constant(operation, _) | Self::Elsewhere(operation, _) => operation,
        }
    }

    /// Why nothing is differentiated.
    fn reason(&self) -> &'static str {
        match self {
            Self::Differentiable(_) => "",
            Self::Constant(_, reason) | Self::Elsewhere(_, reason) => reason,
        }
    }
}

fn cases() -> Vec<Case> {
    use plugin_api::tensor::*;
    let all = [
        Elementwise::cases(),
        Create::cases(),
        Graph::cases(),
        Reduce::cases(),
        Softmax::cases(),
        Product::cases(),
        Pool::cases(),
        Norm::cases(),
        Shape::cases(),
        Index::cases(),
        Resample::cases(),
    ];
    all.into_iter().flatten().collect()
}

fn calls() -> impl Iterator<Item = Call> {
    cases().into_iter().filter_map(|case| match case {
        Case::Differentiable(call) => Some(call),
        _ => None,
    })
}

impl Call {
    fn name(&self) -> String {
        let shape = |input: &Input| match input {
            Input::Free(dims) | Input::Positive(dims) => format!("{dims:?}"),
            Input::Constant(t) => format!("constant {:?}", t.dims()),
        };
        let shapes: Vec<String> = self.inputs.iter().map(shape).collect();
        format!("{:?} of {}", self.operation, shapes.join(", "))
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
            operation: self.operation.clone(),
            inputs: moved.collect(),
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
        let mut outputs = call(&self.operation, &inputs)?;
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

/// Has an operation done; absent results are left out.
fn call(operation: &Operation, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let handles: Vec<_> = inputs.iter().cloned().map(export).collect();
    let raws: Vec<_> = handles.iter().map(|handle| handle.raw()).collect();
    // As many outputs as there are.
    let made = (1..=3).map(|outputs| perform(operation, &raws, outputs));
    let made = made.reduce(std::result::Result::or).expect("one count");
    let made = made.map_err(|e| Error::argument("call", e.to_string()))?;
    Ok(made.into_iter().flatten().collect())
}

#[test]
fn derivatives_agree_with_finite_differences_to_the_second_order() {
    for call in calls() {
        call.check();
    }
}

#[test]
fn values_on_a_gpu_are_those_of_the_cpu() {
    for case in calls() {
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
    let cases = cases();
    for row in Operation::rows() {
        let own = cases.iter().filter(|c| c.operation().row() == row);
        let (checked, excused): (Vec<_>, Vec<_>) =
            own.partition(|case| matches!(case, Case::Differentiable(_)));
        let name = row.name;
        for case in &excused {
            assert!(
                !case.reason().is_empty(),
                "{name} is excused without a reason"
            );
        }
        assert!(
            !checked.is_empty() || !excused.is_empty(),
            "{name} has neither a derivative case nor a reason to have none"
        );
        assert!(
            checked.is_empty() || excused.is_empty(),
            "{name} has both derivative cases and a reason to have none"
        );
    }
}

#[test]
fn what_has_no_derivative_is_not_tracked() {
    let x = Tensor::leaf(ramp(&[3], 0.37).into_value());
    for case in cases() {
        if let Case::Constant(operation, reason) = case {
            let name = operation.row().name;
            let made = call(&operation, &[x.clone(), x.clone()]).unwrap();
            assert!(!made[0].is_tracked(), "{name}: {reason}, but tracked");
        }
    }
}
