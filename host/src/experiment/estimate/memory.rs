//! The memory that a session computes in: the GPU's where it computes on one, else the heap.
//!
//! Decoded images are left out of what is measured: a trial asks for a few, a stage for all.

use crate::{
    data::Dataset,
    engine::{
        allocation,
        gpu::{Gpu, device, resident},
        memory,
    },
    stages::Session,
};

/// Resets the peak to what is in use now.
pub fn forget_peak() {
    allocation::reset_peak();
    device::forget_peak();
}

/// The most bytes that were in use since [`forget_peak`].
pub fn peak_bytes(session: &Session<'_>) -> u64 {
    device::peak_bytes().unwrap_or_else(|| but_caches(allocation::peak_bytes(), session))
}

/// Bytes that are in use now.
pub fn live_bytes(session: &Session<'_>) -> u64 {
    device::live_bytes().unwrap_or_else(|| but_caches(allocation::live_bytes(), session))
}

fn but_caches(bytes: i64, session: &Session<'_>) -> u64 {
    let cached = session.train.cache_bytes().0 + session.test.cache_bytes().0;
    (bytes.max(0) as u64).saturating_sub(cached)
}

/// Bytes that the program can have in all without swapping, where system or driver say; what it holds already counts.
pub fn available_bytes() -> Option<u64> {
    if let (Some([free, _]), Some(live)) = (device::memory(), device::live_bytes()) {
        return Some(free as u64 + live);
    }
    Some(memory::available_bytes()? + allocation::live_bytes().max(0) as u64)
}

/// What [`available_bytes`] are of.
pub fn owner() -> &'static str {
    device::memory().map_or("machine", |_| "GPU")
}

/// What stays of a split once every image was asked for.
pub struct Kept {
    /// Bytes of the memory that is measured.
    pub bytes: u64,
    /// Images that are decoded once.
    pub images: usize,
    /// Whether a batch waits on the GPU for the step before it.
    pub has_next_ready: bool,
}

impl Kept {
    /// Of a split that a session computes with.
    pub fn of(split: &Dataset, session: &Session<'_>) -> Self {
        let image_bytes = 3 * split.resolution() * split.resolution();
        let (count, cached) = (split.len(), split.cache_bytes().1);
        let images = cached as usize / image_bytes.max(1);
        match Gpu::at(&session.device) {
            None => Self {
                bytes: cached,
                images,
                has_next_ready: false,
            },
            Some(_) if !split.has_originals() && resident::fits(count * image_bytes) => Self {
                bytes: (count * image_bytes) as u64,
                images: count,
                has_next_ready: false,
            },
            // In the machine's memory.
            Some(_) => Self {
                bytes: 0,
                images,
                has_next_ready: true,
            },
        }
    }
}
