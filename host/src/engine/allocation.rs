//! How freed memory is kept.

/// Keeps freed memory with the process. A step allocates and frees the same large buffers again and again; glibc would give
/// each of them back to the system and fetch it anew, page fault by page fault. Other C libraries are left alone.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGE_BYTES: libc::c_int = 1 << 30;
        // SAFETY: mallopt takes two numbers, and is called before other threads start.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
            libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE_BYTES);
        }
    }
}
