//! Differentiable operations on [`Tensor`](super::Tensor), one subject a file.
//!
//! Each is closed under differentiation: its vector-Jacobian product is made of operations from here.

pub mod affine;
pub(crate) mod arrange;
mod attention;
pub mod binary;
pub mod compare;
pub mod conv;
pub mod custom;
mod gradients;
pub mod index;
mod mapped;
pub mod matmul;
pub mod norm;
pub mod order;
pub mod pool;
pub mod reduce;
pub mod resample;
mod reshape;
pub mod shape;
pub mod softmax;
pub mod unary;

/// The result of a kernel on the device of a value: of the GPU's, or of the CPU's with its type parameter bound. An operation has both.
macro_rules! on_device {
    ($op:expr, $value:expr, $gpu:ident => $on_gpu:expr, $type:ident => $on_cpu:expr $(,)?) => {
        match $crate::gpu::Gpu::of($value) {
            Some($gpu) => $on_gpu,
            None => $crate::kernel::dispatch!($op, $value.dtype(), $type => $on_cpu),
        }
    };
}
pub(crate) use on_device;

pub use affine::{Affine, affine_sample};
pub use conv::{Conv2dParams, conv2d, conv2d_input_grad, conv2d_weight_grad};
pub use norm::{
    After, BatchNormConfig, BatchNormMode, BatchNormOutput, Limits, Parts, Sharing, batch_norm,
    group_norm, layer_norm, share_statistics,
};
pub use resample::{CropBox, crop_resize, flip_images, shift_images};

#[cfg(test)]
mod tests {
    /// Files that call the CPU's kernels without one of the engine's for a GPU beside it.
    const ALONE: [(&str, &str); 5] = [
        ("attention.rs", "a GPU runs the plain operations"),
        ("conv.rs", "cuDNN convolves"),
        ("matmul.rs", "cuBLAS multiplies"),
        ("gradients.rs", "a GPU runs the plain operations"),
        ("order.rs", "the largest k are sought on the CPU"),
    ];

    #[test]
    fn an_operation_has_a_kernel_for_the_cpu_and_one_for_the_gpu() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops");
        for file in std::fs::read_dir(folder).expect("the folder of operations") {
            let path = file.expect("a file").path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let code = std::fs::read_to_string(&path).unwrap();
            let may = name == "mod.rs" || ALONE.iter().any(|(alone, _)| *alone == name);
            let told = "runs on the CPU alone: use on_device!, with a kernel of src/gpu";
            assert!(may || !code.contains("dispatch!("), "{name} {told}");
        }
    }
}
