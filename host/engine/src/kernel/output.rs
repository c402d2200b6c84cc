//! Results that a kernel writes once: their memory is not cleared first.

use std::mem::MaybeUninit;

/// A vector of `len` entries that `fill` writes. Clearing a large result first would be one more pass over memory.
///
/// # Safety
/// `fill` must write every entry.
pub(crate) unsafe fn written<T: Copy>(
    len: usize,
    fill: impl FnOnce(&mut [MaybeUninit<T>]),
) -> Vec<T> {
    let mut out = Vec::with_capacity(len);
    fill(&mut out.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is at least `len`, and the caller vouches that all entries are written.
    unsafe { out.set_len(len) };
    out
}

/// A place of numbers as one to write to.
///
/// # Safety
/// Nothing but numbers is written.
pub(crate) unsafe fn writable<T>(numbers: &mut [T]) -> &mut [MaybeUninit<T>] {
    let (start, len) = (numbers.as_mut_ptr().cast(), numbers.len());
    // SAFETY: `MaybeUninit` has the layout of its type; the caller vouches for what is written.
    unsafe { std::slice::from_raw_parts_mut(start, len) }
}

/// The numbers in a place that holds some already.
///
/// # Safety
/// It was written.
#[inline(always)]
pub(crate) unsafe fn held<T>(place: &mut [MaybeUninit<T>]) -> &mut [T] {
    let (start, len) = (place.as_mut_ptr().cast(), place.len());
    // SAFETY: `MaybeUninit` has the layout of its type; the caller vouches for the numbers.
    unsafe { std::slice::from_raw_parts_mut(start, len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_entries_are_handed_out() {
        let fill = |out: &mut [MaybeUninit<f32>]| {
            for (i, entry) in out.iter_mut().enumerate() {
                entry.write(i as f32);
            }
        };
        // SAFETY: every entry is written.
        assert_eq!(unsafe { written(3, fill) }, [0.0, 1.0, 2.0]);
        // SAFETY: there is none.
        assert!(unsafe { written(0, fill) }.is_empty());
    }
}
