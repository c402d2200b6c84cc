//! Batch normalisation of rows: tokens (N L, C) and features (N, C), whose channels lie side by side. A task has some channels of all rows.

use super::after::{Affine, Follow};
use super::args::{Backward, Forward, Gate, Gradients, Line, Output, Places, Planes};
use crate::kernel::fetch::fetch_ahead;
use crate::kernel::scratch::{Shared, Unfilled};
use crate::kernel::tasks::each;
use crate::kernel::{Scalar, vectorised};

/// Channels of a task: two cache lines of f32.
const WIDTH: usize = 32;

/// Numbers of the channels of a task; those past the last channel do not count.
type Channels<T> = [T; WIDTH];

/// What a backward pass is handed, and where the gradient of the result lies if it is written over.
type Given<'a, T> = (&'a Backward<'a, [T], [u8]>, Option<Shared<T>>);

/// The channels of a task.
#[derive(Clone, Copy)]
struct Block {
    rows: usize,
    channels: usize,
    first: usize,
    width: usize,
}

impl Block {
    /// Runs `work` for all of them.
    fn each(planes: Planes, work: impl Fn(Self) + Sync) {
        each(planes.channels.div_ceil(WIDTH), |i| {
            work(Self {
                rows: planes.batch,
                channels: planes.channels,
                first: i * WIDTH,
                width: WIDTH.min(planes.channels - i * WIDTH),
            });
        });
    }

    /// Numbers of the channels, from a slice that has one for each.
    #[inline(always)]
    fn own<T: Copy + Default>(&self, all: &[T]) -> Channels<T> {
        self.read(&all[self.first..])
    }

    /// The entries of a row; the processor is told of a later one, which it would not expect.
    #[inline(always)]
    fn row<T: Copy + Default>(&self, all: &[T], row: usize) -> Channels<T> {
        self.fetched(&all[row * self.channels + self.first..])
    }

    /// The same of what is written over.
    ///
    /// # Safety
    /// `all` has all rows, and nobody else has these channels of them.
    #[inline(always)]
    unsafe fn row_over<T: Copy + Default>(&self, all: Shared<T>, row: usize) -> Channels<T> {
        // SAFETY: the caller's promise.
        self.fetched(unsafe { all.slice(row * self.channels + self.first, self.width) })
    }

    #[inline(always)]
    fn fetched<T: Copy + Default>(&self, own: &[T]) -> Channels<T> {
        const LATER: usize = 16;
        const LINE: usize = 64;
        let later = LATER * self.channels * size_of::<T>();
        for line in (0..size_of::<Channels<T>>()).step_by(LINE) {
            fetch_ahead(&own[0], later + line);
        }
        self.read(own)
    }

    #[inline(always)]
    fn read<T: Copy + Default>(&self, from: &[T]) -> Channels<T> {
        if let (WIDTH, Some(whole)) = (self.width, from.first_chunk()) {
            return *whole;
        }
        let mut channels = [T::default(); WIDTH];
        channels[..self.width].copy_from_slice(&from[..self.width]);
        channels
    }

    /// Writes the entries of a row.
    ///
    /// # Safety
    /// `to` takes all rows, and nobody else has these channels of them.
    #[inline(always)]
    unsafe fn write<T: Copy>(&self, to: Shared<T>, row: usize, channels: &Channels<T>) {
        // SAFETY: the caller's promise.
        let to = unsafe { to.slice(row * self.channels + self.first, self.width) };
        match to.first_chunk_mut() {
            Some(whole) => *whole = *channels,
            None => to.copy_from_slice(&channels[..self.width]),
        }
    }

    /// Writes a number for each channel.
    ///
    /// # Safety
    /// `to` takes a number for each channel, and nobody else has these.
    #[inline(always)]
    unsafe fn write_own<T: Copy>(&self, to: Shared<T>, channels: &Channels<T>) {
        // SAFETY: the caller's promise.
        unsafe { self.write(to, 0, channels) }
    }

    /// Mean and population variance of each channel.
    #[inline(always)]
    fn statistics<T: Scalar>(&self, x: &[T]) -> [Channels<T>; 2] {
        let count = self.rows as f64;
        let mut sums = [0.0; WIDTH];
        for r in 0..self.rows {
            let x = self.row(x, r);
            for j in 0..WIDTH {
                sums[j] += x[j].to_f64();
            }
        }
        let mean = sums.map(|sum| sum / count);
        let mut squares = [0.0; WIDTH];
        for r in 0..self.rows {
            let x = self.row(x, r);
            for j in 0..WIDTH {
                let centred = x[j].to_f64() - mean[j];
                squares[j] += centred * centred;
            }
        }
        [
            mean.map(T::from_f64),
            squares.map(|s| T::from_f64(s / count)),
        ]
    }
}

