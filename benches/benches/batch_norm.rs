//! BatchNorm with ReLU in its four modes, forward alone and with the gradient of a sum, at the largest of ResNet-18's shapes (small
//! stem, 32x32 pixels, batch 32). Elements are those of the input.

mod single;

use alambic::engine::{
    Tensor, backward_free,
    ops::{After, BatchNormConfig, BatchNormMode, BatchNormOutput, batch_norm},
};
use alambic_benches::lab::noise;
use anyhow::Result;
use criterion::{Criterion, Throughput};

const DIMS: [usize; 4] = [32, 64, 32, 32];

struct Norm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    config: BatchNormConfig,
}

impl Norm {
    fn new(mode: BatchNormMode) -> Result<Self> {
        let vector = |name: &str| noise(name, &DIMS[1..2]);
        // Training learns weight and bias; recover asks for the images' gradient alone.
        let learned = |t: Tensor| match mode.is_frozen() {
            true => t,
            false => Tensor::leaf(t.into_value()),
        };
        Ok(Self {
            weight: learned(vector("weight")?),
            bias: learned(vector("bias")?),
            running_mean: vector("mean")?,
            running_var: vector("var")?.sqr()?.affine(1., 0.5)?,
            config: BatchNormConfig {
                mode,
                eps: 1e-5,
                after: After::RELU,
            },
        })
    }

    fn forward(&self, x: &Tensor) -> Result<BatchNormOutput> {
        let (mean, var) = (&self.running_mean, &self.running_var);
        Ok(batch_norm(
            x,
            &self.weight,
            &self.bias,
            mean,
            var,
            &self.config,
            None,
        )?)
    }

    /// The gradient of the sum of all outputs; in recover mode of the statistics too, which regularizers use.
    fn forward_and_backward(&self, x: &Tensor) -> Result<usize> {
        let out = self.forward(x)?;
        let mut sum = out.y.sum_all()?;
        if self.config.mode == BatchNormMode::Recover {
            for statistic in out.mean.iter().chain(&out.var) {
                sum = sum.add(&statistic.sum_all()?)?;
            }
        }
        drop(out);
        let mut leaves = vec![x];
        leaves.extend(
            [&self.weight, &self.bias]
                .into_iter()
                .filter(|t| t.is_tracked()),
        );
        Ok(backward_free(sum, &leaves)?.len())
    }
}

fn measure(c: &mut Criterion) -> Result<()> {
    let x = Tensor::leaf(noise("x", &DIMS)?.into_value());
    let title = "batch norm and ReLU, 32x64x32x32";
    let mut group = c.benchmark_group(title);
    group.throughput(Throughput::Elements(DIMS.iter().product::<usize>() as u64));
    for (name, mode) in [
        ("train", BatchNormMode::Train),
        ("eval", BatchNormMode::Eval),
        ("recover", BatchNormMode::Recover),
        ("train-statistics", BatchNormMode::TrainStatistics),
    ] {
        let norm = Norm::new(mode)?;
        let forward = format!("{name}, forward");
        single::measure((&mut group, title), &forward, || norm.forward(&x))?;
        let both = format!("{name}, forward and backward");
        single::measure((&mut group, title), &both, || norm.forward_and_backward(&x))?;
    }
    group.finish();
    Ok(())
}

fn main() -> Result<()> {
    single::main(measure)
}
