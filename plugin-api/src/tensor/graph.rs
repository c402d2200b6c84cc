//! History and gradients.

use super::{
    Tensor,
    attributes::Attributes,
    operation::{Operations, operations},
};
use crate::Result;

operations! {
    /// Operations on the graph of derivatives.
    Graph {
        /// The same values without history.
        42 (1, 0) Detach "detach" {} fn detach();
        /// The same values as a tracked leaf without history: something that [`crate::grad`] can be asked for.
        44 (1, 0) Leaf "leaf" {} fn leaf();
        45 (1, 0) IsTracked "is_tracked" {};
        110 (1, 0) Grad "grad" { create_graph: bool };
    }
}

impl Tensor {
    /// Whether gradients flow to this tensor.
    ///
    /// # Errors
    /// When the host cannot say.
    pub fn is_tracked(&self) -> Result<bool> {
        Ok(Graph::IsTracked {}.output(&[self])?.to_vec_u32()? == [1])
    }
}

/// Gradients of the scalar `loss` with respect to `inputs`, in their order; `None` where `loss` does not depend on one.
///
/// With `create_graph` the gradients are differentiable themselves. `loss` and its graph stay usable.
///
/// # Errors
/// When `loss` is no scalar, or an input is not tracked (see [`Tensor::leaf`]).
pub fn grad(loss: &Tensor, inputs: &[&Tensor], create_graph: bool) -> Result<Vec<Option<Tensor>>> {
    let mut all = vec![loss];
    all.extend_from_slice(inputs);
    let operation = Graph::Grad { create_graph };
    let mut attributes = Attributes::default();
    operation.write(&mut attributes);
    let (ints, floats) = (attributes.ints(), attributes.floats());
    Tensor::raw_dispatch_many(operation.number(), &all, ints, floats, inputs.len())
}
