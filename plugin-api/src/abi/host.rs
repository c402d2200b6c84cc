//! The tensor handle and the table of host functions behind it.

#![allow(missing_docs, clippy::should_implement_trait)] // accessors that the derive generates

use std::mem::ManuallyDrop;

use abi_stable::{
    StableAbi,
    prefix_type::PrefixTypeTrait,
    std_types::{RResult, RSlice, RSliceMut, RVec},
};

use super::{Error, ErrorKind, RComponent};

/// A pointer that only the host understands; null means "no tensor".
#[repr(transparent)]
#[derive(StableAbi, Copy, Clone)]
pub struct RawTensor(pub *const ());

// SAFETY: the host's tensors are Send and Sync, and nothing but the host follows the pointer.
unsafe impl Send for RawTensor {}
// SAFETY: as above.
unsafe impl Sync for RawTensor {}

impl RawTensor {
    /// No tensor.
    pub const NULL: Self = RawTensor(std::ptr::null());
}

/// Element type. An open set: later versions may append types.
#[repr(transparent)]
#[derive(StableAbi, Copy, Clone, PartialEq, Eq, Debug)]
pub struct DType(pub u32);

impl DType {
    /// 32-bit float.
    pub const F32: Self = Self(0);
    /// 64-bit float.
    pub const F64: Self = Self(1);
    /// Unsigned 32-bit integer: labels and indices.
    pub const U32: Self = Self(2);
    /// Unsigned byte: masks and packed records.
    pub const U8: Self = Self(3);
    /// Signed 64-bit integer.
    pub const I64: Self = Self(4);
    /// 16-bit float (IEEE).
    pub const F16: Self = Self(5);
    /// 16-bit float (bfloat16).
    pub const BF16: Self = Self(6);

    /// Bytes of one element; 0 for a type that this version does not know.
    pub fn size(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F64 | Self::I64 => 8,
            Self::U8 => 1,
            Self::F16 | Self::BF16 => 2,
            _ => 0,
        }
    }
}

/// Positional attributes of an operation; trailing ones may be missing.
#[repr(C)]
#[derive(StableAbi, Copy, Clone)]
pub struct Attrs<'a> {
    pub ints: RSlice<'a, i64>,
    pub floats: RSlice<'a, f64>,
    #[cfg(feature = "test-changed-layout")]
    pub changed: u64,
}

/// What the host does for a tensor. Grows only after the last prefix field.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostVTable_Ref, prefix_fields = HostVTable_Prefix)))]
#[sabi(missing_field(panic))]
pub struct HostVTable {
    /// Another handle on the same tensor.
    pub clone: unsafe extern "C" fn(RawTensor) -> RawTensor,
    /// Gives a handle back.
    pub drop: unsafe extern "C" fn(RawTensor),
    /// Writes up to 8 dimensions, returns the rank.
    pub shape: unsafe extern "C" fn(RawTensor, &mut [usize; 8]) -> usize,
    /// Element type.
    pub dtype: unsafe extern "C" fn(RawTensor) -> DType,
    /// Does operation `op` and fills every output (null where an output is absent).
    pub dispatch: unsafe extern "C" fn(
        u32,
        RSlice<'_, RawTensor>,
        &Attrs<'_>,
        RSliceMut<'_, RawTensor>,
    ) -> RResult<(), Error>,
    /// Elements in row-major order, converted to the given type, as bytes of this machine.
    #[sabi(last_prefix_field)]
    pub to_host: unsafe extern "C" fn(RawTensor, DType) -> RResult<RVec<u8>, Error>,
    /// A tensor from bytes of this machine, on the device of the first argument.
    #[cfg(not(feature = "test-older"))]
    pub from_host: unsafe extern "C" fn(
        RawTensor,
        DType,
        RSlice<'_, u8>,
        RSlice<'_, usize>,
        &mut RawTensor,
    ) -> RResult<(), Error>,
    /// Does an operation that the plugin brings itself; since 1.2.
    #[cfg(not(feature = "test-older"))]
    #[sabi(missing_field(option))]
    pub custom: unsafe extern "C" fn(
        RComponent,
        RSlice<'_, RawTensor>,
        &mut RawTensor,
    ) -> RResult<(), Error>,
    #[cfg(feature = "test-newer")]
    #[sabi(missing_field(option))]
    pub appended: unsafe extern "C" fn(RawTensor) -> u64,
}

