//! What a batch normalisation is handed and gives back, forward and backward.

use super::after::After;
use crate::kernel::Scalar;
use crate::kernel::scratch::{Shared, Unfilled};

/// Sizes of a batch of images: N, C and H W.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planes {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) plane: usize,
}

impl Planes {
    pub(super) fn start(&self, image: usize, channel: usize) -> usize {
        (image * self.channels + channel) * self.plane
    }

    pub(super) fn per_channel(&self) -> f64 {
        (self.batch * self.plane) as f64
    }
}

/// Arguments of [`forward`]: slices, or values on a device.
pub(crate) struct Forward<'a, V: ?Sized> {
    pub(crate) planes: Planes,
    pub(crate) x: &'a V,
    pub(crate) weight: &'a V,
    pub(crate) bias: &'a V,
    /// Mean and variance to normalise with instead of the batch's.
    pub(crate) frozen: Option<[&'a V; 2]>,
    pub(crate) residual: Option<&'a V>,
    /// Whether the batch's statistics are wanted although `frozen` ones normalise.
    pub(crate) statistics: bool,
    pub(crate) after: After,
    /// Whether the mask of limits is wanted: 1 where y lies between them, 0 elsewhere.
    pub(crate) mask: bool,
    pub(crate) eps: f64,
}

/// Result of [`forward`]; what is not wanted is empty.
pub(crate) struct Output<T> {
    pub(crate) y: Vec<T>,
    pub(crate) mask: Vec<u8>,
    pub(crate) mean: Vec<T>,
    pub(crate) var: Vec<T>,
}

/// Arguments of [`backward`]: slices, or values on a device; the mask's bytes have a type of their own.
pub(crate) struct Backward<'a, V: ?Sized, M: ?Sized> {
    pub(crate) planes: Planes,
    /// There where the needs and gradients read it.
    pub(crate) x: Option<&'a V>,
    pub(crate) weight: &'a V,
    pub(crate) bias: &'a V,
    /// Mean and variance that x was normalised with.
    pub(crate) normaliser: [&'a V; 2],
    /// Whether those are constants rather than the batch's statistics.
    pub(crate) frozen: bool,
    /// The batch's mean, read where `g_var` is given.
    pub(crate) mean: Option<&'a V>,
    pub(crate) gate: Gate<'a, V, M>,
    pub(crate) after: After,
    pub(crate) eps: f64,
    pub(crate) g_y: Option<&'a V>,
    pub(crate) g_mean: Option<&'a V>,
    pub(crate) g_var: Option<&'a V>,
    pub(crate) needs_x: bool,
    pub(crate) needs_affine: bool,
    pub(crate) needs_residual: bool,
}

/// How the derivative of what follows is known.
pub(crate) enum Gate<'a, V: ?Sized, M: ?Sized> {
    /// Nothing follows.
    Open,
    /// Recomputed from x.
    ByX,
    /// Bytes, 0 where limits stopped it.
    Mask(&'a M),
    /// Recomputed from the result, of limits.
    Result(&'a V),
}

/// Gradients that [`backward`] computed.
pub(crate) struct Gradients<V> {
    pub(crate) x: Option<V>,
    pub(crate) weight: V,
    pub(crate) bias: V,
    pub(crate) residual: Option<V>,
}

/// Where a backward pass leaves the gradients of images.
pub(super) struct Places<T> {
    x: Option<Unfilled<T>>,
    residual: Option<Unfilled<T>>,
    /// Where the gradient of the result lies, if it is written over.
    pub(super) over: Option<Shared<T>>,
    pub(super) x_to: Option<Shared<T>>,
    pub(super) residual_to: Option<Shared<T>>,
}

impl<T: Scalar> Places<T> {
    /// New places for what is asked for. With `over`, which then holds the gradient of the result, that of the residual is left there, or of
    /// x where there is none.
    pub(super) fn new(args: &Backward<'_, [T], [u8]>, over: Option<&mut [T]>) -> Self {
        let planes = args.planes;
        let len = planes.batch * planes.channels * planes.plane;
        let over = over.map(|over| {
            assert_eq!(over.len(), len, "a gradient for each entry");
            assert!(args.g_y.is_none(), "the gradient lies in one place");
            Shared(over.as_mut_ptr())
        });
        let over_x = over.filter(|_| !args.needs_residual);
        let over_residual = over.filter(|_| args.needs_residual);
        let mut x = (args.needs_x && over_x.is_none()).then(|| Unfilled::new(len));
        let mut residual = (args.needs_residual && over.is_none()).then(|| Unfilled::new(len));
        let x_to = x.as_mut().map(Unfilled::shared).or(over_x);
        let residual_to = residual.as_mut().map(Unfilled::shared).or(over_residual);
        Self {
            x,
            residual,
            over,
            x_to,
            residual_to,
        }
    }

    /// The gradients of x and the residual that have places of their own.
    ///
    /// # Safety
    /// Every entry has been written.
    pub(super) unsafe fn filled(self) -> [Option<Vec<T>>; 2] {
        // SAFETY: the caller's promise.
        [self.x, self.residual].map(|v| v.map(|v| unsafe { v.filled() }))
    }
}

/// `dx = scale g + slope (x - origin) + level`
#[derive(Clone, Copy, Default)]
pub(super) struct Line<T> {
    pub(super) scale: T,
    pub(super) slope: T,
    pub(super) level: T,
    pub(super) origin: T,
}

impl<T: Scalar> Line<T> {
    /// The line of a channel that maps what passed the limits, and x, to the gradient of x, given the sums of the first and of its product
    /// with `x - mean`.
    #[inline(always)]
    pub(super) fn new(args: &Backward<'_, [T], [u8]>, c: usize, [sum_g, sum_gx]: [f64; 2]) -> Self {
        let count = args.planes.per_channel();
        let rstd = 1.0 / (args.normaliser[1][c].to_f64() + args.eps).sqrt();
        let scale = args.weight[c].to_f64() * rstd;
        let at = |g: Option<&[T]>| g.map_or(0.0, |g| g[c].to_f64());
        let mut slope = 2.0 * at(args.g_var) / count;
        let mut level = at(args.g_mean) / count;
        let mut origin = args.mean.map_or(0.0, |mean| mean[c].to_f64());
        if !args.frozen {
            slope -= scale * rstd * rstd * sum_gx / count;
            level -= scale * sum_g / count;
            origin = args.normaliser[0][c].to_f64();
        }
        let [scale, slope, level, origin] = [scale, slope, level, origin].map(T::from_f64);
        Self {
            scale,
            slope,
            level,
            origin,
        }
    }
}
