//! The tensor operations of the host: one row for each, with its number, name, attributes and the API version that brought it.
//!
//! A row stands with the method that plugins call, in the file of its subject beside this one; the host answers each row in a file of
//! the same name. The numbers are an open set: adding one never changes a layout, and an older host answers that it has no such
//! operation.

use super::{
    Tensor,
    attributes::{Attributes, Reader},
};
use crate::{Error, ErrorKind, Result};

/// What is fixed about an operation.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number; never used again for another one.
    pub number: u32,
    /// Its name in messages.
    pub name: &'static str,
    /// The plugin API that brought it: major, minor.
    pub since: [u32; 2],
}

/// Why a call is no operation of this version.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No operation has the number.
    Unknown,
    /// The attributes do not fit the operation of this name.
    Attributes(&'static str, String),
}

/// The operations of one subject, with their attributes.
pub trait Operations: Sized {
    /// Their rows.
    const ROWS: &'static [Row];

    /// The number of this operation.
    fn number(&self) -> u32;

    /// The row of this operation.
    fn row(&self) -> &'static Row {
        let own = |row: &&Row| row.number == self.number();
        Self::ROWS.iter().find(own).expect("a row for each variant")
    }

    /// Appends its attributes.
    fn write(&self, to: &mut Attributes);

    /// The operation of a number; none where another subject has it.
    ///
    /// # Errors
    /// When the attributes do not fit it.
    fn read(number: u32, from: &mut Reader<'_>) -> Result<Option<Self>, String>;

    /// Has the host do it: `N` outputs, each of which may be absent.
    ///
    /// # Errors
    /// What the host answers.
    fn outputs<const N: usize>(&self, inputs: &[&Tensor]) -> Result<[Option<Tensor>; N]> {
        let mut attributes = Attributes::default();
        self.write(&mut attributes);
        let (ints, floats) = (attributes.ints(), attributes.floats());
        let outputs = Tensor::raw_dispatch::<N>(self.number(), inputs, ints, floats);
        outputs.map_err(|e| self.row().explain(e))
    }

    /// Has the host do it: one output.
    ///
    /// # Errors
    /// What the host answers.
    fn output(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let [output] = self.outputs::<1>(inputs)?;
        output.ok_or_else(|| self.row().absent())
    }
}

impl Row {
    /// The error for an output that must be there.
    pub(crate) fn absent(&self) -> Error {
        let message = format!("the host returned no output for {}", self.name);
        Error::new(ErrorKind::TENSOR, message)
    }

    /// Names an operation that an older host knows by number alone.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let [major, minor] = self.since;
        match error.kind() {
            ErrorKind::UNSUPPORTED => {
                error.context(format!("{} (plugin API {major}.{minor})", self.name))
            }
            _ => error,
        }
    }
}

/// Rows of one subject: number, API version, variant, name, attributes in the order in which they cross, and, where a method of
/// [`Tensor`] is nothing else, its name and further inputs.
macro_rules! operations {
    ($(#[$doc:meta])* $set:ident { $(
        $(#[$row_doc:meta])*
        $number:literal ($major:literal, $minor:literal) $variant:ident $name:literal
        { $($attribute:ident: $type:ty),* } $(fn $method:ident($($input:ident),*))?;
    )* }) => {
        $(#[$doc])*
        #[allow(missing_docs)] // documented by the methods of `Tensor`
        #[derive(Clone, Debug, PartialEq)]
        pub enum $set { $($variant { $($attribute: $type),* },)* }

        impl crate::tensor::operation::Operations for $set {
            const ROWS: &'static [crate::tensor::operation::Row] = &[$(crate::tensor::operation::Row {
                number: $number,
                name: $name,
                since: [$major, $minor],
            }),*];

            fn number(&self) -> u32 {
                match self { $(Self::$variant { .. } => $number,)* }
            }

            fn write(&self, to: &mut crate::tensor::attributes::Attributes) {
                match self { $(Self::$variant { $($attribute),* } => {
                    $(crate::tensor::attributes::Attribute::write($attribute, to);)*
                })* }
                let _ = to; // where no row has attributes
            }

            fn read(number: u32, from: &mut crate::tensor::attributes::Reader<'_>) -> Result<Option<Self>, String> {
                let _ = &from; // where no row has attributes
                Ok(Some(match number {
                    $($number => Self::$variant {
                        $($attribute: <$type as crate::tensor::attributes::Attribute>::read(from)?),*
                    },)*
                    _ => return Ok(None),
                }))
            }
        }

        $(crate::tensor::operation::method! {
            [$(#[$row_doc])*] [$($method($($input),*))?] $set $variant { $($attribute: $type),* }
        })*
    };
}

/// A method that hands its inputs and attributes on.
macro_rules! method {
    ([$($doc:tt)*] [] $($row:tt)*) => {};
    ([$($doc:tt)*] [$method:ident($($input:ident),*)] $set:ident $variant:ident { $($attribute:ident: $type:ty),* }) => {
        impl crate::Tensor {
            $($doc)*
            ///
            /// # Errors
            /// When shapes, element types or attributes do not fit.
            pub fn $method(&self, $($input: &crate::Tensor,)* $($attribute: $type),*) -> crate::Result<crate::Tensor> {
                crate::tensor::operation::Operations::output(&$set::$variant { $($attribute),* }, &[self, $($input),*])
            }
        }
    };
}

/// All subjects as one type.
macro_rules! subjects {
    ($($subject:ident),* $(,)?) => {
        /// Any operation of this version, by subject.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)] // each subject has its own
        pub enum Operation { $($subject($subject)),* }

        impl Operation {
            /// The rows of all operations.
            pub fn rows() -> impl Iterator<Item = &'static crate::tensor::operation::Row> {
                [$(<$subject as crate::tensor::operation::Operations>::ROWS),*].into_iter().flatten()
            }

            /// The operation of a call, as it crosses the boundary.
            ///
            /// # Errors
            /// [`crate::tensor::operation::Refusal`] for a number or attributes that this version does not know.
            pub fn read(number: u32, ints: &[i64], floats: &[f64]) -> Result<Self, crate::tensor::operation::Refusal> {
                let mut from = crate::tensor::attributes::Reader::new(ints, floats);
                let name = || Self::rows().find(|row| row.number == number).map_or("", |row| row.name);
                let refused = |why| crate::tensor::operation::Refusal::Attributes(name(), why);
                $(let read = <$subject as crate::tensor::operation::Operations>::read(number, &mut from);
                if let Some(operation) = read.map_err(refused)? {
                    return from.finish().map(|()| Self::$subject(operation)).map_err(refused);
                })*
                Err(crate::tensor::operation::Refusal::Unknown)
            }

            /// The row of this operation.
            pub fn row(&self) -> &'static crate::tensor::operation::Row {
                match self { $(Self::$subject(operation) => crate::tensor::operation::Operations::row(operation)),* }
            }

            /// Its attributes, as they cross the boundary.
            pub fn attributes(&self) -> crate::tensor::attributes::Attributes {
                let mut to = crate::tensor::attributes::Attributes::default();
                match self { $(Self::$subject(operation) => crate::tensor::operation::Operations::write(operation, &mut to)),* }
                to
            }
        }

        $(impl From<$subject> for Operation {
            fn from(operation: $subject) -> Self {
                Self::$subject(operation)
            }
        })*
    };
}

pub(crate) use {method, operations, subjects};
