//! The tensors that the host lends to plugins: the table of functions behind `plugin_api::Tensor`.
//!
//! A handle is a counted pointer to an engine tensor. Every function is fenced: whatever a plugin asks for, it gets an answer or an
//! error that names the operation, shapes and types, and the process lives on.

mod call;
mod create;
mod custom;
#[cfg(test)]
mod derivatives;
mod elementwise;
mod graph;
mod index;
mod norm;
mod pool;
mod precision;
mod product;
mod reduce;
mod resample;
mod shape;
mod softmax;
mod transfer;

use std::sync::{Arc, OnceLock};

use plugin_api::{
    Error, ErrorKind, Tensor as Handle,
    abi::{
        API_VERSION, Attrs, DType, HostVTable, HostVTable_Ref, RComponent, RResult, RSlice,
        RSliceMut, RVec, RawTensor, caught, fence, make_vtable, silence_panics,
    },
    kernel::ForeignKernel,
    tensor::{
        Operation,
        operation::{Operations, Refusal},
    },
};

use crate::engine::{Tensor, error::is_out_of_memory};
use call::{Call, Fault, Outputs};
use precision::Class;

/// The most dimensions that a handle can tell of.
const MAX_RANK: usize = 8;

/// Lends a tensor to plugins.
pub fn export(tensor: Tensor) -> Handle {
    // SAFETY: the handle is fresh, owned, and made for this table.
    unsafe { Handle::from_raw(into_raw(tensor), table()) }
}

/// The tensor behind a handle.
///
/// # Errors
/// When the handle belongs to another host: a tensor backend for tests, say.
pub fn import(handle: &Handle) -> plugin_api::Result<&Tensor> {
    if handle.table_address() != table().0.to_raw_ptr().cast() {
        let message =
            "a tensor from another host: expected one that this program lent to the plugin";
        return Err(Error::new(ErrorKind::TENSOR, message));
    }
    // SAFETY: handles of this table point to engine tensors, and this one lives as long as the borrow of its owner.
    Ok(unsafe { borrow(handle.raw()) })
}

