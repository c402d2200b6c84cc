//! Decoded images kept in memory, up to a bound.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// One slot an image. What fits within the bound is kept for good and the rest is decoded anew each time: epochs visit all
/// images in random order, where dropping the oldest would miss nearly always.
#[derive(Debug)]
pub(super) struct Cache {
    slots: Vec<OnceLock<Arc<[u8]>>>,
    used_bytes: AtomicU64,
    bound_bytes: u64,
}

impl Cache {
    /// Room for `len` images of together at most `bound_bytes`.
    pub fn new(len: usize, bound_bytes: u64) -> Self {
        Self {
            slots: (0..len).map(|_| OnceLock::new()).collect(),
            used_bytes: AtomicU64::new(0),
            bound_bytes,
        }
    }

    /// Another one of the same bound, with room for `len` images.
    pub fn empty(&self, len: usize) -> Self {
        Self::new(len, self.bound_bytes)
    }

    /// Bytes of the images that are kept now.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of what will be kept once each image of `image_bytes` was asked for.
    pub fn full_bytes(&self, image_bytes: u64) -> u64 {
        let fitting = self.bound_bytes / image_bytes.max(1);
        fitting.min(self.slots.len() as u64) * image_bytes
    }

    /// The image `i`, from memory or from `decode`.
    ///
    /// # Errors
    /// Those of `decode`.
    pub fn get<E>(
        &self,
        i: usize,
        decode: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Arc<[u8]>, E> {
        if let Some(pixels) = self.slots[i].get() {
            return Ok(pixels.clone());
        }
        let pixels: Arc<[u8]> = decode()?.into();
        let size = pixels.len() as u64;
        let used_before = self.used_bytes.fetch_add(size, Ordering::Relaxed);
        let fits = used_before + size <= self.bound_bytes;
        // Another thread may have cached the same image in the meantime.
        if !fits || self.slots[i].set(pixels.clone()).is_err() {
            self.used_bytes.fetch_sub(size, Ordering::Relaxed);
        }
        Ok(pixels)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_fits_is_decoded_once() {
        let cache = Cache::new(3, 10);
        let decoded = Cell::new(0);
        let get = |i: usize| {
            cache.get(i, || {
                decoded.set(decoded.get() + 1);
                Ok::<_, ()>(vec![i as u8; 5])
            })
        };
        for i in [0, 1, 0, 1] {
            assert_eq!(get(i).unwrap()[..], [i as u8; 5]);
        }
        assert_eq!(decoded.get(), 2);
        for _ in 0..3 {
            assert_eq!(get(2).unwrap()[..], [2; 5]);
        }
        assert_eq!(decoded.get(), 5);
        assert_eq!((cache.used_bytes(), cache.full_bytes(5)), (10, 10));
        assert_eq!((cache.full_bytes(6), cache.full_bytes(1)), (6, 3));
    }

    #[test]
    fn errors_are_passed_on_and_not_kept() {
        let cache = Cache::new(1, 10);
        assert_eq!(cache.get(0, || Err("broken")), Err("broken"));
        assert_eq!(cache.get(0, || Ok::<_, ()>(vec![7])).unwrap()[..], [7]);
    }
}
