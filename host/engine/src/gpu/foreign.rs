//! Kernels from outside the engine: a plugin's source, launched like the engine's own.

use candle_core::DType;

use super::Gpu;
use super::launch::{Arg, Grid, Routine};
use super::memory::{Input, Output};
use super::source::Code;
use crate::error::{Result, ensure};
use crate::value::Value;

/// A launch of a routine.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// Its name in the source.
    pub routine: &'a str,
    /// Blocks along x and y.
    pub blocks: [u32; 2],
    /// Threads of a block.
    pub threads: u32,
    /// What follows the addresses.
    pub numbers: Vec<Arg>,
}

/// A source and the launches of one pass.
#[derive(Clone, Debug)]
pub struct Pass<'a> {
    /// What messages and the compiler call it.
    pub name: &'a str,
    /// CUDA C++, in which `real` is the type of the entries.
    pub source: &'a str,
    /// In their order.
    pub launches: Vec<Launch<'a>>,
    /// Numbers (f64) of scratch memory.
    pub scratch: usize,
}

/// Runs a pass on contiguous inputs of one type. Each result has the shape given for it, or is absent, which its routine sees as
/// a null pointer.
///
/// # Safety
/// The routines must take the addresses of inputs, results and scratch memory and the launch's numbers, and stay inside of them.
///
/// # Errors
/// If the source does not compile (in the words of the compiler), a routine is missing, or a launch is not possible.
pub unsafe fn run(
    gpu: &Gpu,
    pass: &Pass<'_>,
    inputs: &[&Value],
    results: &[Option<&[usize]>],
) -> Result<Vec<Option<Value>>> {
    let op = "kernel";
    let (entries, device) = (inputs[0].dtype(), inputs[0].device());
    let opened = inputs.iter().map(|v| Input::open(op, v));
    let opened: Vec<Input<'_>> = opened.collect::<Result<_>>()?;
    let made = results.iter().map(|dims| {
        dims.map(|dims| Output::new(dims, entries, device))
            .transpose()
    });
    let made: Vec<Option<Output>> = made.collect::<Result<_>>()?;
    let scratch = Output::new(&[pass.scratch.max(1)], DType::F64, device)?;
    for launch in &pass.launches {
        let (blocks, threads) = (launch.blocks, launch.threads);
        ensure!(
            threads > 0
                && threads.is_multiple_of(32)
                && threads <= 1024
                && !blocks.contains(&0)
                && blocks[1] <= 65_535,
            op,
            "{}: routine {:?} with {blocks:?} blocks of {threads} threads; expected at least one block, at most 65535 along y, and \
             threads in multiples of 32 up to 1024",
            pass.name,
            launch.routine
        );
        let mut args: Vec<Arg> = opened.iter().map(Arg::from).collect();
        args.extend(made.iter().map(|output| Arg::from(output.as_ref())));
        args.push(Arg::from(&scratch));
        args.extend_from_slice(&launch.numbers);
        let routine = Routine {
            code: Code::Foreign {
                name: pass.name,
                source: pass.source,
            },
            name: launch.routine,
            entries,
        };
        // SAFETY: the caller's promise.
        unsafe { gpu.launch(&routine, Grid { blocks, threads }, &args)? };
    }
    Ok(made
        .into_iter()
        .map(|output| output.map(Output::into_value))
        .collect())
}
