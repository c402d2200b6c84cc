//! A kernel from the host's side of the boundary.

use super::Cuda;
use crate::{
    Error, ErrorKind, Result, Tensor,
    abi::{ArgsBuf, Method, RComponent},
};

/// A kernel as a host sees it.
pub struct ForeignKernel(RComponent);

/// A kernel's CUDA side, if it has one, and what goes with it.
pub struct ForeignCuda {
    /// The kernel's name.
    pub name: String,
    /// The shape of the result.
    pub dims: Vec<usize>,
    /// Source and launches.
    pub cuda: Option<Cuda>,
}

impl ForeignKernel {
    /// Wraps what the table's function for custom operations was handed.
    pub fn new(component: RComponent) -> Self {
        Self(component)
    }

    /// The result, computed on the CPU, on the inputs' device.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forward(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let mut args = ArgsBuf::new();
        inputs.iter().for_each(|x| _ = args.tensor("x", x));
        self.0.call(Method::FORWARD, &args)?.take_tensor("y")
    }

    /// The gradients of the inputs that are needed, computed on the CPU.
    ///
    /// # Errors
    /// What the kernel says, or that it gave a gradient of no input.
    pub fn backward(
        &self,
        inputs: &[&Tensor],
        g: &Tensor,
        needs: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let needs: Vec<i64> = needs.iter().map(|need| i64::from(*need)).collect();
        let mut args = ArgsBuf::new();
        inputs.iter().for_each(|x| _ = args.tensor("x", x));
        args.tensor("g", g).ints("needs", &needs);
        let mut grads: Vec<Option<Tensor>> = vec![None; inputs.len()];
        for (key, grad) in self.0.call(Method::KERNEL_BACKWARD, &args)?.into_tensors() {
            let place = key.parse().ok().and_then(|i: usize| grads.get_mut(i));
            let Some(place) = place else {
                let message = format!("a gradient of input {key:?} of {}", inputs.len());
                return Err(Error::new(ErrorKind::TENSOR, message));
            };
            *place = Some(grad);
        }
        Ok(grads)
    }

    /// The CUDA side for these inputs.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn cuda(&self, inputs: &[&Tensor]) -> Result<ForeignCuda> {
        let mut args = ArgsBuf::new();
        inputs.iter().for_each(|x| _ = args.tensor("x", x));
        let reply = self.0.call(Method::KERNEL_CUDA, &args)?;
        Ok(ForeignCuda {
            name: reply.get_text("name")?.to_owned(),
            // A negative size becomes one that no host makes room for.
            dims: reply
                .get_ints("dims")?
                .iter()
                .map(|&d| d as usize)
                .collect(),
            cuda: serde_json::from_str(reply.get_text("cuda")?)?,
        })
    }
}
