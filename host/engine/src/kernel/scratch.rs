//! Memory for kernels: scratch that is lent and comes back, results that are filled by parallel tasks.
//!
//! What scratch takes does not depend on chance: a kernel that runs holds at most one lease of [`KERNELS`], a task at most one of
//! [`TASKS`] and of [`PRODUCTS`], all leases of a pool have the size of the largest so far, and there is one for each thread from the start.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem::take;
use std::sync::{Mutex, PoisonError};

/// Alignment of scratch memory: a cache line.
const ALIGNMENT: usize = 64;

/// A block of bytes, aligned to cache lines.
struct Block {
    start: *mut u8,
    bytes: usize,
    /// The thread of the pool that had it last.
    thread: Option<usize>,
}

// SAFETY: a block owns its memory, as a Vec does.
unsafe impl Send for Block {}

impl Block {
    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, ALIGNMENT).expect("scratch fits the address space")
    }

    /// Zeroed, so that a read before a write at least sees numbers.
    fn new(bytes: usize) -> Self {
        let layout = Self::layout(bytes);
        // SAFETY: the size is not 0, see `bytes_of`.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Self {
            start,
            bytes,
            thread: None,
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.start, Self::layout(self.bytes)) }
    }
}

/// Blocks of one size that nobody holds. Not thread-locals: a task that waits may run another one on its thread.
pub(crate) struct Pool {
    state: Mutex<State>,
    for_tasks: bool,
}

struct State {
    bytes: usize,
    free: Vec<Block>,
}

/// Scratch that all tasks of a kernel share.
pub(crate) static KERNELS: Pool = Pool::new(false);
/// Scratch of one task.
pub(crate) static TASKS: Pool = Pool::new(true);
/// Packed factors of a product of matrices, which a task may compute while it holds a lease of [`TASKS`].
pub(crate) static PRODUCTS: Pool = Pool::new(true);

/// Bytes of a part of a lease; whole cache lines.
fn bytes_of<T>(len: usize) -> usize {
    let bytes = len.max(1).checked_mul(size_of::<T>());
    let lines = bytes.and_then(|n| n.checked_next_multiple_of(ALIGNMENT));
    lines.expect("scratch fits the address space")
}

impl Pool {
    const fn new(for_tasks: bool) -> Self {
        Self {
            state: Mutex::new(State {
                bytes: 0,
                free: Vec::new(),
            }),
            for_tasks,
        }
    }

    /// Blocks that are kept: as many as can be held at a time.
    fn most(&self) -> usize {
        if self.for_tasks {
            rayon::current_num_threads()
        } else {
            1
        }
    }

    /// Lends parts of `lens` numbers of unspecified content, each from a cache line on.
    pub(crate) fn lend<T, const N: usize>(
        &'static self,
        lens: [usize; N],
    ) -> (Lease, [Shared<T>; N]) {
        let bytes = lens.map(bytes_of::<T>).iter().sum();
        let lease = Lease {
            block: Some(self.take(bytes)),
            pool: self,
        };
        let mut next = lease.block.as_ref().expect("held until dropped").start;
        let parts = lens.map(|len| {
            let part = Shared(next.cast::<T>());
            next = next.wrapping_add(bytes_of::<T>(len));
            part
        });
        (lease, parts)
    }

    /// Lends parts of `lens` numbers of unspecified content to `work`.
    pub(crate) fn with<T: super::Scalar, const N: usize, R>(
        &'static self,
        lens: [usize; N],
        work: impl FnOnce([&mut [T]; N]) -> R,
    ) -> R {
        let (_lease, starts) = self.lend::<T, N>(lens);
        // SAFETY: the parts do not overlap, were zeroed when they were allocated, and every bit pattern is a number.
        work(std::array::from_fn(|i| unsafe {
            starts[i].slice(0, lens[i])
        }))
    }

    fn take(&self, bytes: usize) -> Block {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > state.bytes {
            drop(take(&mut state.free));
            state.bytes = bytes;
            state.free = (0..self.most()).map(|_| Block::new(bytes)).collect();
        }
        let (bytes, thread) = (state.bytes, rayon::current_thread_index());
        // What a thread had last is in its cache, what another had is in the other's.
        let own = state.free.iter().position(|block| block.thread == thread);
        let block = own.map(|i| state.free.swap_remove(i));
        let block = block.or_else(|| state.free.pop());
        let mut block = block.unwrap_or_else(|| Block::new(bytes));
        block.thread = thread;
        block
    }
}

/// Scratch, given back when dropped.
pub(crate) struct Lease {
    block: Option<Block>,
    pool: &'static Pool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = (self.pool.state.lock()).unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = self.block.take()
            && block.bytes == state.bytes
            && state.free.len() < self.pool.most()
        {
            state.free.push(block);
        }
    }
}

/// A pointer that parallel tasks share; each use says why its entries are its own.
pub(crate) struct Shared<T>(pub(crate) *mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

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
    fn leases_are_aligned_apart_and_come_back() {
        static POOL: Pool = Pool::new(true);
        let (first, [a, b]) = POOL.lend::<f32, 2>([3, 5]);
        assert_eq!(a.at(0) as usize % ALIGNMENT, 0);
        assert_eq!(b.at(0) as usize - a.at(0) as usize, ALIGNMENT);
        let (second, [c]) = POOL.lend::<f64, 1>([1]);
        assert_ne!(a.at(0).cast(), c.at(0), "two leases do not overlap");
        drop((first, second));
        // All of one size, one for each thread.
        let free = || POOL.state.lock().unwrap().free.len();
        assert_eq!(free(), rayon::current_num_threads());
        let larger = POOL.lend::<f32, 1>([1000]);
        assert_eq!(free(), rayon::current_num_threads() - 1);
        drop(larger);
        POOL.with([4, 2], |[a, _b]: [&mut [f64]; 2]| a.fill(1.0));
        assert_eq!(free(), rayon::current_num_threads());
        assert_eq!(POOL.state.lock().unwrap().bytes, 4032);
    }

    #[test]
    fn a_thread_gets_what_it_had() {
        static POOL: Pool = Pool::new(true);
        let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build();
        let threads = threads.expect("two threads");
        let place = |lease: &Lease| lease.block.as_ref().map(|block| block.start as usize);
        let met = std::sync::Barrier::new(2);
        let both = threads.broadcast(|_| {
            let (lease, _) = POOL.lend::<f32, 1>([100]);
            // Neither gives its own back before the other has one.
            met.wait();
            place(&lease)
        });
        assert_ne!(both[0], both[1]);
        for _ in 0..10 {
            let again = threads.broadcast(|_| place(&POOL.lend::<f32, 1>([100]).0));
            assert_eq!(again, both);
        }
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