/// Makes the host's table; called once by a host.
pub fn make_vtable(table: HostVTable) -> HostVTable_Ref {
    table.leak_into_prefix()
}

/// A handle on a tensor that lives in the host, automatic differentiation included. Cheap to clone, `Send` and `Sync`.
///
/// Its methods carry candle's names; see [`crate::tensor`].
#[repr(C)]
#[derive(StableAbi)]
pub struct Tensor {
    raw: RawTensor,
    table: HostVTable_Ref,
}

impl Clone for Tensor {
    fn clone(&self) -> Self {
        // SAFETY: `raw` is a live handle of the host that owns `table`.
        let raw = unsafe { self.table.clone()(self.raw) };
        Tensor {
            raw,
            table: self.table,
        }
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: `raw` is a live handle, and this is its only owner.
        unsafe { self.table.drop()(self.raw) }
    }
}

impl Tensor {
    /// Takes ownership of a host handle.
    ///
    /// # Safety
    /// `raw` must be a live, owned handle of the host behind `table`.
    pub unsafe fn from_raw(raw: RawTensor, table: HostVTable_Ref) -> Self {
        Tensor { raw, table }
    }

    /// The handle, still owned by `self`.
    pub fn raw(&self) -> RawTensor {
        self.raw
    }

    /// Gives up the handle without dropping it.
    pub fn into_raw(self) -> RawTensor {
        ManuallyDrop::new(self).raw
    }

    /// The table behind the handle; two tensors of one host have the same address here.
    pub fn table_address(&self) -> *const () {
        self.table.0.to_raw_ptr().cast()
    }

    pub(crate) fn raw_shape(&self) -> ([usize; 8], usize) {
        let mut dims = [0; 8];
        // SAFETY: `raw` is a live handle.
        let rank = unsafe { self.table.shape()(self.raw, &mut dims) };
        (dims, rank)
    }

    pub(crate) fn raw_dtype(&self) -> DType {
        // SAFETY: `raw` is a live handle.
        unsafe { self.table.dtype()(self.raw) }
    }

    /// The table of the one host that all `tensors` belong to.
    fn common_table(tensors: &[&Tensor]) -> Result<HostVTable_Ref, Error> {
        let address = tensors[0].table_address();
        if tensors.iter().any(|t| t.table_address() != address) {
            return Err(Error::new(
                ErrorKind::TENSOR,
                "tensors from two different hosts in one operation",
            ));
        }
        Ok(tensors[0].table)
    }

    pub(crate) fn raw_dispatch<const N: usize>(
        op: u32,
        inputs: &[&Tensor],
        ints: &[i64],
        floats: &[f64],
    ) -> Result<[Option<Tensor>; N], Error> {
        let mut outputs = [RawTensor::NULL; N];
        let wrap = Self::raw_dispatch_into(op, inputs, ints, floats, &mut outputs)?;
        Ok(outputs.map(wrap))
    }

    pub(crate) fn raw_dispatch_many(
        op: u32,
        inputs: &[&Tensor],
        ints: &[i64],
        floats: &[f64],
        count: usize,
    ) -> Result<Vec<Option<Tensor>>, Error> {
        let mut outputs = vec![RawTensor::NULL; count];
        let wrap = Self::raw_dispatch_into(op, inputs, ints, floats, &mut outputs)?;
        Ok(outputs.into_iter().map(wrap).collect())
    }

