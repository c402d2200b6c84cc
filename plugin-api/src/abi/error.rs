//! The error that crosses the boundary: one pointer wide, so that `RResult<(), Error>` stays small.

use std::fmt;

use abi_stable::{
    StableAbi,
    std_types::{RBox, RString, RVec},
};

/// What an error is about. An open set: later versions may append kinds.
#[repr(transparent)]
#[derive(StableAbi, Copy, Clone, PartialEq, Eq, Debug)]
pub struct ErrorKind(pub u32);

impl ErrorKind {
    /// Anything else.
    pub const OTHER: Self = Self(0);
    /// Options that do not parse or do not make sense.
    pub const CONFIG: Self = Self(1);
    /// A tensor operation that failed (shapes, types, values).
    pub const TENSOR: Self = Self(2);
    /// A panic that the fence caught.
    pub const PANIC: Self = Self(3);
    /// Something that the other side does not offer.
    pub const UNSUPPORTED: Self = Self(4);
    /// The device has no room for a result.
    pub const OUT_OF_MEMORY: Self = Self(5);
}

#[repr(C)]
#[derive(StableAbi)]
pub struct Repr {
    kind: ErrorKind,
    message: RString,
    context: RVec<RString>,
}

/// An error with a kind, a message and the contexts that callers added.
///
/// It converts from every `std::error::Error`, so `?` works on those; in turn it is not one itself.
#[repr(transparent)]
#[derive(StableAbi)]
pub struct Error(RBox<Repr>);

impl Error {
    /// An error of `kind`.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Error(RBox::new(Repr {
            kind,
            message: message.to_string().into(),
            context: RVec::new(),
        }))
    }

    /// An error of no particular kind.
    pub fn msg(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::OTHER, message)
    }

    /// What the error is about.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The root message, without contexts.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Adds where it happened; shown before the message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.context.push(context.to_string().into());
        self
    }

    /// Outermost context first, root message last.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        let context = self.0.context.iter().rev().map(RString::as_str);
        context.chain([self.0.message.as_str()])
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.chain().enumerate() {
            if i > 0 {
                f.write_str(": ")?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Error::msg(message)
    }
}
