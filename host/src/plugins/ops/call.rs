//! One call of an operation: its inputs and attributes, read with care, since they come from a plugin.

use plugin_api::{Error, ErrorKind, abi::RawTensor, ops};

use super::{borrow, kind_of, unknown_op};
use crate::engine::{self, Tensor};

/// The most elements that a plugin may ask for in one tensor: beyond it, a slip in a shape and not a wish.
///
/// A failed allocation would end the process, so absurd sizes are refused before they are tried.
const MAX_ELEMENTS: usize = 1 << 30;

/// What an operation gives.
pub(super) enum Outputs {
    /// One tensor.
    One(Tensor),
    /// Several; some may be absent.
    Many(Vec<Option<Tensor>>),
}

/// Why an operation was not done.
pub(super) enum Fault {
    /// The call makes no sense.
    Call(String),
    /// The engine refused it.
    Engine(Box<engine::Error>),
    /// This version has no such operation.
    UnknownOp,
}

impl From<engine::Error> for Fault {
    fn from(error: engine::Error) -> Self {
        Self::Engine(Box::new(error))
    }
}

/// Inputs and attributes of a call.
pub(super) struct Call<'a> {
    raws: &'a [RawTensor],
    ints: &'a [i64],
    floats: &'a [f64],
}

impl<'a> Call<'a> {
    /// # Safety
    /// Every handle must be null or live, and of this host.
    pub(super) unsafe fn new(raws: &'a [RawTensor], ints: &'a [i64], floats: &'a [f64]) -> Self {
        Self { raws, ints, floats }
    }

    /// Input `i`.
    pub(super) fn input(&self, i: usize) -> Result<&'a Tensor, Fault> {
        self.optional(i)
            .ok_or_else(|| Fault::Call(format!("input {i} is missing")))
    }

    /// Input `i`, if given.
    pub(super) fn optional(&self, i: usize) -> Option<&'a Tensor> {
        let raw = self.raws.get(i).filter(|raw| !raw.0.is_null())?;
        // SAFETY: whoever made this call vouched for its handles.
        Some(unsafe { borrow(*raw) })
    }

    /// All inputs.
    pub(super) fn inputs(&self) -> Result<Vec<&'a Tensor>, Fault> {
        (0..self.raws.len()).map(|i| self.input(i)).collect()
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

    /// Integer `i`.
    pub(super) fn int(&self, i: usize) -> Result<i64, Fault> {
        self.ints
            .get(i)
            .copied()
            .ok_or_else(|| Fault::Call(format!("integer attribute {i} is missing")))
    }

    /// Integer `i` as a size or an index.
    pub(super) fn size(&self, i: usize) -> Result<usize, Fault> {
        as_size(self.int(i)?)
    }

    /// Integers `i` and `i + 1` as sizes: height and width.
    pub(super) fn pair(&self, i: usize) -> Result<[usize; 2], Fault> {
        Ok([self.size(i)?, self.size(i + 1)?])
    }

    /// Integers from `i` on as sizes.
    pub(super) fn sizes_from(&self, i: usize) -> Result<Vec<usize>, Fault> {
        self.ints
            .get(i..)
            .unwrap_or_default()
            .iter()
            .map(|&int| as_size(int))
            .collect()
    }

    /// Integer `i` as yes or no.
    pub(super) fn flag(&self, i: usize) -> Result<bool, Fault> {
        match self.int(i)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Fault::Call(format!(
                "integer attribute {i} is {other}, expected 0 or 1"
            ))),
        }
    }

    /// Integer `i` as a dimension of `x`.
    pub(super) fn dim(&self, i: usize, x: &Tensor) -> Result<usize, Fault> {
        let dim = self.size(i)?;
        check_dim(dim, x)?;
        Ok(dim)
    }

    /// Integers from `i` on as different dimensions of `x`; all of them where there are none.
    pub(super) fn dims_from(&self, i: usize, x: &Tensor) -> Result<Vec<usize>, Fault> {
        let dims = self.sizes_from(i)?;
        if dims.is_empty() {
            return Ok((0..x.rank()).collect());
        }
        for (place, &dim) in dims.iter().enumerate() {
            check_dim(dim, x)?;
            if dims[..place].contains(&dim) {
                return Err(Fault::Call(format!(
                    "dimension {dim} is named twice in {dims:?}"
                )));
            }
        }
        Ok(dims)
    }

    /// Float `i`.
    pub(super) fn float(&self, i: usize) -> Result<f64, Fault> {
        self.floats
            .get(i)
            .copied()
            .ok_or_else(|| Fault::Call(format!("float attribute {i} is missing")))
    }

    /// All floats.
    pub(super) fn floats(&self) -> &'a [f64] {
        self.floats
    }

    /// A fault as the plugin's author reads it: `matmul(f32 [2, 3], f32 [4, 5]): expected ...`.
    pub(super) fn error(&self, op: u32, fault: Fault) -> Error {
        let name = ops::name(op).to_ascii_lowercase();
        let kind = match &fault {
            Fault::Engine(error) => kind_of(&**error, ErrorKind::TENSOR),
            _ => ErrorKind::TENSOR,
        };
        let message = match fault {
            Fault::UnknownOp => return Error::new(ErrorKind::UNSUPPORTED, unknown_op(op)),
            Fault::Call(message) => message,
            Fault::Engine(error) => match *error {
                // The name stands in front already.
                engine::Error::Argument { op, message } if op == name => message,
                engine::Error::Argument { op, message } => format!("{op}: {message}"),
                other => first_line(&other.to_string()),
            },
        };
        let described = (0..self.raws.len()).map(|i| match self.optional(i) {
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
            "shape {dims:?} holds more than the {MAX_ELEMENTS} elements that one tensor may have"
        ))),
    }
}

fn check_dim(dim: usize, x: &Tensor) -> Result<(), Fault> {
    if dim < x.rank() {
        return Ok(());
    }
    Err(Fault::Call(format!(
        "no dimension {dim} in shape {:?}",
        x.dims()
    )))
}

fn as_size(int: i64) -> Result<usize, Fault> {
    // Up to i32::MAX no sum or product of two can overflow.
    let size = i32::try_from(int)
        .ok()
        .and_then(|int| usize::try_from(int).ok());
    size.ok_or_else(|| {
        Fault::Call(format!(
            "{int} is no size or index, expected 0 to {}",
            i32::MAX
        ))
    })
}

/// The backend may append a backtrace.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
