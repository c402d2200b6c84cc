//! Errors of plugins: [`Error`], [`Result`], [`Context`], [`bail!`](crate::bail) and [`ensure!`](crate::ensure).

use std::fmt;

pub use crate::abi::{Error, ErrorKind};

/// A result with the boundary's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds where it happened to an error.
pub trait Context<T> {
    /// Adds `context`, shown before the message.
    ///
    /// # Errors
    /// The error that it was called on.
    fn context(self, context: impl fmt::Display) -> Result<T>;
    /// Adds a context that is only computed on error.
    ///
    /// # Errors
    /// The error that it was called on.
    fn with_context<D: fmt::Display>(self, context: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, context: impl fmt::Display) -> Result<T> {
        self.map_err(|e| e.into().context(context))
    }

    fn with_context<D: fmt::Display>(self, context: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| e.into().context(context()))
    }
}

/// Returns an [`Error`] made from a format string.
#[macro_export]
macro_rules! bail {
    ($($t:tt)*) => { return ::core::result::Result::Err($crate::Error::msg(::std::format!($($t)*))) };
}

/// Returns an [`Error`] made from a format string unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($t:tt)*) => { if !$condition { $crate::bail!($($t)*) } };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_come_outermost_first() {
        let error = Err::<(), _>(Error::new(ErrorKind::TENSOR, "root"))
            .context("inner")
            .context("outer")
            .unwrap_err();
        assert_eq!(error.to_string(), "outer: inner: root");
        assert_eq!((error.kind(), error.message()), (ErrorKind::TENSOR, "root"));
    }

    #[test]
    fn std_errors_convert() {
        fn parse(text: &str) -> Result<i32> {
            Ok(text.parse::<i32>()?)
        }
        assert_eq!(parse("7").unwrap(), 7);
        assert!(
            parse("x")
                .unwrap_err()
                .to_string()
                .contains("invalid digit")
        );
    }
}
