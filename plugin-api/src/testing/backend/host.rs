//! The backend behind the boundary: a table of host functions, like the one that the program lends to plugins.

use std::sync::{Arc, OnceLock};

use super::{Array, array::Node, call::Call, dispatch, element};
use crate::{
    Error, Result, Tensor,
    abi::{
        Attrs, DType, HostVTable, HostVTable_Ref, RComponent, RResult, RSlice, RSliceMut, RVec,
        RawTensor, caught, fence, make_vtable,
    },
    ensure,
    kernel::ForeignKernel,
};

/// An array as a tensor of plugins.
pub(in crate::testing) fn export(array: Array) -> Tensor {
    // SAFETY: the handle is fresh and owned, and the table is that of this backend.
    unsafe { Tensor::from_raw(into_raw(array), table()) }
}

fn table() -> HostVTable_Ref {
    static TABLE: OnceLock<HostVTable_Ref> = OnceLock::new();
    *TABLE.get_or_init(|| {
        make_vtable(HostVTable {
            clone: host_clone,
            drop: host_drop,
            shape: host_shape,
            dtype: host_dtype,
            dispatch: host_dispatch,
            to_host: host_to_host,
            #[cfg(not(feature = "test-older"))]
            from_host: host_from_host,
            #[cfg(not(feature = "test-older"))]
            custom: host_custom,
            #[cfg(feature = "test-newer")]
            appended: host_appended,
        })
    })
}

/// A handle owns one count of the array's shared part.
fn into_raw(array: Array) -> RawTensor {
    RawTensor(Arc::into_raw(array.into_node()).cast())
}

/// The array behind a handle, which keeps its own count.
///
/// # Safety
/// `raw` must be a live handle of this backend.
unsafe fn borrow(raw: RawTensor) -> Array {
    let node = raw.0.cast::<Node>();
    // SAFETY: the handle holds a count, so the pointer is live; one more is taken for the array that is given out.
    let node = unsafe {
        Arc::increment_strong_count(node);
        Arc::from_raw(node)
    };
    Array::from_node(node)
}

unsafe extern "C" fn host_clone(raw: RawTensor) -> RawTensor {
    // SAFETY: the caller's handle is live.
    caught("clone", || Ok(into_raw(unsafe { borrow(raw) }))).unwrap_or(RawTensor::NULL)
}

unsafe extern "C" fn host_drop(raw: RawTensor) {
    let dropped: Result<()> = caught("drop", || {
        // SAFETY: the caller gives up its count.
        drop(unsafe { Arc::from_raw(raw.0.cast::<Node>()) });
        Ok(())
    });
    dropped.unwrap_or_default();
}

unsafe extern "C" fn host_shape(raw: RawTensor, dims: &mut [usize; 8]) -> usize {
    let rank = caught("shape", || {
        // SAFETY: the caller's handle is live.
        let array = unsafe { borrow(raw) };
        dims[..array.rank()].copy_from_slice(array.dims());
        Ok(array.rank())
    });
    rank.unwrap_or_default()
}

unsafe extern "C" fn host_dtype(raw: RawTensor) -> DType {
    // SAFETY: the caller's handle is live.
    caught("dtype", || Ok(unsafe { borrow(raw) }.dtype())).unwrap_or(DType::F64)
}

unsafe extern "C" fn host_dispatch(
    op: u32,
    inputs: RSlice<'_, RawTensor>,
    attrs: &Attrs<'_>,
    mut outputs: RSliceMut<'_, RawTensor>,
) -> RResult<(), Error> {
    fence("the test backend", || {
        // SAFETY: the caller's handles are live through the call.
        let inputs: Vec<Array> = inputs.iter().map(|&raw| unsafe { borrow(raw) }).collect();
        let call = Call {
            op,
            inputs: &inputs,
            ints: attrs.ints.as_slice(),
            floats: attrs.floats.as_slice(),
        };
        let made = dispatch::run(&call)?;
        let expected = outputs.len();
        ensure!(
            made.len() == expected,
            "{} gives {} outputs, not {expected}",
            crate::ops::name(op),
            made.len()
        );
        for (slot, array) in outputs.iter_mut().zip(made) {
            *slot = array.map_or(RawTensor::NULL, into_raw);
        }
        Ok(())
    })
}

unsafe extern "C" fn host_to_host(raw: RawTensor, dtype: DType) -> RResult<RVec<u8>, Error> {
    fence("the test backend", || {
        // SAFETY: the caller's handle is live.
        let array = unsafe { borrow(raw) };
        Ok(element::to_bytes(array.values(), dtype)?.into())
    })
}

#[cfg(not(feature = "test-older"))]
unsafe extern "C" fn host_from_host(
    _device: RawTensor,
    dtype: DType,
    bytes: RSlice<'_, u8>,
    dims: RSlice<'_, usize>,
    raw: &mut RawTensor,
) -> RResult<(), Error> {
    fence("the test backend", || {
        let values = element::from_bytes(bytes.as_slice(), dtype)?;
        let count: usize = dims.iter().product();
        ensure!(
            dims.len() <= 8,
            "from_host: {} dimensions, expected at most 8",
            dims.len()
        );
        ensure!(
            count == values.len(),
            "from_host: {} values for shape {:?}",
            values.len(),
            dims.as_slice()
        );
        *raw = into_raw(Array::constant(dtype, dims.as_slice(), values));
        Ok(())
    })
}

