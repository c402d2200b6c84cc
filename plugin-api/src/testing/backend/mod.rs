//! A small tensor backend in plain Rust, for tests: f64 values whatever the element type, and derivatives of any
//! order.
//!
//! It is written to be read, not to be fast. Six primitives carry everything: sum, product, choice, elementwise
//! map, matrix product, and `take`/`put`, which read and add elements by a table of places and are each other's
//! derivative. All other operations are made of them, so each is differentiable as often as one likes.

mod arithmetic;
mod array;
mod autograd;
mod call;
mod dispatch;
mod element;
mod elementwise;
mod host;
mod network;
mod norm;
mod places;
mod pool;
mod primitive;
mod rearrange;
mod reduce;
mod shape;

pub(super) use array::Array;
pub(super) use host::export;

#[cfg(test)]
mod gradient_test;
#[cfg(test)]
mod value_test;
