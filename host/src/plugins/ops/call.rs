//! One call of an operation: its inputs, read with care, since they come from a plugin, and its outputs.

use plugin_api::{Error, ErrorKind, abi::RawTensor};

use super::{borrow, kind_of};
use crate::engine::{self, Tensor};

/// The most elements that a plugin may ask for in one tensor: beyond it, a slip in a shape and not a wish.
///
/// A failed allocation would end the process, so absurd sizes are refused before they are tried.
const MAX_ELEMENTS: usize = 1 << 30;

/// What an operation gives; some may be absent.
pub(super) struct Outputs(pub(super) Vec<Option<Tensor>>);

impl From<Tensor> for Outputs {
    fn from(tensor: Tensor) -> Self {
        Self(vec![Some(tensor)])
    }
}

impl From<Vec<Option<Tensor>>> for Outputs {
    fn from(tensors: Vec<Option<Tensor>>) -> Self {
        Self(tensors)
    }
}

/// Why an operation was not done.
pub(super) enum Fault {
    /// The call makes no sense.
    Call(String),
    /// The engine refused it.
    Engine(Box<engine::Error>),
}

impl From<engine::Error> for Fault {
    fn from(error: engine::Error) -> Self {
        Self::Engine(Box::new(error))
    }
}

/// Inputs of a call.
pub(super) struct Call<'a>(&'a [RawTensor]);

impl<'a> Call<'a> {
    /// # Safety
    /// Every handle must be null or live, and of this host.
    pub(super) unsafe fn new(raws: &'a [RawTensor]) -> Self {
        Self(raws)
    }

    /// Input `i`.
    pub(super) fn input(&self, i: usize) -> Result<&'a Tensor, Fault> {
        self.optional(i)
            .ok_or_else(|| Fault::Call(format!("input {i} is missing")))
    }

    /// Input `i`, if given.
    pub(super) fn optional(&self, i: usize) -> Option<&'a Tensor> {
        let raw = self.0.get(i).filter(|raw| !raw.0.is_null())?;
        // SAFETY: whoever made this call vouched for its handles.
        Some(unsafe { borrow(*raw) })
    }

    /// All inputs.
    pub(super) fn inputs(&self) -> Result<Vec<&'a Tensor>, Fault> {
        (0..self.0.len()).map(|i| self.input(i)).collect()
    }

    /// Input `i`, of a float type.
    pub(super) fn float_input(&self, i: usize) -> Result<&'a Tensor, Fault> {
        let tensor = self.input(i)?;
        if !tensor.dtype().is_float() {
            let found = tensor.dtype().as_str();
            return Err(Fault::Call(format!(
                "input {i} is of type {found}, expected a float (convert with to_dtype)"
            )));
        }
        Ok(tensor)
    }

    /// Input `i` if given, of a float type.
    pub(super) fn optional_float(&self, i: usize) -> Result<Option<&'a Tensor>, Fault> {
        self.optional(i).map(|_| self.float_input(i)).transpose()
    }

    /// A fault as the plugin's author reads it: `matmul(f32 [2, 3], f32 [4, 5]): expected ...`.
    pub(super) fn error(&self, name: &str, fault: Fault) -> Error {
        let kind = match &fault {
            Fault::Engine(error) => kind_of(&**error, ErrorKind::TENSOR),
            Fault::Call(_) => ErrorKind::TENSOR,
        };
        let message = match fault {
            Fault::Call(message) => message,
            Fault::Engine(error) => match *error {
                // The name stands in front already.
                engine::Error::Argument { op, message } if op == name => message,
                engine::Error::Argument { op, message } => format!("{op}: {message}"),
                other => first_line(&other.to_string()),
            },
        };
        let described = (0..self.0.len()).map(|i| match self.optional(i) {
            Some(t) => format!("{} {:?}", t.dtype().as_str(), t.dims()),
            None => "nothing".to_owned(),
        });
        let inputs: Vec<String> = described.collect();
        Error::new(kind, message).context(format!("{name}({})", inputs.join(", ")))
    }
}

/// Refuses shapes that nobody can mean.
pub(super) fn check_elements(dims: &[usize]) -> Result<(), Fault> {
    let count = dims
        .iter()
        .try_fold(1usize, |product, &dim| product.checked_mul(dim));
    match count {
        Some(count) if count <= MAX_ELEMENTS => Ok(()),
        _ => Err(Fault::Call(format!(
            "shape {dims:?} has more than the {MAX_ELEMENTS} elements allowed in one tensor"
        ))),
    }
}

/// Refuses planes of `x` at a size that nobody can mean.
pub(super) fn check_planes(x: &Tensor, [height, width]: [usize; 2]) -> Result<(), Fault> {
    let images: usize = x.dims().iter().take(2).product();
    check_elements(&[images.max(1), height, width])
}

/// A dimension of `x`.
pub(super) fn dim_of(dim: usize, x: &Tensor) -> Result<usize, Fault> {
    if dim < x.rank() {
        return Ok(dim);
    }
    Err(Fault::Call(format!(
        "no dimension {dim} in shape {:?}",
        x.dims()
    )))
}

/// An operation along a dimension of `x`.
pub(super) fn along(
    x: &Tensor,
    dim: usize,
    of: impl FnOnce(&Tensor, usize) -> engine::Result<Tensor>,
) -> Result<Tensor, Fault> {
    Ok(of(x, dim_of(dim, x)?)?)
}

/// An operation over dimensions of `x`.
pub(super) fn over(
    x: &Tensor,
    dims: &[usize],
    of: impl FnOnce(&Tensor, &[usize]) -> engine::Result<Tensor>,
) -> Result<Tensor, Fault> {
    Ok(of(x, &dims_of(dims, x)?)?)
}

/// Different dimensions of `x`; all of them where none are given.
fn dims_of(dims: &[usize], x: &Tensor) -> Result<Vec<usize>, Fault> {
    if dims.is_empty() {
        return Ok((0..x.rank()).collect());
    }
    for (place, &dim) in dims.iter().enumerate() {
        dim_of(dim, x)?;
        if dims[..place].contains(&dim) {
            return Err(Fault::Call(format!(
                "dimension {dim} is listed twice in {dims:?}"
            )));
        }
    }
    Ok(dims.to_vec())
}

/// The backend may append a backtrace.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
