//! To and from values of the plugin. New tensors are created on the device of an existing one.

use super::{DType, Tensor, operation::operations};
use crate::{Error, ErrorKind, Result, ensure};

operations! {
    /// Values of another type, and new ones.
    Create {
        /// Another element type. Between floats the gradient passes.
        41 (1, 0) ToDtype "to_dtype" { dtype: DType } fn to_dtype();
        /// A tensor of `self`'s shape and type with one value everywhere.
        43 (1, 0) FullLike "full_like" { value: f64 } fn full_like();
    }
}

macro_rules! values {
    ($($to:ident, $new:ident, $type:ty, $dtype:ident);* $(;)?) => {
        impl Tensor {
            $(#[doc = concat!("All elements in row-major order as `", stringify!($type), "`.")]
            ///
            /// # Errors
            /// When the host cannot convert them.
            pub fn $to(&self) -> Result<Vec<$type>> {
                const SIZE: usize = size_of::<$type>();
                let bytes = self.raw_to_host(DType::$dtype)?;
                let (chunks, _) = bytes.as_chunks::<SIZE>();
                Ok(chunks.iter().map(|c| <$type>::from_ne_bytes(*c)).collect())
            }

            #[doc = concat!("A tensor of `", stringify!($type), "` on the device of `self`.")]
            ///
            /// # Errors
            /// When `dims` do not multiply to the number of values.
            pub fn $new(&self, values: &[$type], dims: &[usize]) -> Result<Tensor> {
                let count: usize = dims.iter().product();
                ensure!(count == values.len(), "{} values for shape {dims:?}, which holds {count}", values.len());
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
                self.raw_from_host(DType::$dtype, &bytes, dims)
            })*
        }
    };
}

values! {
    to_vec_f32, new_f32, f32, F32;
    to_vec_f64, new_f64, f64, F64;
    to_vec_u32, new_u32, u32, U32;
    to_vec_i64, new_i64, i64, I64;
    to_vec_u8, new_u8, u8, U8;
}

impl Tensor {
    /// The value of a tensor with one element.
    ///
    /// # Errors
    /// For more or fewer elements.
    pub fn to_scalar(&self) -> Result<f64> {
        match self.to_vec_f64()?.as_slice() {
            [value] => Ok(*value),
            _ => {
                let message = format!(
                    "to_scalar of shape {:?}: expected one element",
                    self.shape()
                );
                Err(Error::new(ErrorKind::TENSOR, message))
            }
        }
    }

    /// Zeros of `self`'s shape and type.
    ///
    /// # Errors
    /// When the element type is no float.
    pub fn zeros_like(&self) -> Result<Tensor> {
        self.full_like(0.)
    }

    /// Ones of `self`'s shape and type.
    ///
    /// # Errors
    /// When the element type is no float.
    pub fn ones_like(&self) -> Result<Tensor> {
        self.full_like(1.)
    }

    /// A tensor of `values` in the element type of `self`, on its device.
    ///
    /// # Errors
    /// When `dims` do not multiply to the number of values.
    pub fn new_like(&self, values: &[f64], dims: &[usize]) -> Result<Tensor> {
        let dtype = self.dtype();
        let made = self.new_f64(values, dims)?;
        if dtype == DType::F64 {
            Ok(made)
        } else {
            made.to_dtype(dtype)
        }
    }
}
