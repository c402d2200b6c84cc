//! A region for large blocks, apart from the heap of the C library.
//!
//! A step allocates and frees the same large buffers again and again. Between small blocks that live long, the heap's free ranges do not
//! join, and a quarter of the memory can lie in holes. Alone, large blocks leave fewer; holes remain where a step has a few very large ones.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Mutex, PoisonError};

use super::ranges::Ranges;

/// Bytes from which on a block is large.
const LARGE: usize = 1 << 16;
/// Blocks begin and end at multiples of a cache line.
const LINE: usize = 64;
/// Lines that lie between two blocks: those of equal sizes, often powers of two, then begin at different places of a page, so that a loop
/// over several of them does not meet the same sets of the caches.
const GAP: usize = 5 * LINE;

/// Free bytes behind the last block that stay with the process.
const KEPT: usize = 1 << 30;

/// Where the region starts and ends; both 0 where there is none. The start is set last.
static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
static REGION: Mutex<Region> = Mutex::new(Region {
    ranges: Ranges::new(0),
    used: 0,
});

struct Region {
    ranges: Ranges,
    /// Bytes from the start that were ever handed out; those behind are zeros.
    used: usize,
}

impl Region {
    /// Gives pages behind the last block back to the system where they are many.
    fn give_back(&mut self) {
        #[cfg(target_os = "linux")]
        {
            const PAGE: usize = 1 << 21;
            let end = self.ranges.end().next_multiple_of(PAGE);
            if self.used > end + KEPT {
                let start = std::ptr::with_exposed_provenance_mut(START.load(Relaxed) + end);
                // SAFETY: nobody has these bytes; they are zeros when they are next read.
                if unsafe { libc::madvise(start, self.used - end, libc::MADV_DONTNEED) } == 0 {
                    self.used = end;
                }
            }
        }
    }
}

/// Begins to take large blocks from a region of as many bytes as the machine has memory, in large pages where the system has them for
/// who asks: kernels walk tensors in many places at a time, and with small pages the processor looks up each. Where the system does not
/// grant the addresses, blocks are the C library's as before.
pub(super) fn begin() {
    #[cfg(target_os = "linux")]
    {
        let mut region = lock();
        if START.load(Relaxed) != 0 {
            return;
        }
        // SAFETY: two questions, a mapping of its own, and advice that does not change what memory holds.
        let (start, len) = unsafe {
            let [pages, page] = [libc::_SC_PHYS_PAGES, libc::_SC_PAGESIZE].map(|name| {
                let answer = libc::sysconf(name);
                usize::try_from(answer).unwrap_or(0)
            });
            let len = pages.saturating_mul(page);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let start = libc::mmap(null_mut(), len, access, kind, -1, 0);
            if start == libc::MAP_FAILED {
                return;
            }
            libc::madvise(start, len, libc::MADV_HUGEPAGE);
            (start, len)
        };
        region.ranges = Ranges::new(len);
        END.store(start.addr() + len, Relaxed);
        START.store(start.expose_provenance(), Release);
    }
}

fn lock() -> std::sync::MutexGuard<'static, Region> {
    REGION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that a block takes.
fn taken(layout: Layout) -> usize {
    layout.size().next_multiple_of(LINE) + GAP
}

/// Whether a block lies in the region.
fn holds(block: *mut u8) -> bool {
    let start = START.load(Acquire);
    start != 0 && (start..END.load(Relaxed)).contains(&block.addr())
}

/// A large block of the region, and whether it may hold other than zeros; null where the region has none.
fn block(layout: Layout) -> (*mut u8, bool) {
    let start = START.load(Relaxed);
    if layout.size() < LARGE || layout.align() > LINE || start == 0 {
        return (null_mut(), false);
    }
    let len = taken(layout);
    let mut region = lock();
    let Some(at) = region.ranges.take(len) else {
        return (null_mut(), false);
    };
    let written = at < region.used;
    region.used = region.used.max(at + len);
    (std::ptr::with_exposed_provenance_mut(start + at), written)
}

/// The region for large blocks, and the system's allocator for all others.
pub(super) struct Apart;

// SAFETY: a block of the region is a range of a mapping that nobody else has; all others are the system's, and go back to it.
unsafe impl GlobalAlloc for Apart {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (block, _) = block(layout);
        if !block.is_null() {
            return block;
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (block, written) = block(layout);
        if block.is_null() {
            // SAFETY: the caller keeps the contract of `alloc_zeroed`.
            return unsafe { System.alloc_zeroed(layout) };
        }
        if written {
            // SAFETY: the block has that size.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if holds(block) {
            let mut region = lock();
            let at = block.addr() - START.load(Relaxed);
            region.ranges.give(at, taken(layout));
            region.give_back();
        } else {
            // SAFETY: the caller keeps the contract of `dealloc`; the block is the system's.
            unsafe { System.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `realloc`, so that the size fits the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if !holds(block) && (new_size < LARGE || START.load(Relaxed) == 0) {
            // SAFETY: as above; the block is the system's.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        if holds(block) && new_size >= LARGE && taken(new) == taken(layout) {
            return block;
        }
        // SAFETY: as above; both blocks have at least the smaller size.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    #[test]
    fn large_blocks_are_written_cleared_moved_and_given_back() {
        begin();
        let large = 3 * LARGE;
        // SAFETY: each block is used within its size, and freed once with its layout.
        unsafe {
            let first = Apart.alloc(layout(large));
            let second = Apart.alloc(layout(large));
            assert_eq!(cfg!(target_os = "linux"), holds(first));
            first.write_bytes(1, large);
            second.write_bytes(2, large);
            Apart.dealloc(first, layout(large));
            let zeros = Apart.alloc_zeroed(layout(large));
            let bytes = std::slice::from_raw_parts(zeros, large);
            assert!(bytes.iter().all(|byte| *byte == 0));
            // From the region to the heap and back.
            let mut size = large;
            let mut block = second;
            for new in [large + 1, LARGE / 2, LARGE, 1, large] {
                block = Apart.realloc(block, layout(size), new);
                size = new;
                assert_eq!(*block, 2);
            }
            Apart.dealloc(block, layout(size));
            Apart.dealloc(zeros, layout(large));
            let small = Apart.alloc(layout(LARGE - 1));
            assert!(!holds(small));
            Apart.dealloc(small, layout(LARGE - 1));
        }
    }
}
