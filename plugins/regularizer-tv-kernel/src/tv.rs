//! The kernel: sums over all pairs of neighbours, and their gradient.

use plugin_api::{
    kernel::{Array, Cuda, Kernel, Launch, Number, Real},
    prelude::*,
};

/// `tv_l1 sum_d mean|d| + tv_l2 sum_d ||d||_F` of images (N, C, H, W), where `d` runs over the differences in four directions.
pub struct TotalVariation {
    /// Weight of the means.
    pub tv_l1: f64,
    /// Weight of the norms.
    pub tv_l2: f64,
}

/// Rows and columns from the neighbour's pixel to the other of a pair, in each direction: a pixel minus the one to its right, below
/// it, above right of it (the pair is found from its upper pixel's row) and below right of it.
const PAIRS: [[[usize; 2]; 2]; 4] = [
    [[0, 0], [0, 1]],
    [[0, 0], [1, 0]],
    [[1, 0], [0, 1]],
    [[0, 0], [1, 1]],
];

/// Blocks that sum up pixels on a GPU; their sums stand in scratch memory.
const BLOCKS: usize = 256;

/// N C, H and W.
fn sizes(inputs: &[&[usize]]) -> Result<[usize; 3]> {
    let &[&[batch, channels, height, width]] = inputs else {
        bail!("expected images (N, C, H, W), got {inputs:?}");
    };
    ensure!(
        height > 1 && width > 1,
        "images of {height}x{width} have no neighbouring pixels; expected at least 2x2"
    );
    Ok([batch * channels, height, width])
}

/// Calls `each` with the places of all pairs of direction `k`.
fn pairs([planes, height, width]: [usize; 3], k: usize, mut each: impl FnMut(usize, usize)) {
    let [[down_a, right_a], [down_b, right_b]] = PAIRS[k];
    let (rows, columns) = (height - down_a.max(down_b), width - right_a.max(right_b));
    for plane in 0..planes {
        for row in 0..rows {
            let start = (plane * height + row) * width;
            let (a, b) = (
                start + down_a * width + right_a,
                start + down_b * width + right_b,
            );
            for column in 0..columns {
                each(a + column, b + column);
            }
        }
    }
}

/// Number of pairs, and the sums of |d| and of d^2.
fn sums<F: Real>(sizes: [usize; 3], k: usize, x: &[F]) -> [f64; 3] {
    let mut sums = [0.; 3];
    pairs(sizes, k, |a, b| {
        let d = x[a].to_f64() - x[b].to_f64();
        sums[0] += 1.;
        sums[1] += d.abs();
        sums[2] += d * d;
    });
    sums
}

impl Kernel for TotalVariation {
    fn name(&self) -> &str {
        "total variation"
    }

    fn output(&self, inputs: &[&[usize]]) -> Result<Vec<usize>> {
        sizes(inputs)?;
        Ok(vec![])
    }

    fn forward<F: Real>(&self, inputs: &[Array<'_, F>], y: &mut [F]) -> Result<()> {
        let sizes = sizes(&[inputs[0].dims])?;
        let direction = |k| {
            let [count, absolute, squares] = sums(sizes, k, inputs[0].data);
            self.tv_l1 * absolute / count + self.tv_l2 * squares.sqrt()
        };
        y[0] = F::from_f64((0..4).map(direction).sum());
        Ok(())
    }

    fn backward<F: Real>(
        &self,
        inputs: &[Array<'_, F>],
        g: &[F],
        grads: &mut [Option<Vec<F>>],
    ) -> Result<()> {
        let (sizes, x, g) = (sizes(&[inputs[0].dims])?, inputs[0].data, g[0].to_f64());
        let Some(dx) = &mut grads[0] else {
            return Ok(());
        };
        for k in 0..4 {
            let [count, _, squares] = sums(sizes, k, x);
            let by_sign = self.tv_l1 * g / count;
            let by_d = if squares > 0. {
                self.tv_l2 * g / squares.sqrt()
            } else {
                0.
            };
            pairs(sizes, k, |a, b| {
                let d = x[a].to_f64() - x[b].to_f64();
                let sign = f64::from(i8::from(d > 0.) - i8::from(d < 0.));
                let share = F::from_f64(by_sign * sign + by_d * d);
                dx[a] += share;
                dx[b] += -share;
            });
        }
        Ok(())
    }

    fn cuda(&self, inputs: &[&[usize]]) -> Result<Option<Cuda>> {
        let [planes, height, width] = sizes(inputs)?;
        let integer = |v: usize| Number::Integer(v as i64);
        let images = [planes, height, width].map(integer).to_vec();
        let blocks = [&images[..], &[integer(BLOCKS)]].concat();
        let weights = [Number::Float(self.tv_l1), Number::Float(self.tv_l2)];
        let with_weights = [&blocks[..], &weights].concat();
        let launch = |routine: &str, blocks: usize, threads, numbers: &[Number]| Launch {
            routine: routine.to_owned(),
            blocks: [blocks as u32, 1],
            threads,
            numbers: numbers.to_vec(),
        };
        Ok(Some(Cuda {
            source: include_str!("total_variation.cu").to_owned(),
            scratch: BLOCKS * 8 + 8,
            forward: vec![
                launch("forward_sums", BLOCKS, 256, &images),
                launch("forward", 1, 32, &with_weights),
            ],
            backward: vec![
                launch("backward_sums", BLOCKS, 256, &images),
                launch("factors", 1, 32, &with_weights),
                Launch::each("backward", planes * height * width, blocks),
            ],
        }))
    }
}
