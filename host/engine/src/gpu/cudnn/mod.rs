//! Convolutions by cuDNN: forward and the two gradients, with descriptors, algorithm and workspace size kept for each shape.

use std::collections::{HashMap, hash_map::Entry};
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::cudnn::{result, sys};
use candle_core::{DType, Device};

mod plan;

use super::Gpu;
use super::arrange::{arranged, contiguous};
use super::cuda::{Cuda, failed};
use super::layout::Order;
use super::memory::Output;
use crate::error::{Error, Result};
use crate::kernel::conv::Direction;
use crate::kernel::im2col::ConvShape;
use crate::precision::{self, Precision};
use crate::value::Value;
use plan::{Key, Plan, is_refusal};

const OP: &str = "cudnn convolution";

fn fail(error: result::CudnnError) -> Error {
    Error::device(OP, format!("cuDNN: {error:?}"))
}

/// cuDNN's handle and what has been planned on it. Used by one thread at a time.
struct Library {
    handle: sys::cudnnHandle_t,
    /// None where cuDNN has no algorithm that will do.
    plans: HashMap<Key, Option<Plan>>,
}

// SAFETY: the handles may be used from any thread, by one at a time, which the mutex around the library sees to.
unsafe impl Send for Library {}

static LIBRARY: Mutex<Option<Library>> = Mutex::new(None);

/// One of the three operations on two values, as [`run`](crate::kernel::conv::run); `dims` is the result's shape.
///
/// Images are given in the order asked for, or row-major where cuDNN has no algorithm in that order; a gradient of filters is always
/// row-major.
///
/// # Errors
/// If cuDNN has no deterministic algorithm for the shape within the workspace's limit, or the device has no room.
pub(crate) fn run(
    cuda: &'static Cuda,
    direction: Direction,
    (shape, order): (&ConvShape, Order),
    a: &Value,
    b: &Value,
    dims: &[usize; 4],
) -> Result<Value> {
    let (gpu, device) = (Gpu::Cuda(cuda), Device::Cuda(cuda.device().clone()));
    let mut key = Key {
        direction,
        shape: *shape,
        entries: a.dtype(),
        tf32: precision::current() != Precision::F32,
        order,
    };
    if dims.contains(&0) {
        return Ok(Value::zeros(dims, a.dtype(), &device)?);
    }
    let mut library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    let library = match &mut *library {
        Some(library) => library,
        none => none.insert(Library::new(cuda)?),
    };
    let orders = match order {
        Order::First => &[Order::First][..],
        Order::Last => &[Order::Last, Order::First],
    };
    for order in orders {
        key.order = *order;
        if let Some(result) = library.convolved(&gpu, &key, [a, b], dims, &device)? {
            return match direction {
                Direction::WeightGrad => contiguous(&gpu, &result),
                Direction::Forward | Direction::InputGrad => Ok(result),
            };
        }
    }
    let message = format!("cuDNN has no deterministic algorithm for {shape:?}");
    Err(Error::argument(OP, message))
}

impl Library {
    fn new(cuda: &Cuda) -> Result<Self> {
        let stream = cuda.device().cuda_stream();
        stream.context().bind_to_thread().map_err(failed)?;
        let handle = result::create_handle().map_err(fail)?;
        // SAFETY: both handles are open; the stream lives as long as the process.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map_err(fail)?;
        Ok(Self {
            handle,
            plans: HashMap::new(),
        })
    }

    /// The result of a convolution; none where cuDNN has no algorithm that will do.
    ///
    /// What cuDNN refuses channels-last, when it is planned or started, counts as none: in rows it may do it.
    fn convolved(
        &mut self,
        gpu: &Gpu,
        key: &Key,
        [a, b]: [&Value; 2],
        dims: &[usize; 4],
        device: &Device,
    ) -> Result<Option<Value>> {
        let handle = self.handle;
        let plan = match self.plans.entry(*key) {
            Entry::Occupied(plan) => plan.into_mut(),
            Entry::Vacant(place) => place.insert(match Plan::new(handle, key) {
                Err(error) if key.order == Order::Last && is_refusal(error) => None,
                made => made.map_err(fail)?,
            }),
        };
        let Some(found) = plan else {
            return Ok(None);
        };
        let [a, b] = [arranged(gpu, key.order, a)?, arranged(gpu, key.order, b)?];
        let out = Output::new(&key.order.stored(*dims), a.dtype(), device)?;
        let workspace = Output::new(&[found.workspace.max(1)], DType::U8, device)?;
        let (left, right) = (key.order.open(OP, &a)?, key.order.open(OP, &b)?);
        let addresses = [left.address(), right.address(), out.address()];
        // SAFETY: the addresses hold tensors of the shapes and types that the plan was made for.
        match unsafe { found.launch(handle, addresses, &workspace, key.entries) } {
            Ok(()) => Ok(Some(key.order.viewed(out.into_value())?)),
            Err(error) if key.order == Order::Last && is_refusal(error) => {
                *plan = None;
                Ok(None)
            }
            Err(error) => Err(fail(error)),
        }
    }
}
