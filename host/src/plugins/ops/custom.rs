//! Operations that plugins bring themselves, on both devices.

use std::sync::Arc;

use plugin_api::{
    Error, ErrorKind, Result, Tensor as Handle,
    kernel::{Cuda, ForeignCuda, ForeignKernel, Launch, Number},
};

use super::{MAX_RANK, call::check_elements, export, import, kind_of};
use crate::engine::{
    self, Tensor, Value,
    gpu::{
        Arg, Gpu,
        foreign::{self, Pass},
    },
    ops::custom::{Custom, custom},
};

/// The result of a plugin's kernel.
pub(super) fn apply(kernel: ForeignKernel, inputs: &[&Tensor]) -> Result<Tensor> {
    let made = custom(Arc::new(Kernel(kernel)), inputs);
    made.map_err(|e| Error::new(kind_of(&e, ErrorKind::TENSOR), e))
}

struct Kernel(ForeignKernel);

/// What a plugin said, in the engine's words.
fn engine_error(error: Error) -> engine::Error {
    match error.kind() {
        ErrorKind::OUT_OF_MEMORY => engine::Error::OutOfMemory(error.to_string()),
        _ => engine::Error::argument("kernel", error.to_string()),
    }
}

fn lent(values: &[Value]) -> Vec<Handle> {
    let constant = |v: &Value| export(Tensor::constant(v.clone()));
    values.iter().map(constant).collect()
}

fn taken(handle: &Handle) -> engine::Result<Value> {
    Ok(import(handle).map_err(engine_error)?.value().clone())
}

/// The CUDA side that a kernel tells of, if it has one and it makes sense.
fn cuda_side(
    kernel: &ForeignKernel,
    inputs: &[&Handle],
) -> engine::Result<Option<(ForeignCuda, Cuda)>> {
    let mut found = kernel.cuda(inputs).map_err(engine_error)?;
    let Some(cuda) = found.cuda.take() else {
        return Ok(None);
    };
    let launches = cuda.forward.iter().chain(&cuda.backward);
    let texts = launches.map(|launch| &launch.routine);
    let fault = if texts
        .chain([&found.name, &cuda.source])
        .any(|text| text.contains('\0'))
    {
        "a name or source contains a NUL".to_owned()
    } else if found.dims.len() > MAX_RANK || check_elements(&found.dims).is_err() {
        format!(
            "a result of shape {:?}: expected at most {MAX_RANK} dimensions and 2^30 elements",
            found.dims
        )
    } else if check_elements(&[cuda.scratch]).is_err() {
        format!(
            "{} values of scratch memory, expected at most 2^30",
            cuda.scratch
        )
    } else {
        return Ok(Some((found, cuda)));
    };
    Err(engine::Error::argument(
        "kernel",
        format!("{:?}: {fault}", found.name),
    ))
}

/// A pass of a kernel on a GPU.
fn on_gpu(
    gpu: &Gpu,
    name: &str,
    cuda: &Cuda,
    launches: &[Launch],
    inputs: &[&Value],
    results: &[Option<&[usize]>],
) -> engine::Result<Vec<Option<Value>>> {
    let number = |n: &Number| match n {
        Number::Integer(v) => Arg::Integer(*v),
        Number::Float(v) => Arg::Number(*v),
    };
    let launches = launches.iter().map(|launch| foreign::Launch {
        routine: &launch.routine,
        blocks: launch.blocks,
        threads: launch.threads,
        numbers: launch.numbers.iter().map(number).collect(),
    });
    let pass = Pass {
        name,
        source: &cuda.source,
        launches: launches.collect(),
        scratch: cuda.scratch,
    };
    // SAFETY: what a plugin's routines do on the device is the plugin's responsibility, as is all of its code.
    unsafe { foreign::run(gpu, &pass, inputs, results) }
}

impl Custom for Kernel {
    fn forward(&self, inputs: &[Value]) -> engine::Result<Value> {
        let handles = lent(inputs);
        let handles: Vec<&Handle> = handles.iter().collect();
        if let Some(gpu) = Gpu::of(&inputs[0])
            && let Some((found, cuda)) = cuda_side(&self.0, &handles)?
        {
            let inputs: Vec<&Value> = inputs.iter().collect();
            let results = [Some(found.dims.as_slice())];
            let made = on_gpu(&gpu, &found.name, &cuda, &cuda.forward, &inputs, &results)?;
            return Ok(made
                .into_iter()
                .flatten()
                .next()
                .expect("one result was asked for"));
        }
        taken(&self.0.forward(&handles).map_err(engine_error)?)
    }

    fn backward(
        &self,
        inputs: &[Value],
        g: &Value,
        needs: &[bool],
    ) -> engine::Result<Vec<Option<Value>>> {
        let handles = lent(inputs);
        let handles: Vec<&Handle> = handles.iter().collect();
        if let Some(gpu) = Gpu::of(g)
            && let Some((found, cuda)) = cuda_side(&self.0, &handles)?
        {
            let read: Vec<&Value> = inputs.iter().chain([g]).collect();
            let results = inputs.iter().zip(needs);
            let results: Vec<Option<&[usize]>> =
                results.map(|(x, need)| need.then(|| x.dims())).collect();
            return on_gpu(&gpu, &found.name, &cuda, &cuda.backward, &read, &results);
        }
        let g = export(Tensor::constant(g.clone()));
        let grads = self.0.backward(&handles, &g, needs).map_err(engine_error)?;
        grads
            .iter()
            .map(|grad| grad.as_ref().map(taken).transpose())
            .collect()
    }
}
