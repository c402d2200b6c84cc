//! Whether AMX, tiles of registers and their products, is there to be used.

use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

/// Whether the processor has tiles with products of bf16, and the system lets this process use them. It asks once.
pub(super) fn is_usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| has_tiles() && allowed())
}

fn has_tiles() -> bool {
    const LEAF: u32 = 7;
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    const ALL: u32 = BF16 | TILES;
    // Safe functions in later versions of the compiler than the oldest that this crate is for.
    #[allow(unused_unsafe)]
    // SAFETY: every processor that runs this has the instruction.
    let has = unsafe { __cpuid(0).eax >= LEAF && __cpuid_count(LEAF, 0).edx & ALL == ALL };
    has
}

/// Asks the system for the registers, which it saves for those who asked alone.
fn allowed() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
        const TILE_DATA: libc::c_ulong = 18;
        // SAFETY: a call with two numbers.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}
