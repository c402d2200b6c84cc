//! Values of another type, and new ones.

use plugin_api::tensor::Create;

use super::{
    Lent, answers,
    call::{Call, Fault, Outputs},
    precision::Class,
    transfer::dtype_of,
};
use crate::engine::Tensor;

answers! {
    Create, call;
    Class::AsGiven, ToDtype { dtype } => {
        let unknown = || Fault::Call(format!("unknown element type #{}", dtype.0));
        call.input(0)?.to_dtype(dtype_of(*dtype).ok_or_else(unknown)?)?
    };
    Class::Single, FullLike { value } => {
        let x = call.float_input(0)?;
        Tensor::full(*value, x.dims(), x.dtype(), x.device())?
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::ops::derivatives::{Case, Cases};

    impl Cases for Create {
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
}
