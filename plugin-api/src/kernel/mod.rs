//! Operations defined by a plugin: forward and backward on CPU slices, and CUDA source for NVIDIA GPUs.
//!
//! Most plugins do not need this: [`Tensor`]'s operations run on every device and differentiate to any order. A kernel is for a
//! computation that would be slow as a chain of operations, each of which makes a pass over memory. It can be differentiated
//! once.
//!
//! ```
//! use plugin_api::{kernel::{Array, Kernel, Real, apply}, prelude::*};
//!
//! /// The sum of cubes.
//! struct Cubes;
//!
//! impl Kernel for Cubes {
//!     fn name(&self) -> &str {
//!         "cubes"
//!     }
//!
//!     fn output(&self, _: &[&[usize]]) -> Result<Vec<usize>> {
//!         Ok(vec![])
//!     }
//!
//!     fn forward<F: Real>(&self, x: &[Array<'_, F>], y: &mut [F]) -> Result<()> {
//!         y[0] = F::from_f64(x[0].data.iter().map(|v| v.to_f64().powi(3)).sum());
//!         Ok(())
//!     }
//!
//!     fn backward<F: Real>(
//!         &self,
//!         x: &[Array<'_, F>],
//!         g: &[F],
//!         grads: &mut [Option<Vec<F>>],
//!     ) -> Result<()> {
//!         if let Some(dx) = &mut grads[0] {
//!             for (dx, v) in dx.iter_mut().zip(x[0].data) {
//!                 *dx = F::from_f64(3. * v.to_f64().powi(2)) * g[0];
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! fn penalty(images: &Tensor) -> Result<Tensor> {
//!     apply(Cubes, &[images])
//! }
//! ```
//!
//! Without CUDA source ([`Kernel::cuda`]) the computation takes place on the CPU, wherever the tensors lie.

use std::{
    fmt::Debug,
    ops::{Add, AddAssign, Div, Mul, Neg, Sub},
};

use serde::{Deserialize, Serialize};

use crate::{
    Result, Tensor,
    abi::{Args, DType, Method, Reply},
    bail,
    component::{adapt, unknown_method},
    ensure,
};

mod foreign;

pub use foreign::{ForeignCuda, ForeignKernel};

/// The element type of a kernel: f32, or f64 in tests.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + 'static
{
    /// The nearest number.
    fn from_f64(number: f64) -> Self;
    /// The number, exactly.
    fn to_f64(self) -> f64;
}

/// An input on the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Array<'a, F> {
    /// Entries in row-major order.
    pub data: &'a [F],
    /// Sizes of all dimensions.
    pub dims: &'a [usize],
}

/// The CUDA side of a kernel, for inputs of given shapes.
///
/// In the source `real` is the type of the entries, `float` or `double`. Every routine is `extern "C" __global__ void` and takes, in
/// this order: each input (`const real*`, row-major); in a forward pass the result (`real*`), in a backward pass the gradient of the
/// result (`const real*`) and for each input its gradient (`real*`, null where none is wanted); the scratch memory (`double*`); the
/// launch's own numbers. Blocks and threads are counted along x, and blocks along y. Launches run one after the other. A result, and
/// a gradient that is wanted, is written in full; the scratch memory is uninitialised in each pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cuda {
    /// CUDA C++.
    pub source: String,
    /// Number of scratch values.
    pub scratch: usize,
    /// Launches that compute the result.
    pub forward: Vec<Launch>,
    /// Launches that compute the gradients.
    pub backward: Vec<Launch>,
}

/// One launch of a routine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// Name of the routine in the source.
    pub routine: String,
    /// Blocks along x and y.
    pub blocks: [u32; 2],
    /// Threads of a block, a multiple of 32 of at most 1024.
    pub threads: u32,
    /// Numbers after the addresses, in the routine's order.
    pub numbers: Vec<Number>,
}

impl Launch {
    /// Blocks of 256 threads, enough to give each of `count` entries a thread of its own (up to 65,536 blocks; a routine that
    /// steps by the number of threads covers any count).
    pub fn each(routine: &str, count: usize, numbers: Vec<Number>) -> Self {
        Self {
            routine: routine.to_owned(),
            blocks: [count.div_ceil(256).clamp(1, 1 << 16) as u32, 1],
            threads: 256,
            numbers,
        }
    }
}

/// A number that a routine is handed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Number {
    /// `long long`
    Integer(i64),
    /// `double`
    Float(f64),
}

