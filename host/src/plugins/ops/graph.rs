//! History and gradients.

use plugin_api::tensor::Graph;

#[cfg(test)]
use super::derivatives::Case;
use super::{
    Lent,
    call::{Call, Fault, Outputs},
    precision::Class,
};
use crate::engine::{Tensor, grad};

impl Lent for Graph {
    fn perform(&self, call: &Call<'_>) -> Result<Outputs, Fault> {
        let made = match *self {
            Self::Detach {} => call.input(0)?.detach(),
            Self::Leaf {} => Tensor::leaf(call.float_input(0)?.value().clone()),
            Self::IsTracked {} => {
                let x = call.input(0)?;
                Tensor::from_vec(vec![u8::from(x.is_tracked())], &[], x.device())?
            }
            Self::Grad { create_graph } => {
                let loss = call.input(0)?;
                let leaves: Vec<&Tensor> = call.inputs()?.into_iter().skip(1).collect();
                return Ok(Outputs::Many(grad(loss, &leaves, create_graph)?));
            }
        };
        Ok(made.into())
    }

    fn class(&self) -> Class {
        match self {
            Self::Detach {} | Self::Leaf {} | Self::IsTracked {} => Class::AsGiven,
            // Gradients are asked for by the tensors themselves, not by copies of them.
            Self::Grad { .. } => Class::Untouched,
        }
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let create_graph = true;
        vec![
            Case::Constant(Self::Detach {}.into(), "cuts the graph"),
            Case::Constant(Self::IsTracked {}.into(), "a flag"),
            Case::Elsewhere(Self::Leaf {}.into(), "starts a graph"),
            Case::Elsewhere(
                Self::Grad { create_graph }.into(),
                "what every case calls, twice",
            ),
        ]
    }
}