/// The channels' ways from input to result, without the residual.
struct Affines<T> {
    scale: Channels<T>,
    shift: Channels<T>,
}

impl<T: Scalar> Affines<T> {
    #[inline(always)]
    fn new(block: &Block, [mean, var]: [Channels<T>; 2], eps: f64, own: [&[T]; 2]) -> Self {
        let [weight, bias] = own.map(|all| block.own(all));
        let of = |j| Affine::new(mean[j], var[j], eps, [weight[j], bias[j]]);
        let all: [Affine<T>; WIDTH] = std::array::from_fn(of);
        Self {
            scale: all.map(|affine| affine.scale),
            shift: all.map(|affine| affine.shift),
        }
    }

    #[inline(always)]
    fn at(&self, x: &Channels<T>) -> Channels<T> {
        let mut y = *x;
        for j in 0..WIDTH {
            y[j] = x[j] * self.scale[j] + self.shift[j];
        }
        y
    }
}

/// [`super::moments`] of rows.
pub(super) fn moments<T: Scalar>(planes: Planes, x: &[T]) -> (Vec<T>, Vec<T>) {
    let [mut mean, mut var] = [0, 1].map(|_| Unfilled::new(planes.channels));
    let [mean_to, var_to] = [&mut mean, &mut var].map(Unfilled::shared);
    Block::each(planes, |block| {
        vectorised(
            #[inline(always)]
            || {
                let [mean, var] = block.statistics(x);
                // SAFETY: a task has its own channels.
                unsafe {
                    block.write_own(mean_to, &mean);
                    block.write_own(var_to, &var);
                }
            },
        );
    });
    // SAFETY: the tasks cover all channels.
    unsafe { (mean.filled(), var.filled()) }
}

/// [`super::forward()`] of rows.
pub(super) fn forward<T: Scalar>(args: &Forward<'_, [T]>, follow: impl Follow<T>) -> Output<T> {
    let len = args.x.len();
    let wanted = args.statistics || args.frozen.is_none();
    let statistics = if wanted { args.planes.channels } else { 0 };
    let [mut y, mut mean, mut var] = [len, statistics, statistics].map(Unfilled::new);
    let mut mask = Unfilled::new(if args.mask { len } else { 0 });
    let [y_to, mean_to, var_to] = [&mut y, &mut mean, &mut var].map(Unfilled::shared);
    let mask_to = mask.shared();
    Block::each(args.planes, |block| {
        vectorised(
            #[inline(always)]
            || {
                let mut normaliser = args.frozen.map(|frozen| frozen.map(|all| block.own(all)));
                if wanted {
                    let [mean, var] = block.statistics(args.x);
                    // SAFETY: a task has its own channels.
                    unsafe {
                        block.write_own(mean_to, &mean);
                        block.write_own(var_to, &var);
                    }
                    normaliser.get_or_insert([mean, var]);
                }
                let normaliser = normaliser.expect("batch statistics where none are given");
                let own = [args.weight, args.bias];
                let affine = Affines::new(&block, normaliser, args.eps, own);
                for r in 0..block.rows {
                    let x = block.row(args.x, r);
                    let mut y = affine.at(&x);
                    if let Some(residual) = args.residual {
                        let residual = block.row(residual, r);
                        for j in 0..WIDTH {
                            y[j] += residual[j];
                        }
                    }
                    for y in &mut y {
                        *y = follow.result(*y);
                    }
                    // SAFETY: as above.
                    unsafe {
                        block.write(y_to, r, &y);
                        if args.mask {
                            let passes = |y| u8::from(follow.lets_through(y));
                            block.write(mask_to, r, &y.map(passes));
                        }
                    }
                }
            },
        );
    });
    // SAFETY: the tasks cover all channels of all rows.
    unsafe {
        Output {
            y: y.filled(),
            mask: mask.filled(),
            mean: mean.filled(),
            var: var.filled(),
        }
    }
}