#[cfg(not(feature = "test-older"))]
unsafe extern "C" fn host_custom(
    kernel: RComponent,
    inputs: RSlice<'_, RawTensor>,
    raw: &mut RawTensor,
) -> RResult<(), Error> {
    fence("the test backend", || {
        // SAFETY: the caller's handles are live through the call.
        let inputs: Vec<Array> = inputs.iter().map(|&raw| unsafe { borrow(raw) }).collect();
        *raw = into_raw(custom(ForeignKernel::new(kernel), inputs)?);
        Ok(())
    })
}

/// The result of a kernel, whose derivative is no function of the graph: a second one is refused.
#[cfg(not(feature = "test-older"))]
fn custom(kernel: ForeignKernel, inputs: Vec<Array>) -> Result<Array> {
    let lent =
        |inputs: &[Array]| -> Vec<Tensor> { inputs.iter().map(|x| export(x.detach())).collect() };
    let tensors = lent(&inputs);
    let y = kernel.forward(&tensors.iter().collect::<Vec<_>>())?;
    // SAFETY: the kernel made its result beside a tensor of this backend.
    let y = unsafe { borrow(y.raw()) };
    let values = y.values().to_vec();
    let vjp = move |parents: &[Array], which: usize, g: &Array| {
        let tensors = lent(parents);
        let needs: Vec<bool> = (0..parents.len()).map(|i| i == which).collect();
        let g = export(g.detach());
        let grads = kernel.backward(&tensors.iter().collect::<Vec<_>>(), &g, &needs);
        let grad = grads.unwrap_or_else(|e| panic!("{e}")).swap_remove(which);
        // SAFETY: as above.
        let grad = grad.map(|grad| unsafe { borrow(grad.raw()) });
        let grad = grad.unwrap_or_else(|| panic!("the kernel gave no gradient of input {which}"));
        let refused = |_: &[Array], _: usize, _: &Array| -> Array {
            panic!("a kernel of a plugin has no second derivative")
        };
        let values = grad.values().to_vec();
        Array::made(grad.dtype(), grad.dims(), values, parents.to_vec(), refused)
    };
    Ok(Array::made(y.dtype(), y.dims(), values, inputs, vjp))
}

#[cfg(feature = "test-newer")]
unsafe extern "C" fn host_appended(_: RawTensor) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, ops};

    fn tensor(dims: &[usize]) -> Tensor {
        export(Array::constant(
            DType::F64,
            dims,
            vec![1.5; dims.iter().product()],
        ))
    }

    #[test]
    fn every_operation_is_known() {
        let x = tensor(&[2]);
        for &op in ops::ALL {
            // Most refuse such operands; none may be unknown, and none may panic.
            if let Err(error) = Tensor::raw_dispatch::<1>(op, &[&x], &[], &[]) {
                assert!(
                    ![ErrorKind::UNSUPPORTED, ErrorKind::PANIC].contains(&error.kind()),
                    "{error}"
                );
                assert!(!error.to_string().contains("operation #"), "{error}");
            }
        }
    }

    #[test]
    fn an_operation_of_a_newer_version_is_refused() {
        let error = Tensor::raw_dispatch::<1>(999, &[&tensor(&[2])], &[], &[])
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::UNSUPPORTED);
        let [major, minor] = crate::abi::API_VERSION;
        let expected = format!(
            "this host (plugin API {major}.{minor}) has no tensor op #999; the plugin needs a newer one"
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn errors_name_operation_and_shapes() {
        let (a, b) = (tensor(&[2, 3]), tensor(&[4, 2]));
        let error = a.matmul(&b).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::TENSOR);
        assert_eq!(
            error.to_string(),
            "matmul of [2, 3], [4, 2]: the inner dimensions 3 and 4 differ"
        );
        let labels = a.new_u32(&[0; 6], &[2, 3]).unwrap();
        let error = (&a + &labels).err().unwrap();
        assert!(
            error
                .to_string()
                .contains("f64 and u32 differ; convert with to_dtype"),
            "{error}"
        );
        let error = labels.exp().err().unwrap();
        assert!(
            error
                .to_string()
                .contains("expected a float type for input 0, got u32"),
            "{error}"
        );
    }

    #[test]
    fn values_of_every_type_cross() {
        let device = tensor(&[]);
        assert_eq!(
            device
                .new_u8(&[0, 255], &[2])
                .unwrap()
                .to_vec_i64()
                .unwrap(),
            [0, 255]
        );
        assert_eq!(
            device.new_i64(&[-3], &[1]).unwrap().to_vec_f32().unwrap(),
            [-3.]
        );
        assert_eq!(device.new_f32(&[0.5], &[1]).unwrap().dtype(), DType::F32);
        let half = device.to_dtype(DType::F16).unwrap();
        assert_eq!((half.dtype(), half.to_scalar().unwrap()), (DType::F16, 1.5));
        assert_eq!(
            device.to_dtype(DType::U32).unwrap().to_vec_u32().unwrap(),
            [1]
        );
        assert!(device.to_dtype(DType(77)).is_err());
    }

    #[test]
    fn handles_count() {
        let array = Array::constant(DType::F64, &[1], vec![2.]);
        let node = array.clone().into_node();
        let first = export(array);
        let second = first.clone();
        assert_eq!(Arc::strong_count(&node), 3);
        drop((first, second));
        assert_eq!(Arc::strong_count(&node), 1);
    }
}
