//! Memory for kernels: scratch that is lent and comes back, results that are filled by parallel tasks.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::{Mutex, PoisonError};

/// Alignment of scratch memory: a cache line.
const ALIGNMENT: usize = 64;

/// A block of f32, aligned to cache lines.
struct Block {
    start: *mut f32,
    len: usize,
}

// SAFETY: a block owns its memory, as a Vec does.
unsafe impl Send for Block {}

impl Block {
    fn layout(len: usize) -> Layout {
        let bytes = len.checked_mul(size_of::<f32>());
        let layout = bytes.and_then(|n| Layout::from_size_align(n, ALIGNMENT).ok());
        layout.expect("scratch fits the address space")
    }

    fn new(len: usize) -> Self {
        let layout = Self::layout(len.max(1));
        // SAFETY: the size is not 0.
        let start = unsafe { alloc_zeroed(layout) }.cast::<f32>();
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Self {
            start,
            len: len.max(1),
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.start.cast(), Self::layout(self.len)) }
    }
}

/// Blocks that nobody holds. Not a thread-local: a task that waits may run another one on its thread, which needs scratch of its own.
static FREE: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// Scratch of unspecified content, given back when dropped.
pub(crate) struct Lease(Option<Block>);

impl Lease {
    /// Lends at least `len` numbers: the smallest free block that is large enough; else the largest is replaced.
    pub(crate) fn new(len: usize) -> Self {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = (0..free.len())
            .filter(|&i| free[i].len >= len)
            .min_by_key(|&i| free[i].len);
        if let Some(i) = fits {
            return Self(Some(free.swap_remove(i)));
        }
        let largest = (0..free.len()).max_by_key(|&i| free[i].len);
        let small = largest.map(|i| free.swap_remove(i));
        drop(free);
        drop(small);
        Self(Some(Block::new(len)))
    }

    /// The first number.
    pub(crate) fn start(&self) -> *mut f32 {
        self.0.as_ref().expect("held until dropped").start
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(block) = self.0.take() {
            let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            free.push(block);
        }
    }
}

/// A pointer that parallel tasks share; each use says why its entries are its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub(crate) *mut T);

// SAFETY: a pointer by itself does nothing; whoever follows it says why that is sound.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The entry `offset` after the start. A method, so that closures capture the whole.
    pub(crate) fn at(self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }

    /// Some entries.
    ///
    /// # Safety
    /// They can be written, and while the slice lives nobody else reads or writes them. If they were never written, the
    /// slice may only be written to.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice<'a>(self, start: usize, len: usize) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}

/// A vector whose entries tasks write before anyone reads them; zeroing it first would cost a pass over memory.
pub(crate) struct Unfilled<T>(Vec<T>, usize);

impl<T: Copy + Send> Unfilled<T> {
    pub(crate) fn new(len: usize) -> Self {
        Self(Vec::with_capacity(len), len)
    }

    pub(crate) fn shared(&mut self) -> Shared<T> {
        Shared(self.0.as_mut_ptr())
    }

    /// The filled vector.
    ///
    /// # Safety
    /// Every entry has been written.
    pub(crate) unsafe fn filled(mut self) -> Vec<T> {
        // SAFETY: within the capacity; the caller wrote every entry.
        unsafe { self.0.set_len(self.1) };
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_aligned_and_comes_back() {
        let first = Lease::new(100);
        let start = first.start();
        assert_eq!(start as usize % ALIGNMENT, 0);
        let second = Lease::new(100);
        assert_ne!(start, second.start(), "two leases do not overlap");
    }

    #[test]
    fn an_unfilled_vector_has_what_was_written() {
        let mut numbers = Unfilled::<f32>::new(3);
        let start = numbers.shared();
        for i in 0..3 {
            // SAFETY: within the capacity.
            unsafe { start.at(i).write(i as f32) };
        }
        // SAFETY: all three were written.
        assert_eq!(unsafe { numbers.filled() }, [0.0, 1.0, 2.0]);
    }
}
