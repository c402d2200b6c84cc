//! `Tensor`: a candle value and, when something asked for its gradient, the graph node that made it.

use std::sync::Arc;

use candle_core::{DType, Device, WithDType};

use super::autograd::{Edge, Node};
use super::error::{Error, Result};
use super::pending::Pending;
use super::value::Value;

/// A value on a device and its place in the graph of derivatives; cloning copies neither.
pub struct Tensor {
    content: Content,
    edge: Edge,
    /// Whether this is all that holds the entries: then whoever is handed it last may write over them.
    sole: bool,
}

#[derive(Clone)]
enum Content {
    Made(Value),
    Pending(Arc<Pending>),
}

impl Clone for Tensor {
    fn clone(&self) -> Self {
        self.at(self.edge.clone())
    }
}

impl Tensor {
    /// A tensor that nothing is differentiated with respect to.
    pub fn constant(value: Value) -> Self {
        Self::with_edge(value.detach(), None)
    }

    /// A constant whose value is made when it is read.
    pub(crate) fn pending(pending: Pending) -> Self {
        Self {
            content: Content::Pending(Arc::new(pending)),
            edge: None,
            sole: false,
        }
    }

    /// What is still to be done for the value, if it has not been made.
    pub(crate) fn unmade(&self) -> Option<&Pending> {
        match &self.content {
            Content::Made(_) => None,
            Content::Pending(pending) => Some(pending),
        }
    }

    /// The same, of which the caller knows that nothing else holds the entries: a kernel has just written them. A vjp that calls this must not
    /// give back the entries twice. What the graph holds stays as it is.
    pub(crate) fn made(self) -> Self {
        Self {
            sole: self.edge.is_none(),
            ..self
        }
    }

    /// Whether nobody else holds the entries.
    pub(crate) fn is_sole(&self) -> bool {
        self.sole
    }

    /// A tensor whose gradient can be asked for: the start of a graph.
    pub fn leaf(value: Value) -> Self {
        let edge = Some((Arc::new(Node::leaf(value.dims())), 0));
        Self::with_edge(value.detach(), edge)
    }

    /// A value with its place in the graph.
    pub(crate) fn with_edge(value: Value, edge: Edge) -> Self {
        Self {
            content: Content::Made(value),
            edge,
            sole: false,
        }
    }

    /// The same value at another place in the graph.
    pub(crate) fn at(&self, edge: Edge) -> Self {
        Self {
            content: self.content.clone(),
            edge,
            sole: false,
        }
    }

    /// A constant from numbers in row-major order.
    ///
    /// # Errors
    /// If the number of entries does not fit the shape.
    pub fn from_vec<T: WithDType>(data: Vec<T>, dims: &[usize], device: &Device) -> Result<Self> {
        Ok(Self::constant(Value::from_vec(data, dims, device)?))
    }

