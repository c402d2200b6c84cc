//! How memory is counted, and how freed memory is kept.
//!
//! [`Counting`] is the system's allocator with a count of the bytes that are live. A program that wants figures makes it its
//! global allocator and switches the count on:
//!
//! ```ignore
//! #[global_allocator]
//! static ALLOCATOR: Counting = Counting;
//!
//! allocation::set_counting(true);
//! let (result, peak_bytes) = allocation::peak_above(|| step());
//! ```
//!
//! Counted is what the host asks for, to the byte, whatever the thread: tensors, caches, buffers. Not counted are plugins' own
//! allocations (a shared library brings an allocator of its own; tensors are the host's), stacks, mapped files, code, and what
//! the C library keeps beyond what it was asked for. So a peak here is below that of the resident memory.

mod ranges;
mod region;

use std::{
    alloc::{GlobalAlloc, Layout},
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
};

use region::Apart;

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, which counts live bytes when enabled; otherwise it costs one relaxed load per call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

/// Begins to count from zero, or stops.
///
/// A block that is older than the count lowers it when it is freed, below zero even: a count is always the change of the heap
/// since the count began, so differences and peaks stay right. Whoever wants the whole heap switches it on before anything is
/// allocated.
pub fn set_counting(on: bool) {
    if on && !IS_COUNTING.load(Relaxed) {
        LIVE.store(0, Relaxed);
        PEAK.store(0, Relaxed);
        ALLOCATED.store(0, Relaxed);
    }
    IS_COUNTING.store(on, Relaxed);
}

/// Whether allocations are counted; always false where [`Counting`] is not the global allocator or was not switched on.
pub fn is_counting() -> bool {
    IS_COUNTING.load(Relaxed)
}

/// Bytes that are allocated now, above those at the beginning of the count.
pub fn live_bytes() -> i64 {
    LIVE.load(Relaxed)
}

/// The largest [`live_bytes`] since the count began or [`reset_peak`] was called.
pub fn peak_bytes() -> i64 {
    PEAK.load(Relaxed)
}

/// Bytes that were asked for since the count began, freed ones included.
pub fn allocated_bytes() -> u64 {
    ALLOCATED.load(Relaxed)
}

/// Forgets earlier peaks.
pub fn reset_peak() {
    PEAK.store(LIVE.load(Relaxed), Relaxed);
}

/// Does `work`, and gives the most bytes that were live meanwhile beyond those that were live before. Forgets earlier peaks.
pub fn peak_above<T>(work: impl FnOnce() -> T) -> (T, u64) {
    reset_peak();
    let before = live_bytes();
    let result = work();
    (result, (peak_bytes() - before).max(0) as u64)
}

fn count(change: i64) {
    let live = LIVE.fetch_add(change, Relaxed) + change;
    if change > 0 {
        ALLOCATED.fetch_add(change as u64, Relaxed);
        if live > PEAK.load(Relaxed) {
            PEAK.fetch_max(live, Relaxed);
        }
    }
}

// SAFETY: every call is handed on to the system's allocator unchanged; counting only touches atomics and never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        let block = unsafe { Apart.alloc(layout) };
        if is_counting() && !block.is_null() {
            count(layout.size() as i64);
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        let block = unsafe { Apart.alloc_zeroed(layout) };
        if is_counting() && !block.is_null() {
            count(layout.size() as i64);
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_counting() {
            count(-(layout.size() as i64));
        }
        // SAFETY: the caller keeps the contract of `dealloc`; the block is the system's.
        unsafe { Apart.dealloc(block, layout) }
    }

    /// Counts the difference: where the system moves a block, its two places are not counted both.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `realloc`; the block is the system's.
        let moved = unsafe { Apart.realloc(block, layout, new_size) };
        if is_counting() && !moved.is_null() {
            count(new_size as i64 - layout.size() as i64);
        }
        moved
    }
}

/// Keeps freed memory with the process. A step allocates and frees the same large buffers again and again; glibc would give
/// each of them back to the system and fetch it anew, page fault by page fault. Other C libraries are left alone.
///
/// Large blocks lie in a region of their own, in large pages where the system has them for who asks (0.98 of the processor time of a
/// training step of EfficientNet-B0).
///
/// All threads share one arena: those of other threads are made of heaps of 64 MiB, which go back to the system when they are
/// empty. Training a ResNet-18 on 32 px had 413,000 page faults and a peak of 709 MiB resident with an
/// arena for each thread, 153,000 and 621 MiB with one.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGE_BYTES: libc::c_int = 1 << 30;
        // SAFETY: mallopt takes two numbers, and is called before other threads start.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
            libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE_BYTES);
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
    region::begin();
}
