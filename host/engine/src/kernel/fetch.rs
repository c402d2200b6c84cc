//! Asking for memory before it is needed, where the processor cannot know what comes next.

/// Asks for the cache line some bytes behind a place.
#[inline(always)]
pub(crate) fn fetch_ahead<T>(from: *const T, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = from.cast::<i8>().wrapping_add(bytes);
        // SAFETY: part of every x86-64 processor; a line that is not there is not fetched.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, bytes);
}
