//! [`Params`]: the tensors of a module in one forward pass, and what the pass reports on its way.

use std::cell::RefCell;

use crate::{
    Result, Tensor, ensure,
    nn::{LayerInput, LayerKind, ParamId, recorded::Layer},
    tensor::BatchNormMode,
};

/// The input statistics of one BatchNorm in one forward pass.
#[derive(Clone)]
pub struct BatchNormStatistics {
    /// Which one, by order of declaration.
    pub index: usize,
    /// Mean of its input, `[C]`.
    pub mean: Tensor,
    /// Population variance of its input, `[C]`.
    pub var: Tensor,
    /// Elements behind each of them.
    pub count: usize,
}

/// The tensors of a module, in the order of their declaration, and the mode of its norms.
pub struct Params {
    tensors: Vec<Tensor>,
    mode: BatchNormMode,
    taps: RefCell<Vec<(String, Tensor)>>,
    statistics: RefCell<Vec<BatchNormStatistics>>,
    recorded: Vec<LayerKind>,
    inputs: RefCell<Vec<LayerInput>>,
}

impl Params {
    /// Tensors in the order of the declarations.
    pub fn new(tensors: Vec<Tensor>, mode: BatchNormMode) -> Self {
        Self {
            tensors,
            mode,
            taps: RefCell::default(),
            statistics: RefCell::default(),
            recorded: Vec::new(),
            inputs: RefCell::default(),
        }
    }

    /// The same, keeping the inputs of layers of these kinds.
    #[must_use]
    pub fn recording(self, kinds: &[LayerKind]) -> Self {
        Self {
            recorded: kinds.to_vec(),
            ..self
        }
    }

    /// The kinds whose inputs are kept.
    pub fn recorded(&self) -> &[LayerKind] {
        &self.recorded
    }

    /// The tensor of a parameter or buffer.
    ///
    /// # Errors
    /// When fewer tensors were given than declared.
    pub fn get(&self, id: ParamId) -> Result<&Tensor> {
        let count = self.tensors.len();
        ensure!(
            id.0 < count,
            "parameter #{} of a module with {count} tensors",
            id.0
        );
        Ok(&self.tensors[id.0])
    }

    /// All tensors, in the order of the declarations.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// What norms normalise with.
    pub fn mode(&self) -> BatchNormMode {
        self.mode
    }

    /// Exposes an intermediate feature under a name; every architecture taps `embedding`, the input of its classifier.
    pub fn tap(&self, name: &str, feature: &Tensor) {
        let tap = (name.to_owned(), feature.clone());
        self.taps.borrow_mut().push(tap);
    }

    pub(crate) fn report(&self, statistics: BatchNormStatistics) {
        self.statistics.borrow_mut().push(statistics);
    }

    pub(crate) fn record(&self, layer: &Layer, input: &Tensor) {
        if self.recorded.contains(&layer.kind) {
            self.keep(LayerInput {
                index: layer.index,
                name: layer.name.clone(),
                kind: layer.kind,
                input: input.clone(),
            });
        }
    }

    pub(crate) fn keep(&self, input: LayerInput) {
        self.inputs.borrow_mut().push(input);
    }

    /// The recorded inputs, in the order of the layers' declaration; takes them out.
    pub fn take_inputs(&self) -> Vec<LayerInput> {
        let mut inputs = self.inputs.take();
        inputs.sort_by_key(|layer| layer.index);
        inputs
    }

    /// What was tapped and reported so far.
    pub fn into_report(self) -> (Vec<(String, Tensor)>, Vec<BatchNormStatistics>) {
        (self.taps.into_inner(), self.statistics.into_inner())
    }
}
