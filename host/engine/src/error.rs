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
        /// candle's message; part of this one, so not a separate source.
        cause: Box<candle_core::Error>,
    },
    /// A candle error outside any operation, such as reading a value.
    #[error(transparent)]
    Candle(Box<candle_core::Error>),
    /// A device has no room, in the words of its driver or of one of its libraries.
    #[error("{0}")]
    OutOfMemory(String),
}

impl From<candle_core::Error> for Error {
    fn from(cause: candle_core::Error) -> Self {
        Self::Candle(Box::new(cause)).sorted()
    }
}

/// Whether a driver or a library says that its device has no room. The only place that knows their words.
fn says_full(words: &str) -> bool {
    let signs = [
        "CUDA_ERROR_OUT_OF_MEMORY",
        "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUBLAS_STATUS_ALLOC_FAILED",
    ];
    signs.iter().any(|sign| words.contains(sign))
}

/// Whether a device had no room: whether this error, or one that it came from, says so.
pub fn is_out_of_memory(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut chain = std::iter::successors(Some(error), |error| error.source());
    chain.any(|error| match error.downcast_ref::<Error>() {
        Some(error) => matches!(error, Error::OutOfMemory(_)),
        // What candle was asked for outside of the engine.
        None => error
            .downcast_ref::<candle_core::Error>()
            .is_some_and(|error| says_full(&error.to_string())),
    })
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
        Self::Backend { op, inputs, cause }.sorted()
    }

    /// What the driver of a device or one of its libraries says when `op` is asked for.
    pub fn device(op: &'static str, message: impl Into<String>) -> Self {
        Self::argument(op, message).sorted()
    }

    /// The same words, as an error of its own kind where they say that a device has no room.
    fn sorted(self) -> Self {
        let words = self.to_string();
        match says_full(&words) {
            true => Self::OutOfMemory(words),
            false => self,
        }
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
    use super::*;
    use crate::Tensor;

    #[test]
    fn a_device_without_room_is_a_kind_whoever_says_so() {
        let driver = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
        let candle = || candle_core::Error::Msg(driver.to_owned());
        let library = "cuDNN: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED";
        let full = [
            (Error::from(candle()), driver.to_owned()),
            (
                Error::backend("matmul", &[], candle()),
                format!("matmul: {driver} (inputs )"),
            ),
            (
                Error::device("convolution", library),
                format!("convolution: {library}"),
            ),
        ];
        for (error, words) in full {
            assert!(is_out_of_memory(&error), "{error}");
            assert_eq!(error.to_string(), words);
        }
        assert!(is_out_of_memory(&candle()));
        let others = [
            Error::argument("CUDA_ERROR_OUT_OF_MEMORY", "in the words of a caller"),
            Error::device("convolution", "cuDNN: CUDNN_STATUS_BAD_PARAM"),
            Error::from(candle_core::Error::Msg("disk full".to_owned())),
        ];
        assert!(others.iter().all(|error| !is_out_of_memory(error)));
    }

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
