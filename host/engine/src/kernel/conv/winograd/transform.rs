//! The one-dimensional transforms of F(4, 3) (Lavin and Gray, 2016, section 4), over registers; a tile takes each along both axes.
//!
//! With `points` 0, 1, -1, 2, -2 and infinity: `y = A^T [(G g) (B^T d)]` for six inputs d, three weights g and four outputs y. The
//! gradients need the transposes of A^T and G.

use crate::kernel::lanes::Lanes;

/// Outputs of a tile along one axis.
pub(crate) const TILE: usize = 4;
/// Inputs of a tile along one axis, and products.
pub(crate) const POINTS: usize = 6;
/// Products of a tile.
pub(crate) const PRODUCTS: usize = POINTS * POINTS;

/// Six registers along one axis of a tile.
pub(crate) type Six<S> = [<S as Lanes>::V; POINTS];

/// `a k + b` for a constant k.
#[inline(always)]
fn scaled<S: Lanes>(s: S, a: S::V, k: f32, b: S::V) -> S::V {
    s.fma(a, s.splat(k), b)
}

/// `a k` for a constant k.
#[inline(always)]
fn times<S: Lanes>(s: S, a: S::V, k: f32) -> S::V {
    s.mul(a, s.splat(k))
}

/// `B^T d`: inputs.
#[inline(always)]
pub(crate) fn input<S: Lanes>(s: S, d: Six<S>) -> Six<S> {
    let p = scaled(s, d[2], -4.0, d[4]);
    let q = scaled(s, d[1], -4.0, d[3]);
    let (r, t) = (s.sub(d[4], d[2]), s.sub(d[3], d[1]));
    [
        scaled(s, d[0], 4.0, scaled(s, d[2], -5.0, d[4])),
        s.add(p, q),
        s.sub(p, q),
        scaled(s, t, 2.0, r),
        scaled(s, t, -2.0, r),
        scaled(s, d[1], 4.0, scaled(s, d[3], -5.0, d[5])),
    ]
}

/// `A^T m`: products to outputs.
#[inline(always)]
pub(crate) fn output<S: Lanes>(s: S, m: Six<S>) -> [S::V; TILE] {
    let (p, q) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    let (r, t) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    [
        s.add(m[0], s.add(p, r)),
        scaled(s, t, 2.0, q),
        scaled(s, r, 4.0, p),
        s.add(m[5], scaled(s, t, 8.0, q)),
    ]
}

/// `A g`: the gradient of outputs to that of products.
#[inline(always)]
pub(crate) fn output_grad<S: Lanes>(s: S, g: [S::V; TILE]) -> Six<S> {
    let (p, q) = (s.add(g[0], g[2]), s.add(g[1], g[3]));
    let (r, t) = (scaled(s, g[2], 4.0, g[0]), scaled(s, g[3], 4.0, g[1]));
    [
        g[0],
        s.add(p, q),
        s.sub(p, q),
        scaled(s, t, 2.0, r),
        scaled(s, t, -2.0, r),
        g[3],
    ]
}

/// `G w`: weights.
#[inline(always)]
pub(crate) fn weight<S: Lanes>(s: S, w: [S::V; 3]) -> Six<S> {
    let (p, q) = (
        times(s, s.add(w[0], w[2]), -1.0 / 6.0),
        times(s, w[1], 1.0 / 6.0),
    );
    let r = scaled(s, w[2], 1.0 / 6.0, times(s, w[0], 1.0 / 24.0));
    let t = times(s, w[1], 1.0 / 12.0);
    [
        times(s, w[0], 0.25),
        s.sub(p, q),
        s.add(p, q),
        s.add(r, t),
        s.sub(r, t),
        w[2],
    ]
}

/// `G^T u`: the gradient of transformed weights to that of weights.
#[inline(always)]
pub(crate) fn weight_grad<S: Lanes>(s: S, u: Six<S>) -> [S::V; 3] {
    let p = times(s, s.add(u[1], u[2]), -1.0 / 6.0);
    let (q, r, t) = (s.sub(u[2], u[1]), s.add(u[3], u[4]), s.sub(u[3], u[4]));
    [
        scaled(s, u[0], 0.25, scaled(s, r, 1.0 / 24.0, p)),
        scaled(s, q, 1.0 / 6.0, times(s, t, 1.0 / 12.0)),
        s.add(u[5], scaled(s, r, 1.0 / 6.0, p)),
    ]
}
