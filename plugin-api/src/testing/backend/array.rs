//! [`Array`]: values with a shape, an element type and a record of how they were made.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::tensor::DType;

/// The gradient of one parent, from the parents, which of them is asked for, and the gradient of the result.
pub(super) type Vjp = Box<dyn Fn(&[Array], usize, &Array) -> Array + Send + Sync>;

/// How values came about.
pub(super) enum History {
    /// No gradient flows to them.
    Constant,
    /// Something that gradients are asked for.
    Leaf,
    /// Made of other arrays.
    Made {
        /// What of.
        parents: Vec<Array>,
        /// Back to them.
        vjp: Vjp,
    },
}

/// The shared part of an [`Array`].
pub(super) struct Node {
    id: u64,
    dims: Vec<usize>,
    dtype: DType,
    values: Arc<Vec<f64>>,
    history: History,
}

/// A row-major array of f64 values. The element type is a tag: floats are not rounded, integers are whole numbers.
#[derive(Clone)]
pub(in crate::testing) struct Array(Arc<Node>);

impl Array {
    fn new(dtype: DType, dims: &[usize], values: Arc<Vec<f64>>, history: History) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        assert_eq!(
            values.len(),
            dims.iter().product::<usize>(),
            "values of shape {dims:?}"
        );
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Node {
            id,
            dims: dims.to_vec(),
            dtype,
            values,
            history,
        }))
    }

    /// Values without history.
    pub(in crate::testing) fn constant(dtype: DType, dims: &[usize], values: Vec<f64>) -> Self {
        Self::new(dtype, dims, Arc::new(values), History::Constant)
    }

    /// The result of an operation; without history where no parent is tracked.
    pub(super) fn made(
        dtype: DType,
        dims: &[usize],
        values: impl Into<Arc<Vec<f64>>>,
        parents: Vec<Array>,
        vjp: impl Fn(&[Array], usize, &Array) -> Array + Send + Sync + 'static,
    ) -> Self {
        let tracked = parents.iter().any(Array::is_tracked);
        let history = if tracked {
            History::Made {
                parents,
                vjp: Box::new(vjp),
            }
        } else {
            History::Constant
        };
        Self::new(dtype, dims, values.into(), history)
    }

    /// The same values as something that gradients can be asked for.
    pub(super) fn leaf(&self) -> Self {
        Self::new(
            self.dtype(),
            self.dims(),
            self.shared_values(),
            History::Leaf,
        )
    }

    /// The same values without history.
    pub(super) fn detach(&self) -> Self {
        Self::new(
            self.dtype(),
            self.dims(),
            self.shared_values(),
            History::Constant,
        )
    }

    /// One value everywhere, in this shape and type.
    pub(super) fn full_like(&self, value: f64) -> Self {
        Self::constant(self.dtype(), self.dims(), vec![value; self.len()])
    }

    /// Values in this element type.
    pub(super) fn like(&self, dims: &[usize], values: Vec<f64>) -> Self {
        Self::constant(self.dtype(), dims, values)
    }

    /// Grows with time: parents have smaller ones.
    pub(super) fn id(&self) -> u64 {
        self.0.id
    }

    /// The dimensions.
    pub(super) fn dims(&self) -> &[usize] {
        &self.0.dims
    }

    /// The number of dimensions.
    pub(super) fn rank(&self) -> usize {
        self.0.dims.len()
    }

    /// The number of elements.
    pub(super) fn len(&self) -> usize {
        self.0.values.len()
    }

    /// The element type.
    pub(super) fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// The elements in row-major order.
    pub(super) fn values(&self) -> &[f64] {
        &self.0.values
    }

    /// The elements without a copy.
    pub(super) fn shared_values(&self) -> Arc<Vec<f64>> {
        Arc::clone(&self.0.values)
    }

    /// How it was made.
    pub(super) fn history(&self) -> &History {
        &self.0.history
    }

    /// Whether gradients flow to it.
    pub(super) fn is_tracked(&self) -> bool {
        !matches!(self.0.history, History::Constant)
    }

    /// The shared part.
    pub(super) fn into_node(self) -> Arc<Node> {
        self.0
    }

    /// Around a shared part.
    pub(super) fn from_node(node: Arc<Node>) -> Self {
        Self(node)
    }
}

impl Node {
    fn take_parents(&mut self) -> Vec<Array> {
        match std::mem::replace(&mut self.history, History::Constant) {
            History::Made { parents, .. } => parents,
            History::Constant | History::Leaf => Vec::new(),
        }
    }
}

impl Drop for Node {
    /// A long graph is taken apart in a loop: the compiler's own drop would call itself once a node.
    fn drop(&mut self) {
        let mut waiting = self.take_parents();
        while let Some(Array(node)) = waiting.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                waiting.append(&mut node.take_parents());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_kept_where_something_is_tracked() {
        let plain = Array::constant(DType::F64, &[2], vec![1., 2.]);
        assert!(!plain.is_tracked());
        assert!(!plain.add(&plain).is_tracked());
        assert!(plain.leaf().add(&plain).is_tracked());
        assert!(!plain.leaf().add(&plain).detach().is_tracked());
    }

    #[test]
    fn a_long_graph_is_dropped_without_recursion() {
        let one = Array::constant(DType::F64, &[], vec![1.]);
        let mut sum = one.leaf();
        for _ in 0..100_000 {
            sum = sum.add(&one);
        }
        assert_eq!(sum.values(), [100_001.]);
        drop(sum);
    }
}
