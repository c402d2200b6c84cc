//! How cuDNN is to do a convolution: descriptors, algorithm and workspace.

use std::ffi::{c_int, c_void};

use candle_core::DType;
use candle_core::cuda_backend::cudarc::cudnn::{
    result::{self, CudnnError, CudnnResult},
    sys,
};
use sys::cudnnMathType_t as Math;

use super::super::layout::Order;
use super::super::memory::Output;
use crate::kernel::conv::Direction;
use crate::kernel::im2col::ConvShape;

/// Workspace bytes that an algorithm may use.
const WORKSPACE: usize = 1 << 30;

/// What a plan depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub direction: Direction,
    pub shape: ConvShape,
    pub entries: DType,
    pub tf32: bool,
    pub order: Order,
}

/// Descriptors of one convolution, kept until the process ends.
pub(super) struct Plan {
    x: sys::cudnnTensorDescriptor_t,
    w: sys::cudnnFilterDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
    algorithm: Algorithm,
    /// Workspace bytes of the algorithm.
    pub workspace: usize,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    InputGrad(sys::cudnnConvolutionBwdDataAlgo_t),
    WeightGrad(sys::cudnnConvolutionBwdFilterAlgo_t),
}

fn type_of(entries: DType) -> Option<sys::cudnnDataType_t> {
    match entries {
        DType::F32 => Some(sys::cudnnDataType_t::CUDNN_DATA_FLOAT),
        DType::F64 => Some(sys::cudnnDataType_t::CUDNN_DATA_DOUBLE),
        DType::BF16 => Some(sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16),
        _ => None,
    }
}

fn ints<const N: usize>(sizes: [usize; N]) -> [c_int; N] {
    sizes.map(|size| size as c_int)
}

/// cuDNN's proposals that give the same bits every time and fit the workspace, fastest first, with the arithmetic that each is
/// proposed for.
macro_rules! fitting {
    ($algorithm:path, $list:expr, $count:expr) => {
        $list[..$count as usize]
            .iter()
            .filter(|found| {
                found.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                    && found.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
                    && found.memory <= WORKSPACE
            })
            .map(|found| ($algorithm(found.algo), found.mathType))
            .collect()
    };
}

/// Whether cuDNN cannot do what it was asked for, rather than that something went wrong with it: its parameters and what it does not
/// support, by the ranges of its numbers.
pub(super) fn is_refusal(error: CudnnError) -> bool {
    (2000..4000).contains(&(error.0 as u32))
}

