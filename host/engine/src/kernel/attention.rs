//! Self-attention of all heads on the CPU (Vaswani et al., 2017, section 3.2.2), forward and backward.
//!
//! A task has an image and a head. It reads queries, keys and values where the linear layer left them, and computes the scores of some
//! queries at a time, again in the backward pass: no L x L matrix is kept.

use super::elementary::Elementary;
use super::gemm::{part, settle};
use super::matrix::Matrix;
use super::product::{Factors, Product, Start};
use super::scratch::{TASKS, Unfilled};
use super::softmax::{softmax_grad_rows, softmax_rows};
use super::tasks::each;

/// Queries whose scores are computed together.
const QUERIES: usize = 196;

/// Sizes of queries, keys and values that lie side by side: [N, L, 3, heads, D].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub(crate) batch: usize,
    pub(crate) tokens: usize,
    pub(crate) heads: usize,
    /// Entries of a query of one head.
    pub(crate) size: usize,
    /// What the products take their factors in.
    pub(crate) factors: Factors,
}

/// Queries, keys or values of one head.
#[derive(Clone, Copy)]
enum Part {
    Query,
    Key,
    Value,
}

impl Heads {
    /// Entries of a token in the result.
    fn width(&self) -> usize {
        self.heads * self.size
    }

    /// Entries of the result.
    fn len(&self) -> usize {
        self.batch * self.tokens * self.width()
    }

    pub(crate) fn scale(&self) -> f64 {
        1.0 / (self.size as f64).sqrt()
    }

    /// Where a part of a task's head starts.
    fn start(&self, task: usize, part: Part) -> usize {
        let (image, head) = (task / self.heads, task % self.heads);
        image * self.tokens * 3 * self.width() + part as usize * self.width() + head * self.size
    }

    /// Where a task's head starts in the result.
    fn result(&self, task: usize) -> usize {
        let (image, head) = (task / self.heads, task % self.heads);
        image * self.tokens * self.width() + head * self.size
    }

    fn matrix<'a, T>(&self, qkv: &'a [T], task: usize, part: Part) -> Matrix<'a, T> {
        Matrix::rows(&qkv[self.start(task, part)..], 3 * self.width())
    }

    /// A product (m, k) (k, n) to rows that lie `stride` apart.
    fn product(&self, m: usize, n: usize, k: usize, stride: usize) -> Product {
        let factors = self.factors;
        Product {
            m,
            n,
            k,
            stride,
            factors,
        }
    }

    /// The share of each key in the result of queries from `first` on, row by row.
    fn shares<T: Elementary>(
        &self,
        qkv: &[T],
        task: usize,
        first: usize,
        (scores, queries): (&mut [T], usize),
    ) {
        let query = self.matrix(qkv, task, Part::Query).from(first, 0);
        let key = self.matrix(qkv, task, Part::Key).transposed();
        let size = self.product(queries, self.tokens, self.size, self.tokens);
        assert_eq!(scores.len(), queries * self.tokens, "a score of each pair");
        // SAFETY: the scores are borrowed uniquely, and as many as the product has entries.
        unsafe { part(&size, scores.as_mut_ptr(), Start::Zeros, query, key) };
        softmax_rows(scores, self.tokens, T::from_f64(self.scale()));
    }
}

/// The values of all tokens, weighted by what each query shares.
///
/// # Shapes
/// qkv (N, L, 3 heads D) gives (N, L, heads D).
pub(crate) fn forward<T: Elementary>(heads: Heads, qkv: &[T]) -> Vec<T> {
    let (tokens, width) = (heads.tokens, heads.width());
    let mut y = Unfilled::new(heads.len());
    let out = y.shared();
    settle();
    each(heads.batch * heads.heads, |task| {
        TASKS.with([QUERIES.min(tokens) * tokens], |[scores]: [&mut [T]; 1]| {
            for first in (0..tokens).step_by(QUERIES) {
                let queries = QUERIES.min(tokens - first);
                let scores = &mut scores[..queries * tokens];
                heads.shares(qkv, task, first, (&mut *scores, queries));
                let size = heads.product(queries, heads.size, tokens, width);
                let to = out.at(heads.result(task) + first * width);
                let value = heads.matrix(qkv, task, Part::Value);
                // SAFETY: each task has its own entries of each token.
                unsafe { part(&size, to, Start::Zeros, Matrix::rows(scores, tokens), value) };
            }
        });
    });
    // SAFETY: the tasks cover all heads of all images.
    unsafe { y.filled() }
}

/// The gradient of `qkv`, given that of the result.
///
/// # Shapes
/// qkv (N, L, 3 heads D), g (N, L, heads D) give (N, L, 3 heads D).
pub(crate) fn backward<T: Elementary>(heads: Heads, qkv: &[T], g: &[T]) -> Vec<T> {
    let (tokens, width) = (heads.tokens, heads.width());
    assert!(
        g.len() == heads.len() && qkv.len() == 3 * g.len(),
        "the slices have the sizes of the heads"
    );
    let mut dx = Unfilled::new(qkv.len());
    let out = dx.shared();
    settle();
    let most = QUERIES.min(tokens) * tokens;
    each(heads.batch * heads.heads, |task| {
        let key = heads.matrix(qkv, task, Part::Key);
        let value = heads.matrix(qkv, task, Part::Value).transposed();
        let to = |part: Part, token: usize| out.at(heads.start(task, part) + token * 3 * width);
        TASKS.with([most, most], |[shares, slopes]: [&mut [T]; 2]| {
            for first in (0..tokens).step_by(QUERIES) {
                let queries = QUERIES.min(tokens - first);
                let (shares, slopes) = (
                    &mut shares[..queries * tokens],
                    &mut slopes[..queries * tokens],
                );
                heads.shares(qkv, task, first, (&mut *shares, queries));
                let g = Matrix::rows(&g[heads.result(task) + first * width..], width);
                let by_value = heads.product(queries, tokens, heads.size, tokens);
                let by_key = heads.product(tokens, heads.size, queries, 3 * width);
                let query = heads.product(queries, heads.size, tokens, 3 * width);
                let start = || match first {
                    0 => Start::Zeros,
                    _ => Start::Result,
                };
                let queried = heads.matrix(qkv, task, Part::Query).from(first, 0);
                // SAFETY: the slopes are borrowed uniquely; each task has its own entries of each token's gradient.
                unsafe {
                    part(&by_value, slopes.as_mut_ptr(), Start::Zeros, g, value);
                    let turned = Matrix::rows(shares, tokens).transposed();
                    part(&by_key, to(Part::Value, 0), start(), turned, g);
                    softmax_grad_rows(shares, slopes, tokens, T::from_f64(heads.scale()));
                    let slopes = Matrix::rows(slopes, tokens);
                    part(&query, to(Part::Query, first), Start::Zeros, slopes, key);
                    part(
                        &by_key,
                        to(Part::Key, 0),
                        start(),
                        slopes.transposed(),
                        queried,
                    );
                }
            }
        });
    });
    // SAFETY: the tasks cover all heads of all images, and the three parts of each token.
    unsafe { dx.filled() }
}
