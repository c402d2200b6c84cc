//! The graph of derivatives: nodes, what they keep, and how an operation adds itself.
//!
//! A node holds edges to the nodes of its tracked inputs, the values its backward needs, and a vector-Jacobian
//! product (vjp) written in engine operations, which makes it differentiable itself. Ids grow with time, so an edge
//! always points to a smaller id and a backward pass needs no sorting by recursion.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::{Error, Result};
use super::gpu::holdings::{Holding, INPUTS};
use super::profile;
use super::tensor::Tensor;
use super::value::Value;

/// The node that made a tensor and which of the node's outputs it is; none for a constant.
pub(crate) type Edge = Option<(Arc<Node>, usize)>;

/// A vector-Jacobian product: from the gradients of the outputs (none where nothing flows) to those of the inputs.
pub type Vjp = dyn Fn(&Context<'_>, &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> + Send + Sync;

/// Makes output 0 of an operation again, to the bit, from what the operation keeps.
pub(crate) type Again = dyn Fn(&Context<'_>) -> Result<Tensor> + Send + Sync;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// One recorded operation, or a leaf.
pub(crate) struct Node {
    id: u64,
    output_dims: Vec<Vec<usize>>,
    state: Mutex<State>,
}

enum State {
    Leaf,
    Operation(Arc<Operation>),
    /// Given back by [`super::backward_free`].
    Freed,
}

/// What a recorded operation keeps.
pub(crate) struct Operation {
    name: &'static str,
    edges: Vec<Edge>,
    saved_inputs: Vec<Option<Value>>,
    saved_outputs: Vec<Option<Value>>,
    vjp: Box<Vjp>,
    again: Option<Box<Again>>,
    /// The saved values' share of a GPU's memory.
    _holdings: Vec<Holding>,
}

impl Node {
    pub(crate) fn leaf(dims: &[usize]) -> Self {
        Self::new(vec![dims.to_vec()], State::Leaf)
    }

    fn new(output_dims: Vec<Vec<usize>>, state: State) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            output_dims,
            state: Mutex::new(state),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn output_dims(&self) -> &[Vec<usize>] {
        &self.output_dims
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The recorded operation; none for a leaf.
    pub(crate) fn operation(&self) -> Result<Option<Arc<Operation>>> {
        match &*self.state() {
            State::Leaf => Ok(None),
            State::Operation(operation) => Ok(Some(operation.clone())),
            State::Freed => Err(Error::argument(
                "grad",
                "the graph was already freed by backward_free (use grad to keep it)",
            )),
        }
    }

    pub(crate) fn is_leaf(&self) -> bool {
        matches!(*self.state(), State::Leaf)
    }

    /// Drops the saved values and the edges of an operation; leaves stay.
    pub(crate) fn free(&self) {
        let mut state = self.state();
        if matches!(*state, State::Operation(_)) {
            *state = State::Freed;
        }
    }
}

impl Operation {
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn edges(&self) -> &[Edge] {
        &self.edges
    }

    pub(crate) fn call(
        &self,
        context: &Context<'_>,
        grads: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        profile::backward(self.name, || (self.vjp)(context, grads))
    }
}

impl Drop for Operation {
    /// Takes the chain below apart in a loop: a graph can be deeper than the stack.
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut self.edges);
        while let Some(edge) = pending.pop() {
            let Some(node) = edge.and_then(|(node, _)| Arc::into_inner(node)) else {
                continue;
            };
            let state = node
                .state
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner);
            if let State::Operation(operation) = state
                && let Some(mut operation) = Arc::into_inner(operation)
            {
                pending.append(&mut operation.edges);
            }
        }
    }
}

/// What a vjp may look at: the saved inputs and outputs, and which input gradients are wanted.
pub struct Context<'a> {
    pub(crate) node: &'a Arc<Node>,
    pub(crate) operation: &'a Operation,
    pub(crate) needs: &'a [bool],
    pub(crate) create_graph: bool,
    /// What the inputs' gradients are added to, where others have handed some on already and nobody else holds it.
    pub(crate) before: &'a [Cell<Option<Tensor>>],
}