/// The kind that an error of the host is to a plugin: that a device had no room, told as such, or another.
pub fn kind_of(error: &(dyn std::error::Error + 'static), other: ErrorKind) -> ErrorKind {
    match is_out_of_memory(error) {
        true => ErrorKind::OUT_OF_MEMORY,
        false => other,
    }
}

fn table() -> HostVTable_Ref {
    static TABLE: OnceLock<HostVTable_Ref> = OnceLock::new();
    *TABLE.get_or_init(|| {
        // What a fence catches is told once, in the error.
        silence_panics();
        make_vtable(HostVTable {
            clone: clone_raw,
            drop: drop_raw,
            shape: shape_raw,
            dtype: dtype_raw,
            dispatch,
            to_host,
            from_host,
            custom: custom_op,
        })
    })
}

fn into_raw(tensor: Tensor) -> RawTensor {
    RawTensor(Arc::into_raw(Arc::new(tensor)).cast())
}

/// # Safety
/// `raw` must be a live handle of this host.
unsafe fn borrow<'a>(raw: RawTensor) -> &'a Tensor {
    // SAFETY: the caller vouches for the handle; the pointer comes from `Arc::into_raw`.
    unsafe { &*raw.0.cast::<Tensor>() }
}

unsafe extern "C" fn clone_raw(raw: RawTensor) -> RawTensor {
    // SAFETY: the caller has a live handle, so the count is at least 1.
    unsafe { Arc::increment_strong_count(raw.0.cast::<Tensor>()) };
    raw
}

unsafe extern "C" fn drop_raw(raw: RawTensor) {
    // SAFETY: the caller gives its handle up.
    let tensor = unsafe { Arc::from_raw(raw.0.cast::<Tensor>()) };
    if let Err(error) = caught("dropping a tensor", || {
        drop(tensor);
        Ok(())
    }) {
        tell!("warning: {error}");
    }
}

unsafe extern "C" fn shape_raw(raw: RawTensor, dims: &mut [usize; MAX_RANK]) -> usize {
    // SAFETY: the caller has a live handle.
    let own = unsafe { borrow(raw) }.dims();
    let rank = own.len().min(MAX_RANK);
    dims[..rank].copy_from_slice(&own[..rank]);
    rank
}

unsafe extern "C" fn dtype_raw(raw: RawTensor) -> DType {
    // SAFETY: the caller has a live handle.
    transfer::dtype_code(unsafe { borrow(raw) }.dtype())
}

unsafe extern "C" fn dispatch(
    op: u32,
    inputs: RSlice<'_, RawTensor>,
    attrs: &Attrs<'_>,
    mut outputs: RSliceMut<'_, RawTensor>,
) -> RResult<(), Error> {
    fence("a tensor operation of the host", || {
        let (ints, floats) = (attrs.ints.as_slice(), attrs.floats.as_slice());
        let operation = Operation::read(op, ints, floats).map_err(|refusal| match refusal {
            Refusal::Unknown => Error::new(ErrorKind::UNSUPPORTED, unknown_op(op)),
            Refusal::Attributes(name, why) => Error::new(ErrorKind::TENSOR, why).context(name),
        })?;
        let made = perform(&operation, inputs.as_slice(), outputs.len())?;
        for (output, tensor) in outputs.as_mut_slice().iter_mut().zip(made) {
            *output = tensor.map_or(RawTensor::NULL, into_raw);
        }
        Ok(())
    })
}

/// What the host does for an operation of a subject.
trait Lent: Operations {
    /// Does it.
    fn perform(&self, call: &Call<'_>) -> Result<Outputs, Fault>;

    /// What it computes in where layers compute in bf16.
    fn class(&self) -> Class;
}

/// What the host answers to the operations of a subject, a row for each: its precision class, its attributes, its outputs.
macro_rules! answers {
    ($set:ident, $call:ident; $($class:expr, $variant:ident { $($attribute:ident),* } => $outputs:expr;)*) => {
        impl Lent for $set {
            fn perform(&self, $call: &Call<'_>) -> Result<Outputs, Fault> {
                Ok(match self {
                    $(Self::$variant { $($attribute),* } => Outputs::from($outputs),)*
                })
            }

            fn class(&self) -> Class {
                match self { $(Self::$variant { .. } => $class,)* }
            }
        }
    };
}

use answers;

/// Applies a function to an operation, whatever its subject.
macro_rules! lent {
    ($operation:expr, $one:ident => $what:expr) => {
        match $operation {
            Operation::Elementwise($one) => $what,
            Operation::Create($one) => $what,
            Operation::Graph($one) => $what,
            Operation::Reduce($one) => $what,
            Operation::Softmax($one) => $what,
            Operation::Product($one) => $what,
            Operation::Pool($one) => $what,
            Operation::Norm($one) => $what,
            Operation::Shape($one) => $what,
            Operation::Index($one) => $what,
            Operation::Resample($one) => $what,
        }
    };
}

/// Does an operation and gives as many outputs as are asked for.
fn perform(
    operation: &Operation,
    inputs: &[RawTensor],
    outputs: usize,
) -> Result<Vec<Option<Tensor>>, Error> {
    let class = lent!(operation, one => one.class());
    // SAFETY: the caller has live handles.
    let prepared = unsafe { class.prepare(inputs) };
    let prepared = prepared.map_err(|e| Error::new(kind_of(&e, ErrorKind::TENSOR), e))?;
    let raws: Option<Vec<RawTensor>> = prepared.as_ref().map(|tensors| {
        let raw = |t: &Option<Tensor>| {
            let place = t.as_ref().map(std::ptr::from_ref);
            place.map_or(RawTensor::NULL, |place| RawTensor(place.cast()))
        };
        tensors.iter().map(raw).collect()
    });
    // SAFETY: the caller has live handles, and those that were prepared live through the call.
    let call = unsafe { Call::new(raws.as_deref().unwrap_or(inputs)) };
    let made = lent!(operation, one => one.perform(&call));
    made.and_then(|made| fitting(made, outputs))
        .map_err(|fault| call.error(operation.row().name, fault))
}

/// The outputs, when the caller asked for as many and can tell their shapes.
fn fitting(Outputs(made): Outputs, asked: usize) -> Result<Vec<Option<Tensor>>, Fault> {
    if made.len() != asked {
        return Err(Fault::Call(format!(
            "{asked} outputs were requested, but there are {}",
            made.len()
        )));
    }
    match made.iter().flatten().find(|t| t.rank() > MAX_RANK) {
        Some(t) => Err(Fault::Call(format!(
            "the result {:?} has more than {MAX_RANK} dimensions",
            t.dims()
        ))),
        None => Ok(made),
    }
}

unsafe extern "C" fn to_host(raw: RawTensor, dtype: DType) -> RResult<RVec<u8>, Error> {
    fence("reading a tensor", || {
        // SAFETY: the caller has a live handle.
        transfer::to_bytes(unsafe { borrow(raw) }, dtype).map(RVec::from)
    })
}

unsafe extern "C" fn from_host(
    beside: RawTensor,
    dtype: DType,
    bytes: RSlice<'_, u8>,
    dims: RSlice<'_, usize>,
    output: &mut RawTensor,
) -> RResult<(), Error> {
    fence("making a tensor", || {
        // SAFETY: the caller has a live handle.
        let device = unsafe { borrow(beside) }.device();
        *output = into_raw(transfer::from_bytes(
            bytes.as_slice(),
            dtype,
            dims.as_slice(),
            device,
        )?);
        Ok(())
    })
}

unsafe extern "C" fn custom_op(
    kernel: RComponent,
    inputs: RSlice<'_, RawTensor>,
    output: &mut RawTensor,
) -> RResult<(), Error> {
    fence("a kernel of a plugin", || {
        // SAFETY: the caller has live handles.
        let inputs: Vec<&Tensor> = inputs.iter().map(|&raw| unsafe { borrow(raw) }).collect();
        *output = into_raw(custom::apply(ForeignKernel::new(kernel), &inputs)?);
        Ok(())
    })
}

/// What an unknown operation is answered with.
fn unknown_op(op: u32) -> String {
    let [major, minor] = API_VERSION;
    format!(
        "this host (plugin API {major}.{minor}) has no tensor op #{op}; the plugin needs a newer one"
    )
}

#[cfg(test)]
mod composed_test;
#[cfg(test)]
mod tests;