    /// Fills the outputs; gives what makes tensors of them.
    fn raw_dispatch_into(
        op: u32,
        inputs: &[&Tensor],
        ints: &[i64],
        floats: &[f64],
        outputs: &mut [RawTensor],
    ) -> Result<impl Fn(RawTensor) -> Option<Tensor> + use<>, Error> {
        const INLINE: usize = 8;
        if inputs.is_empty() {
            return Err(Error::new(
                ErrorKind::TENSOR,
                format!("tensor op #{op} without an input"),
            ));
        }
        let table = Self::common_table(inputs)?;
        let attrs = Attrs {
            ints: ints.into(),
            floats: floats.into(),
            #[cfg(feature = "test-changed-layout")]
            changed: 0,
        };
        let call = |raws: &[RawTensor], outputs: &mut [RawTensor]| {
            // SAFETY: every input is a live handle of this host; the slices live through the call.
            unsafe { table.dispatch()(op, raws.into(), &attrs, outputs.into()) }.into_result()
        };
        if inputs.len() <= INLINE {
            let mut raws = [RawTensor::NULL; INLINE];
            for (raw, tensor) in raws.iter_mut().zip(inputs) {
                *raw = tensor.raw;
            }
            call(&raws[..inputs.len()], outputs)?;
        } else {
            let raws: Vec<RawTensor> = inputs.iter().map(|t| t.raw).collect();
            call(&raws, outputs)?;
        }
        Ok(move |raw: RawTensor| {
            // SAFETY: the host filled the outputs with owned handles or null.
            (!raw.0.is_null()).then(|| unsafe { Tensor::from_raw(raw, table) })
        })
    }

    pub(crate) fn raw_to_host(&self, dtype: DType) -> Result<Vec<u8>, Error> {
        // SAFETY: `raw` is a live handle.
        let bytes = unsafe { self.table.to_host()(self.raw, dtype) };
        bytes.into_result().map(RVec::into_vec)
    }

    #[cfg(feature = "test-older")]
    pub(crate) fn raw_from_host(&self, _: DType, _: &[u8], _: &[usize]) -> Result<Tensor, Error> {
        Err(Error::new(
            ErrorKind::UNSUPPORTED,
            "this version has no from_host",
        ))
    }

    #[cfg(not(feature = "test-older"))]
    pub(crate) fn raw_from_host(
        &self,
        dtype: DType,
        bytes: &[u8],
        dims: &[usize],
    ) -> Result<Tensor, Error> {
        let mut raw = RawTensor::NULL;
        // SAFETY: `raw` is a live handle; the slices live through the call.
        let result =
            unsafe { self.table.from_host()(self.raw, dtype, bytes.into(), dims.into(), &mut raw) };
        result.into_result()?;
        // SAFETY: the host answered with success, so `raw` is an owned handle.
        Ok(unsafe { Tensor::from_raw(raw, self.table) })
    }

    #[cfg(feature = "test-older")]
    pub(crate) fn raw_custom(_: RComponent, _: &[&Tensor]) -> Result<Tensor, Error> {
        Err(Error::new(
            ErrorKind::UNSUPPORTED,
            "this version has no kernels",
        ))
    }

    /// Does an operation of the plugin's own on tensors of one host.
    #[cfg(not(feature = "test-older"))]
    pub(crate) fn raw_custom(kernel: RComponent, inputs: &[&Tensor]) -> Result<Tensor, Error> {
        let table = Self::common_table(inputs)?;
        let Some(custom) = table.custom() else {
            return Err(Error::new(
                ErrorKind::UNSUPPORTED,
                "this host's plugin API is older than 1.2 and cannot run plugin kernels; the plugin needs a newer host",
            ));
        };
        let raws: Vec<RawTensor> = inputs.iter().map(|t| t.raw).collect();
        let mut raw = RawTensor::NULL;
        // SAFETY: every input is a live handle of this host; the slice lives through the call.
        unsafe { custom(kernel, raws.as_slice().into(), &mut raw) }.into_result()?;
        // SAFETY: the host answered with success, so `raw` is an owned handle.
        Ok(unsafe { Tensor::from_raw(raw, table) })
    }
}