impl Plan {
    /// None if cuDNN has no algorithm that will do.
    ///
    /// # Errors
    /// If cuDNN refuses or fails.
    pub fn new(handle: sys::cudnnHandle_t, key: &Key) -> CudnnResult<Option<Self>> {
        let Some(entries) = type_of(key.entries) else {
            return Ok(None);
        };
        let shape = &key.shape;
        // Sizes are given as of NCHW and KCRS whatever the format, which says how entries lie.
        let format = match key.order {
            Order::First => sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW,
            Order::Last => sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC,
        };
        let computed = match key.entries {
            DType::F64 => sys::cudnnDataType_t::CUDNN_DATA_DOUBLE,
            _ => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        };
        let math = match (key.entries, key.tf32) {
            (DType::BF16, _) => Math::CUDNN_TENSOR_OP_MATH,
            (DType::F32, true) => Math::CUDNN_DEFAULT_MATH,
            _ => Math::CUDNN_FMA_MATH,
        };
        let images = |channels, [height, width]: [usize; 2]| {
            let desc = result::create_tensor_descriptor()?;
            let dims = ints([shape.batch, channels, height, width]);
            // SAFETY: the descriptor was just made.
            unsafe { result::set_tensor4d_descriptor(desc, format, entries, dims) }?;
            Ok::<_, CudnnError>(desc)
        };
        let (x, y) = (
            images(shape.in_channels, shape.input)?,
            images(shape.out_channels, shape.output)?,
        );
        let w = result::create_filter_descriptor()?;
        let [kernel_h, kernel_w] = shape.kernel;
        let per_group = shape.in_channels / shape.groups;
        let filter = ints([shape.out_channels, per_group, kernel_h, kernel_w]);
        let convolution = result::create_convolution_descriptor()?;
        let [
            [pad_h, pad_w],
            [stride_h, stride_w],
            [dilation_h, dilation_w],
        ] = [
            ints(shape.padding),
            ints(shape.stride),
            ints(shape.dilation),
        ];
        // SAFETY: the descriptors were just made.
        unsafe {
            result::set_filter4d_descriptor(w, entries, format, filter)?;
            result::set_convolution2d_descriptor(
                convolution,
                pad_h,
                pad_w,
                stride_h,
                stride_w,
                dilation_h,
                dilation_w,
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                computed,
            )?;
            result::set_convolution_math_type(convolution, math)?;
            result::set_convolution_group_count(convolution, shape.groups as c_int)?;
        }
        let mut plan = Self {
            x,
            w,
            y,
            convolution,
            algorithm: Algorithm::Forward(
                sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
            ),
            workspace: 0,
        };
        for (algorithm, proposed) in plan.proposals(handle, key.direction)? {
            // An algorithm is proposed for one kind of arithmetic, which is to be asked for; exact f32 stays exact.
            if math != Math::CUDNN_FMA_MATH {
                // SAFETY: the descriptor was just made.
                unsafe { result::set_convolution_math_type(convolution, proposed) }?;
            }
            plan.algorithm = algorithm;
            match plan.workspace_size(handle) {
                Ok(size) if size <= WORKSPACE => {
                    plan.workspace = size;
                    return Ok(Some(plan));
                }
                Err(error) if !is_refusal(error) => return Err(error),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Workspace bytes of the plan's algorithm.
    fn workspace_size(&self, handle: sys::cudnnHandle_t) -> CudnnResult<usize> {
        let conv = self.convolution;
        // SAFETY: all descriptors are set.
        unsafe {
            match self.algorithm {
                Algorithm::Forward(algorithm) => result::get_convolution_forward_workspace_size(
                    handle, self.x, self.w, conv, self.y, algorithm,
                ),
                Algorithm::InputGrad(algorithm) => {
                    result::get_convolution_backward_data_workspace_size(
                        handle, self.w, self.y, conv, self.x, algorithm,
                    )
                }
                Algorithm::WeightGrad(algorithm) => {
                    result::get_convolution_backward_filter_workspace_size(
                        handle, self.x, self.y, conv, self.w, algorithm,
                    )
                }
            }
        }
    }

    /// The algorithms that will do for a direction, fastest first, and the arithmetic that each is proposed for.
    fn proposals(
        &self,
        handle: sys::cudnnHandle_t,
        direction: Direction,
    ) -> CudnnResult<Vec<(Algorithm, Math)>> {
        const MOST: usize = 8;
        let mut count: c_int = 0;
        // SAFETY: all descriptors are set; the lists have room for as many proposals as are asked for, and hold plain numbers, for
        // which zeros are valid.
        unsafe {
            Ok(match direction {
                Direction::Forward => {
                    let mut list: [sys::cudnnConvolutionFwdAlgoPerf_t; MOST] = std::mem::zeroed();
                    result::get_convolution_forward_algorithm(
                        handle,
                        self.x,
                        self.w,
                        self.convolution,
                        self.y,
                        MOST as c_int,
                        &mut count,
                        list.as_mut_ptr(),
                    )?;
                    fitting!(Algorithm::Forward, list, count)
                }
                Direction::InputGrad => {
                    let mut list: [sys::cudnnConvolutionBwdDataAlgoPerf_t; MOST] =
                        std::mem::zeroed();
                    result::get_convolution_backward_data_algorithm(
                        handle,
                        self.w,
                        self.y,
                        self.convolution,
                        self.x,
                        MOST as c_int,
                        &mut count,
                        list.as_mut_ptr(),
                    )?;
                    fitting!(Algorithm::InputGrad, list, count)
                }
                Direction::WeightGrad => {
                    let mut list: [sys::cudnnConvolutionBwdFilterAlgoPerf_t; MOST] =
                        std::mem::zeroed();
                    result::get_convolution_backward_filter_algorithm(
                        handle,
                        self.x,
                        self.y,
                        self.convolution,
                        self.w,
                        MOST as c_int,
                        &mut count,
                        list.as_mut_ptr(),
                    )?;
                    fitting!(Algorithm::WeightGrad, list, count)
                }
            })
        }
    }

    /// # Safety
    /// The addresses must hold the two arguments and the result of the plan's direction.
    ///
    /// # Errors
    /// If cuDNN refuses.
    pub unsafe fn launch(
        &self,
        handle: sys::cudnnHandle_t,
        [a, b, out]: [u64; 3],
        workspace: &Output,
        entries: DType,
    ) -> CudnnResult<()> {
        // The factors of product and old result are f32, or f64 for f64 entries.
        let (single, double) = ([1f32, 0f32], [1f64, 0f64]);
        let factor = |i: usize| -> *const c_void {
            match entries {
                DType::F64 => std::ptr::from_ref(&double[i]).cast(),
                _ => std::ptr::from_ref(&single[i]).cast(),
            }
        };
        let (one, zero) = (factor(0), factor(1));
        let (scratch, bytes) = (workspace.address() as *mut c_void, self.workspace);
        let (a, b, out) = (a as *const c_void, b as *const c_void, out as *mut c_void);
        let conv = self.convolution;
        // SAFETY: the caller's promise; the workspace has as many bytes as the plan's algorithm asked for.
        unsafe {
            match self.algorithm {
                Algorithm::Forward(algorithm) => result::convolution_forward(
                    handle, one, self.x, a, self.w, b, conv, algorithm, scratch, bytes, zero,
                    self.y, out,
                ),
                Algorithm::InputGrad(algorithm) => result::convolution_backward_data(
                    handle, one, self.w, b, self.y, a, conv, algorithm, scratch, bytes, zero,
                    self.x, out,
                ),
                Algorithm::WeightGrad(algorithm) => result::convolution_backward_filter(
                    handle, one, self.x, a, self.y, b, conv, algorithm, scratch, bytes, zero,
                    self.w, out,
                ),
            }
        }
    }
}