    /// A constant filled with zeros.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn zeros(dims: &[usize], dtype: DType, device: &Device) -> Result<Self> {
        Ok(Self::constant(Value::zeros(dims, dtype, device)?))
    }

    /// A constant filled with one number.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn full(number: f64, dims: &[usize], dtype: DType, device: &Device) -> Result<Self> {
        let scalar = Value::full(number, (), device)?.to_dtype(dtype)?;
        Ok(Self::constant(scalar.broadcast_as(dims)?.contiguous()?))
    }

    /// The same constant with its value made, which nobody else holds unless a clone has been made of it.
    pub(crate) fn settled(self) -> Self {
        let Content::Pending(pending) = self.content else {
            return self;
        };
        let alone = Arc::strong_count(&pending) == 1 && !pending.is_made();
        let made = Self::with_edge(pending.value().clone(), self.edge);
        if alone { made.made() } else { made }
    }

    /// The value alone.
    pub fn value(&self) -> &Value {
        match &self.content {
            Content::Made(value) => value,
            Content::Pending(pending) => pending.value(),
        }
    }

    /// A value of the same shape, type and device, which need not be made for it.
    fn like(&self) -> &Value {
        match &self.content {
            Content::Made(value) => value,
            Content::Pending(pending) => pending.like(),
        }
    }

    /// The value alone, without a copy.
    pub fn into_value(self) -> Value {
        match self.content {
            Content::Made(value) => value,
            Content::Pending(pending) => pending.value().clone(),
        }
    }

    /// The same value outside the graph.
    pub fn detach(&self) -> Self {
        self.at(None)
    }

    /// Whether a gradient flows through this tensor.
    pub fn is_tracked(&self) -> bool {
        self.edge.is_some()
    }

    pub(crate) fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Sizes of all dimensions.
    pub fn dims(&self) -> &[usize] {
        self.like().dims()
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.like().rank()
    }

    /// Number of entries.
    pub fn elem_count(&self) -> usize {
        self.like().elem_count()
    }

    /// Type of the entries.
    pub fn dtype(&self) -> DType {
        self.like().dtype()
    }

    /// Where the value lies.
    pub fn device(&self) -> &Device {
        self.like().device()
    }

    /// The sizes of a tensor of exactly `N` dimensions.
    ///
    /// # Errors
    /// If the rank is not `N`.
    pub fn dims_n<const N: usize>(&self, op: &'static str) -> Result<[usize; N]> {
        self.dims().try_into().map_err(|_| {
            Error::argument(
                op,
                format!("expected {N} dimensions, got {:?}", self.dims()),
            )
        })
    }

    /// The sizes of a batch of images.
    ///
    /// # Errors
    /// If the rank is not 4.
    pub fn dims4(&self) -> Result<[usize; 4]> {
        self.dims_n("dims4")
    }

    /// The only entry of a tensor of one entry, as f64.
    ///
    /// # Errors
    /// If there is not exactly one entry.
    pub fn to_scalar(&self) -> Result<f64> {
        if self.elem_count() != 1 {
            let message = format!("expected one entry, got shape {:?}", self.dims());
            return Err(Error::argument("to_scalar", message));
        }
        let value = self.value().flatten_all()?.to_dtype(DType::F64)?;
        Ok(value.to_vec1::<f64>()?[0])
    }

    /// All entries in row-major order, converted to f64.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub fn to_f64_vec(&self) -> Result<Vec<f64>> {
        Ok(self
            .value()
            .flatten_all()?
            .to_dtype(DType::F64)?
            .to_vec1::<f64>()?)
    }
}

/// Attaches an operation's name and input shapes to a candle result.
pub(crate) trait Named<T> {
    /// Names the operation that failed and describes its inputs.
    fn named(self, op: &'static str, inputs: &[&Tensor]) -> Result<T>;
}

impl<T> Named<T> for candle_core::Result<T> {
    fn named(self, op: &'static str, inputs: &[&Tensor]) -> Result<T> {
        self.map_err(|cause| {
            let values: Vec<&Value> = inputs.iter().map(|t| t.value()).collect();
            Error::backend(op, &values, cause)
        })
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tracked = if self.is_tracked() { ", tracked" } else { "" };
        write!(f, "Tensor({:?}, {:?}{tracked})", self.dims(), self.dtype())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_tracked_and_its_detached_twin_is_not() {
        let leaf = Tensor::leaf(Value::ones((2, 3), DType::F32, &Device::Cpu).unwrap());
        assert!(leaf.is_tracked());
        assert!(!leaf.detach().is_tracked());
        assert_eq!(leaf.dims(), [2, 3]);
        assert!(leaf.dims4().is_err());
    }

    #[test]
    fn to_scalar_refuses_more_than_one_entry() {
        let full = Tensor::full(2.5, &[1, 1], DType::F32, &Device::Cpu).unwrap();
        assert_eq!(full.to_scalar().unwrap(), 2.5);
        let two = Tensor::full(2.5, &[2], DType::F64, &Device::Cpu).unwrap();
        assert_eq!(two.to_f64_vec().unwrap(), [2.5, 2.5]);
        assert!(two.to_scalar().unwrap_err().to_string().contains("[2]"));
    }
}
