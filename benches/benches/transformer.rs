//! What a vision transformer is made of, at ViT-Tiny's shapes (224x224 pixels, batch 8): linear layers with bias, attention and
//! GELU, forward alone and with all gradients. Elements are multiplications with an addition, or entries.

mod single;

use alambic::engine::{Tensor, backward_free};
use alambic_benches::lab::noise;
use anyhow::Result;
use criterion::{Criterion, Throughput};

const BATCH: usize = 8;
const TOKENS: usize = 197;
const WIDTH: usize = 192;
const HEADS: usize = 3;

/// A case: its name, what counts as elements, what is differentiated, and the work.
struct Case<'a> {
    name: &'a str,
    elements: usize,
    leaves: &'a [&'a Tensor],
    forward: &'a dyn Fn() -> Result<Tensor>,
}

fn measure(c: &mut Criterion, case: &Case<'_>) -> Result<()> {
    let mut group = c.benchmark_group(case.name);
    group.throughput(Throughput::Elements(case.elements as u64));
    let run = (&mut group, case.name);
    single::measure(run, "forward", || (case.forward)())?;
    let run = (&mut group, case.name);
    single::measure(run, "forward and backward", || {
        let sum = (case.forward)()?.sum_all()?;
        Ok(backward_free(sum, case.leaves)?.len())
    })?;
    group.finish();
    Ok(())
}

fn leaf(name: &str, dims: &[usize]) -> Result<Tensor> {
    Ok(Tensor::leaf(noise(name, dims)?.into_value()))
}

fn all(c: &mut Criterion) -> Result<()> {
    let rows = BATCH * TOKENS;
    for (inputs, outputs) in [(WIDTH, 3 * WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)] {
        let x = leaf("x", &[BATCH, TOKENS, inputs])?;
        let weight = leaf("weight", &[outputs, inputs])?;
        let bias = leaf("bias", &[outputs])?;
        let case = Case {
            name: &format!("linear, {rows}x{inputs} to {outputs}"),
            elements: rows * inputs * outputs,
            leaves: &[&x, &weight, &bias],
            forward: &|| Ok(x.linear(&weight, Some(&bias))?),
        };
        measure(c, &case)?;
    }
    let qkv = leaf("qkv", &[BATCH, TOKENS, 3 * WIDTH])?;
    let case = Case {
        name: &format!("attention, {BATCH}x{TOKENS}, {HEADS} heads"),
        elements: 2 * BATCH * TOKENS * TOKENS * WIDTH,
        leaves: &[&qkv],
        forward: &|| Ok(qkv.self_attention(HEADS)?),
    };
    measure(c, &case)?;
    let x = leaf("x", &[BATCH, TOKENS, 4 * WIDTH])?;
    let case = Case {
        name: &format!("GELU, {rows}x{}", 4 * WIDTH),
        elements: rows * 4 * WIDTH,
        leaves: &[&x],
        forward: &|| Ok(x.gelu()?),
    };
    measure(c, &case)
}

fn main() -> Result<()> {
    single::main(all)
}
