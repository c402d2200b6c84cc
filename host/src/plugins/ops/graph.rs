//! History and gradients.

use plugin_api::tensor::Graph;

use super::{
    Lent, answers,
    call::{Call, Fault, Outputs},
    precision::Class,
};
use crate::engine::{Tensor, grad};

answers! {
    Graph, call;
    Class::AsGiven, Detach {} => call.input(0)?.detach();
    Class::AsGiven, Leaf {} => Tensor::leaf(call.float_input(0)?.value().clone());
    Class::AsGiven, IsTracked {} => {
        let x = call.input(0)?;
        Tensor::from_vec(vec![u8::from(x.is_tracked())], &[], x.device())?
    };
    // Gradients are asked for by the tensors themselves, not by copies of them.
    Class::Untouched, Grad { create_graph } => {
        let loss = call.input(0)?;
        let leaves: Vec<&Tensor> = call.inputs()?.into_iter().skip(1).collect();
        grad(loss, &leaves, *create_graph)?
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::ops::derivatives::{Case, Cases};

    impl Cases for Graph {
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
}
