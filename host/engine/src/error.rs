//! The engine's errors: which operation, on which shapes, and what it expected.

use super::value::Value;

/// Result of an engine operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in an engine operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments do not fit the operation.
    #[error("{op}: {message}")]
    Argument {
        /// Name of the operation.
        op: &'static str,
        /// What was found and what was expected.
        message: String,
    },
    /// candle refused the operation; the shapes are those of the inputs.
    #[error("{op}: {cause} (inputs {inputs})")]
    Backend {
        /// Name of the operation.
        op: &'static str,
        /// Shapes and types of the inputs, as text.
        inputs: String,
        /// What candle said; part of the message, so not a source of its own.
        cause: Box<candle_core::Error>,
    },
    /// A candle error outside any operation, such as reading a value.
    #[error(transparent)]
    Candle(Box<candle_core::Error>),
}

impl From<candle_core::Error> for Error {
    fn from(cause: candle_core::Error) -> Self {
        Self::Candle(Box::new(cause))
    }
}

impl Error {
    /// An argument error of operation `op`.
    pub fn argument(op: &'static str, message: impl Into<String>) -> Self {
        Self::Argument {
            op,
            message: message.into(),
        }
    }

    /// Wraps a candle error with the operation's name and the inputs it was given.
    pub fn backend(op: &'static str, inputs: &[&Value], cause: candle_core::Error) -> Self {
        let inputs = inputs
            .iter()
            .map(|v| format!("{:?} {}", v.dims(), v.dtype().as_str()))
            .collect::<Vec<_>>()
            .join(", ");
        let cause = Box::new(cause);
        Self::Backend { op, inputs, cause }
    }
}

/// Returns an [`Error::Argument`] built from a format string unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $op:expr, $($message:tt)+) => {
        // Negated as a whole, so that a comparison with NaN counts as a failure.
        #[allow(clippy::neg_cmp_op_on_partial_ord, clippy::nonminimal_bool)]
        if !($condition) {
            return Err($crate::error::Error::argument($op, format!($($message)+)));
        }
    };
}
pub(crate) use ensure;

#[cfg(test)]
mod tests {
    use crate::Tensor;

    #[test]
    fn an_error_names_the_operation_and_the_shapes() {
        let device = candle_core::Device::Cpu;
        let a = Tensor::zeros(&[2, 3], candle_core::DType::F32, &device).unwrap();
        let b = Tensor::zeros(&[4], candle_core::DType::F32, &device).unwrap();
        let text = a.add(&b).err().unwrap().to_string();
        assert!(text.starts_with("add: "), "{text}");
        assert!(text.contains("[2, 3]") && text.contains("[4]"), "{text}");
    }
}