/// [`super::backward()`] of rows.
pub(super) fn backward<T: Scalar>(
    args: &Backward<'_, [T], [u8]>,
    over: Option<&mut [T]>,
    follow: impl Follow<T>,
) -> Gradients<Vec<T>> {
    let channels = args.planes.channels;
    let places = Places::new(args, over);
    let (over, x_to, residual_to) = (places.over, places.x_to, places.residual_to);
    let [mut weight, mut bias] = [0, 1].map(|_| Unfilled::new(channels));
    let [weight_to, bias_to] = [&mut weight, &mut bias].map(Unfilled::shared);
    Block::each(args.planes, |block| {
        vectorised(
            #[inline(always)]
            || {
                let normaliser = args.normaliser.map(|all| block.own(all));
                let own = [args.weight, args.bias];
                let affine = Affines::new(&block, normaliser, args.eps, own);
                let mut sums = [[0.0; WIDTH]; 2];
                if args.needs_affine || (args.needs_x && !args.frozen) {
                    sums = summed(&block, (args, over), normaliser[0], (&affine, follow));
                }
                let [sum_g, sum_gx] = sums;
                let line = |j: usize| match block.first + j < channels {
                    true => Line::new(args, block.first + j, [sum_g[j], sum_gx[j]]),
                    false => Line::default(),
                };
                let lines: [Line<T>; WIDTH] = std::array::from_fn(line);
                let scale = lines.map(|line| line.scale);
                let slope = lines.map(|line| line.slope);
                let level = lines.map(|line| line.level);
                let origin = lines.map(|line| line.origin);
                let to = |to: Option<Shared<T>>, r, g: &Channels<T>| {
                    if let Some(to) = to {
                        // SAFETY: a task has its own channels.
                        unsafe { block.write(to, r, g) };
                    }
                };
                for r in 0..if args.needs_x || args.needs_residual {
                    block.rows
                } else {
                    0
                } {
                    let x = args.x.map_or(origin, |x| block.row(x, r));
                    let mut g = passed(&block, (args, over), r, &x, (&affine, follow));
                    to(residual_to, r, &g);
                    for j in 0..WIDTH {
                        g[j] = scale[j] * g[j] + (slope[j] * (x[j] - origin[j]) + level[j]);
                    }
                    to(x_to, r, &g);
                }
                let rstd = |j: usize| 1.0 / (normaliser[1][j].to_f64() + args.eps).sqrt();
                let of_weight = |j| T::from_f64(sum_gx[j] * rstd(j));
                // SAFETY: as above.
                unsafe {
                    block.write_own(weight_to, &std::array::from_fn(of_weight));
                    block.write_own(bias_to, &sum_g.map(T::from_f64));
                }
            },
        );
    });
    // SAFETY: the tasks cover all channels of all rows.
    let [x, residual] = unsafe { places.filled() };
    Gradients {
        x,
        // SAFETY: as above.
        weight: unsafe { weight.filled() },
        // SAFETY: as above.
        bias: unsafe { bias.filled() },
        residual,
    }
}

/// A row's gradient times the derivative of what follows.
#[inline(always)]
fn passed<T: Scalar>(
    block: &Block,
    (args, over): Given<'_, T>,
    row: usize,
    x: &Channels<T>,
    (affine, follow): (&Affines<T>, impl Follow<T>),
) -> Channels<T> {
    let mut g = match (over, args.g_y) {
        // SAFETY: a task has its own channels of all rows, and reads each row before it writes it.
        (Some(over), _) => unsafe { block.row_over(over, row) },
        (None, Some(g)) => block.row(g, row),
        (None, None) => return [T::ZERO; WIDTH],
    };
    let y = match args.gate {
        Gate::Open => return g,
        Gate::ByX => affine.at(x),
        Gate::Result(y) => block.row(y, row),
        Gate::Mask(mask) => {
            let mask = block.row(mask, row);
            for j in 0..WIDTH {
                g[j] = if mask[j] != 0 { g[j] } else { T::ZERO };
            }
            return g;
        }
    };
    for j in 0..WIDTH {
        g[j] = follow.pull(g[j], y[j]);
    }
    g
}

/// Sums of what passed the limits, and of that times `x - centre`.
#[inline(always)]
fn summed<T: Scalar>(
    block: &Block,
    (args, over): Given<'_, T>,
    centre: Channels<T>,
    way: (&Affines<T>, impl Follow<T>),
) -> [[f64; WIDTH]; 2] {
    let [mut sum_g, mut sum_gx] = [[0.0; WIDTH]; 2];
    for r in 0..block.rows {
        let x = args.x.map_or(centre, |x| block.row(x, r));
        let g = passed(block, (args, over), r, &x, way);
        for j in 0..WIDTH {
            let g = g[j].to_f64();
            sum_g[j] += g;
            sum_gx[j] += g * (x[j].to_f64() - centre[j].to_f64());
        }
    }
    [sum_g, sum_gx]
}
