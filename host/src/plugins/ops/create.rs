//! Values of another type, and new ones.

use plugin_api::tensor::Create;

#[cfg(test)]
use super::derivatives::Case;
use super::{
    Lent,
    call::{Call, Fault, Outputs},
    precision::Class,
    transfer::dtype_of,
};
use crate::engine::Tensor;

impl Lent for Create {
    fn perform(&self, call: &Call<'_>) -> Result<Outputs, Fault> {
        let made = match *self {
            Self::ToDtype { dtype: code } => {
                let x = call.input(0)?;
                let unknown = || Fault::Call(format!("unknown element type #{}", code.0));
                x.to_dtype(dtype_of(code).ok_or_else(unknown)?)?
            }
            Self::FullLike { value } => {
                let x = call.float_input(0)?;
                Tensor::full(value, x.dims(), x.dtype(), x.device())?
            }
        };
        Ok(made.into())
    }

    fn class(&self) -> Class {
        match self {
            Self::ToDtype { .. } => Class::AsGiven,
            Self::FullLike { .. } => Class::Single,
        }
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let (dtype, value) = (plugin_api::tensor::DType::F32, 1.);
        vec![
            Case::Constant(Self::FullLike { value }.into(), "a constant"),
            Case::Elsewhere(
                Self::ToDtype { dtype }.into(),
                "a difference would be that of f32's rounding; unary.rs has a test of its gradient",
            ),
        ]
    }
}
