//! The parts of a batch that share its statistics: what they tell each other, and what follows of it.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::error::{Result, ensure};

/// The parts of a batch, each of which is passed through the same network at the same time, in this process or in another.
pub trait Parts: Send + Sync {
    /// The numbers of all parts, in the order of the parts, once each has come here with its own. The parts call it equally often.
    ///
    /// # Errors
    /// When another part has failed.
    fn gather(&self, own: Vec<f64>) -> Result<Arc<Vec<Vec<f64>>>>;
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<dyn Parts>>> = const { RefCell::new(None) };
}

/// Shares statistics while it lives, on the thread that began it alone.
#[must_use]
pub struct Sharing {
    before: Option<Arc<dyn Parts>>,
    /// It stays on its thread.
    _thread: PhantomData<*const ()>,
}

/// Lets the batch normalisations of this thread normalise with the statistics of all parts, in mode [`Train`](super::BatchNormMode::Train); they give
/// those back. Derivatives are of the first order.
pub fn share_statistics(parts: Arc<dyn Parts>) -> Sharing {
    Sharing {
        before: CURRENT.replace(Some(parts)),
        _thread: PhantomData,
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// The parts that this thread shares statistics with.
pub(super) fn current() -> Option<Arc<dyn Parts>> {
    CURRENT.with_borrow(Clone::clone)
}

/// What a normalisation knows of the other parts.
pub(super) struct Shared {
    pub(super) parts: Arc<dyn Parts>,
    /// Entries of a channel in all parts.
    pub(super) count: f64,
}

/// Count, mean and population variance of each channel from those of the parts, added in their order.
pub(super) fn joined(parts: &[Vec<f64>], channels: usize) -> Result<(f64, Vec<f64>, Vec<f64>)> {
    let fits = |part: &Vec<f64>| part.len() == 1 + 2 * channels;
    ensure!(
        parts.iter().all(fits),
        "batch_norm",
        "the parts of a batch have come to different places"
    );
    let count: f64 = parts.iter().map(|part| part[0]).sum();
    let each = |of: &dyn Fn(usize, &[f64]) -> f64| -> Vec<f64> {
        let sum = |c: usize| {
            parts
                .iter()
                .map(|part| part[0] * of(c, &part[1..]))
                .sum::<f64>()
        };
        (0..channels).map(|c| sum(c) / count).collect::<Vec<f64>>()
    };
    let mean = each(&|c, part| part[c]);
    let var = each(&|c, part| {
        let apart = part[c] - mean[c];
        part[channels + c] + apart * apart
    });
    Ok((count, mean, var))
}