impl Context<'_> {
    /// Saved input `i`; in the graph only while a graph of the backward is recorded.
    ///
    /// # Panics
    /// If the operation did not save it, which is a bug of the operation.
    pub fn input(&self, i: usize) -> Tensor {
        let value = self.operation.saved_inputs[i]
            .clone()
            .expect("a vjp reads only the inputs its operation saved");
        let edge = self.operation.edges[i]
            .clone()
            .filter(|_| self.create_graph);
        Tensor::with_edge(value, edge)
    }

    /// Saved output `i`; in the graph only while a graph of the backward is recorded.
    ///
    /// # Panics
    /// If the operation did not save it, which is a bug of the operation.
    pub fn output(&self, i: usize) -> Tensor {
        let value = self.operation.saved_outputs[i]
            .clone()
            .expect("a vjp reads only the outputs its operation saved");
        let edge = self.create_graph.then(|| (self.node.clone(), i));
        Tensor::with_edge(value, edge)
    }

    /// Saved input `i` of an operation recorded by [`record_lean`]: kept, or made again by the operation that made it.
    ///
    /// # Errors
    /// If the operation that made it was given back, or fails.
    pub(crate) fn input_again(&self, i: usize) -> Result<Tensor> {
        if self.operation.saved_inputs[i].is_some() {
            return Ok(self.input(i));
        }
        let edge = self.operation.edges[i].clone();
        let (node, _) = edge.as_ref().expect("what is not kept has a maker");
        let maker = node.operation()?.expect("a leaf is kept");
        let again = maker.again.as_ref().expect("what is not kept can be made");
        let made = again(&Context {
            node,
            operation: &maker,
            needs: &[],
            create_graph: false,
            before: &[],
        })?;
        Ok(made.at(edge.filter(|_| self.create_graph)))
    }

    /// The gradient of input `i` that others have handed on, if nobody else holds it: whoever takes it gives back the sum of it and its own.
    pub(crate) fn before(&self, i: usize) -> Option<Tensor> {
        self.before.get(i)?.take()
    }

    /// Whether the gradient of input `i` is wanted; what is not wanted must not be computed.
    pub fn needs(&self, i: usize) -> bool {
        self.needs[i]
    }

    /// The gradients of the inputs in turn, each computed where it is wanted alone.
    pub(crate) fn wanted(
        &self,
        grads: &[&dyn Fn() -> Result<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let grads = grads.iter().zip(self.needs);
        grads
            .map(|(grad, need)| need.then(grad).transpose())
            .collect()
    }

    /// Whether the backward itself is being recorded.
    pub fn create_graph(&self) -> bool {
        self.create_graph
    }
}

/// Which inputs and outputs of an operation its backward reads.
#[derive(Clone, Copy, Default)]
pub struct Save<'a> {
    /// Indices of the inputs to keep.
    pub inputs: &'a [usize],
    /// Indices of the outputs to keep.
    pub outputs: &'a [usize],
}

impl<'a> Save<'a> {
    /// These inputs and no outputs.
    pub const fn inputs(inputs: &'a [usize]) -> Self {
        let outputs = &[];
        Self { inputs, outputs }
    }

    /// These outputs and no inputs.
    pub const fn outputs(outputs: &'a [usize]) -> Self {
        let inputs = &[];
        Self { inputs, outputs }
    }
}

/// Adds an operation of several outputs to the graph; with no tracked input the outputs are constants and nothing is kept.
///
/// The vjp must not capture tracked tensors: it reads them from its [`Context`].
pub fn record(
    name: &'static str,
    inputs: &[&Tensor],
    outputs: Vec<Value>,
    save: Save<'_>,
    vjp: impl Fn(&Context<'_>, &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
) -> Vec<Tensor> {
    record_lean(name, inputs, outputs, save, Lean::default(), Box::new(vjp))
}

/// How an operation spares memory.
#[derive(Default)]
pub(crate) struct Lean<'a> {
    /// Saved inputs that are not kept where their maker can make them again; read by [`Context::input_again`].
    pub(crate) inputs: &'a [usize],
    /// How output 0 is made again, if it can be.
    pub(crate) again: Option<Box<Again>>,
}