/// An operation defined by a plugin, differentiable once.
pub trait Kernel: Send + Sync + 'static {
    /// Its name in messages, and the file name in the CUDA compiler's messages.
    fn name(&self) -> &str;

    /// The shape of the result for inputs of these shapes.
    ///
    /// # Errors
    /// When the shapes do not fit; the message names what was found and expected.
    fn output(&self, inputs: &[&[usize]]) -> Result<Vec<usize>>;

    /// Writes the whole result.
    ///
    /// # Errors
    /// Any problem with the input.
    fn forward<F: Real>(&self, inputs: &[Array<'_, F>], y: &mut [F]) -> Result<()>;

    /// Adds to the requested input gradients, which start as zeros; `g` is the gradient of the result.
    ///
    /// # Errors
    /// Any problem with the input.
    fn backward<F: Real>(
        &self,
        inputs: &[Array<'_, F>],
        g: &[F],
        grads: &mut [Option<Vec<F>>],
    ) -> Result<()>;

    /// Source and launches for inputs of these shapes; none for a kernel of the CPU alone.
    ///
    /// # Errors
    /// When the shapes do not fit.
    fn cuda(&self, _inputs: &[&[usize]]) -> Result<Option<Cuda>> {
        Ok(None)
    }
}

/// Does the kernel's operation on tensors of one type, f32 or f64, on their device.
///
/// # Errors
/// When there is no input, the types differ, the kernel refuses the shapes, or the host's plugin API is below 1.2.
pub fn apply<K: Kernel>(kernel: K, inputs: &[&Tensor]) -> Result<Tensor> {
    let name = kernel.name().to_owned();
    let Some(first) = inputs.first() else {
        bail!("kernel \"{name}\": expected at least one input");
    };
    for (i, input) in inputs.iter().enumerate() {
        let dtype = input.dtype();
        ensure!(
            dtype == first.dtype() && [DType::F32, DType::F64].contains(&dtype),
            "kernel \"{name}\": expected inputs of one type, f32 or f64; input {i} is of type #{}",
            dtype.0
        );
    }
    let object = adapt(kernel, &format!("kernel \"{name}\""), serve);
    Tensor::raw_custom(object, inputs).map_err(|e| e.context(format!("kernel \"{name}\"")))
}

/// What a kernel does behind the boundary.
fn serve<K: Kernel>(kernel: &K, method: Method, args: &Args<'_>) -> Result<Reply> {
    let inputs: Vec<&Tensor> = args.tensors("x").collect();
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|x| x.shape()).collect();
    let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
    let mut reply = Reply::new();
    match method {
        Method::KERNEL_CUDA => {
            let cuda = kernel.cuda(&shapes)?;
            let dims = kernel.output(&shapes)?;
            reply.text("name", kernel.name());
            reply.text("cuda", serde_json::to_string(&cuda)?);
            reply.ints("dims", dims.iter().map(|&d| d as i64).collect());
        }
        Method::FORWARD | Method::KERNEL_BACKWARD => {
            let Some(first) = inputs.first() else {
                bail!("expected at least one input");
            };
            let made = match first.dtype() {
                DType::F32 => on_cpu::<f32>(kernel, method, args, &inputs, &shapes)?,
                DType::F64 => on_cpu::<f64>(kernel, method, args, &inputs, &shapes)?,
                other => bail!("expected f32 or f64, got type #{}", other.0),
            };
            for (key, tensor) in made {
                reply.tensor(&key, tensor);
            }
        }
        other => return Err(unknown_method(other)),
    }
    Ok(reply)
}

/// Entries of a tensor, read and made.
trait Crossing: Real {
    fn read(tensor: &Tensor) -> Result<Vec<Self>>;
    fn made(beside: &Tensor, entries: &[Self], dims: &[usize]) -> Result<Tensor>;
}

macro_rules! reals {
    ($($real:ident, $read:ident, $made:ident;)*) => { $(
        impl Real for $real {
            fn from_f64(number: f64) -> Self {
                number as $real
            }

            fn to_f64(self) -> f64 {
                f64::from(self)
            }
        }

        impl Crossing for $real {
            fn read(tensor: &Tensor) -> Result<Vec<Self>> {
                tensor.$read()
            }

            fn made(beside: &Tensor, entries: &[Self], dims: &[usize]) -> Result<Tensor> {
                beside.$made(entries, dims)
            }
        }
    )* };
}

reals! {
    f32, to_vec_f32, new_f32;
    f64, to_vec_f64, new_f64;
}

/// The result as `y`, or the wanted gradients by the number of their input.
fn on_cpu<F: Crossing>(
    kernel: &impl Kernel,
    method: Method,
    args: &Args<'_>,
    inputs: &[&Tensor],
    shapes: &[&[usize]],
) -> Result<Vec<(String, Tensor)>> {
    let data: Vec<Vec<F>> = inputs.iter().map(|x| F::read(x)).collect::<Result<_>>()?;
    let arrays = data.iter().zip(shapes);
    let arrays: Vec<Array<'_, F>> = arrays.map(|(data, dims)| Array { data, dims }).collect();
    if method == Method::FORWARD {
        let dims = kernel.output(shapes)?;
        let mut y = vec![F::default(); dims.iter().product()];
        kernel.forward(&arrays, &mut y)?;
        return Ok(vec![("y".to_owned(), F::made(inputs[0], &y, &dims)?)]);
    }
    let g = F::read(args.tensor("g")?)?;
    let needs = args.ints("needs").unwrap_or_default();
    let zeros = |i: usize| vec![F::default(); data[i].len()];
    let needed = |i: usize| needs.get(i).is_some_and(|need| *need != 0);
    let mut grads: Vec<Option<Vec<F>>> = (0..inputs.len())
        .map(|i| needed(i).then(|| zeros(i)))
        .collect();
    kernel.backward(&arrays, &g, &mut grads)?;
    let made = grads.into_iter().enumerate();
    made.filter_map(|(i, grad)| Some((i, grad?)))
        .map(|(i, grad)| {
            ensure!(
                grad.len() == data[i].len(),
                "the gradient of input {i} has {} entries, expected {}",
                grad.len(),
                data[i].len()
            );
            Ok((i.to_string(), F::made(inputs[i], &grad, shapes[i])?))
        })
        .collect()
}