/// As [`record`], with what spares memory.
pub(crate) fn record_lean(
    name: &'static str,
    inputs: &[&Tensor],
    outputs: Vec<Value>,
    save: Save<'_>,
    lean: Lean<'_>,
    vjp: Box<Vjp>,
) -> Vec<Tensor> {
    profile::done(name);
    if inputs.iter().all(|input| !input.is_tracked()) {
        return outputs.into_iter().map(Tensor::constant).collect();
    }
    let saved_input = |(i, input): (usize, &&Tensor)| {
        let spared = lean.inputs.contains(&i) && can_be_made_again(input.edge());
        (save.inputs.contains(&i) && !spared).then(|| input.value().clone())
    };
    let saved_output = |(i, output): (usize, &Value)| {
        let saved = save.outputs.contains(&i);
        saved.then(|| output.clone())
    };
    let saved_inputs: Vec<Option<Value>> = inputs.iter().enumerate().map(saved_input).collect();
    let saved_outputs: Vec<_> = outputs.iter().enumerate().map(saved_output).collect();
    let of_inputs = saved_inputs
        .iter()
        .zip(inputs)
        .filter_map(|(saved, input)| Holding::of(maker(input.edge()), saved.as_ref()?));
    let of_outputs = saved_outputs.iter().flatten();
    let of_outputs = of_outputs.filter_map(|saved| Holding::of(name, saved));
    let operation = Operation {
        name,
        edges: inputs.iter().map(|input| input.edge().clone()).collect(),
        _holdings: of_inputs.chain(of_outputs).collect(),
        saved_inputs,
        saved_outputs,
        vjp,
        again: lean.again,
    };
    let dims = outputs.iter().map(|output| output.dims().to_vec());
    let state = State::Operation(Arc::new(operation));
    let node = Arc::new(Node::new(dims.collect(), state));
    outputs
        .into_iter()
        .enumerate()
        .map(|(i, output)| Tensor::with_edge(output, Some((node.clone(), i))))
        .collect()
}

/// The operation that made a value, by name.
fn maker(edge: &Edge) -> &'static str {
    let operation = edge.as_ref().and_then(|(node, _)| node.operation().ok()?);
    operation.map_or(INPUTS, |operation| operation.name)
}

/// Whether the value of an edge need not be kept.
pub(crate) fn can_be_made_again(edge: &Edge) -> bool {
    let Some((node, 0)) = edge else { return false };
    matches!(node.operation(), Ok(Some(maker)) if maker.again.is_some())
}

/// Adds an operation of one output to the graph.
pub fn record_one(
    name: &'static str,
    inputs: &[&Tensor],
    output: Value,
    save: Save<'_>,
    vjp: impl Fn(&Context<'_>, &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
) -> Tensor {
    record_one_lean(name, inputs, output, save, Lean::default(), vjp)
}

/// As [`record_one`], with what spares memory.
pub(crate) fn record_one_lean(
    name: &'static str,
    inputs: &[&Tensor],
    output: Value,
    save: Save<'_>,
    lean: Lean<'_>,
    vjp: impl Fn(&Context<'_>, &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
) -> Tensor {
    let arity = inputs.len();
    let vjp = move |context: &Context<'_>, grads: &[Option<Tensor>]| match &grads[0] {
        Some(grad) => vjp(context, grad),
        None => Ok(vec![None; arity]),
    };
    let mut outputs = record_lean(name, inputs, vec![output], save, lean, Box::new(vjp));
    outputs.pop().expect("one output was recorded")
}

#[cfg(test)]
#[path = "autograd_test.rs"]
mod tests;
