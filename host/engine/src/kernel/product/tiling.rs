//! Products of packed pairs by tiles, whatever multiplies them: two tiles of A by two of B at a time.

use super::pack::SIDE;

/// What a product by tiles runs over.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Depth {
    /// Tiles of the depth.
    pub(in crate::kernel) tiles: usize,
    /// Distance of two of them in A, whose rows of `SIDE` words follow each other; in B they do.
    pub(in crate::kernel) step: usize,
    /// Whether the sums are added to what is there.
    pub(in crate::kernel) accumulate: bool,
}

/// Where two by two tiles of sums start: left, right, and the distance of two rows.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Sums {
    pub(in crate::kernel) left: *mut f32,
    pub(in crate::kernel) right: *mut f32,
    pub(in crate::kernel) stride: usize,
}

/// Multiplies two tiles of A by two of B for each of the depth.
pub(in crate::kernel) trait Tiling: Copy {
    /// # Safety
    /// The tiles have their shape, the packed factors all entries; two by two tiles of sums can be read and written.
    unsafe fn multiply(self, depth: &Depth, a: *const f32, b: *const f32, sums: Sums);

    /// As [`Tiling::multiply`] for the first `rows` rows and `columns` columns, at most two tiles of each: sums beyond them are not touched.
    ///
    /// # Safety
    /// As there, but for these sums.
    #[inline(always)]
    unsafe fn multiply_part(
        self,
        depth: &Depth,
        (rows, columns): (usize, usize),
        a: *const f32,
        b: *const f32,
        sums: Sums,
    ) {
        const ALL: usize = 2 * SIDE;
        if (rows, columns) == (ALL, ALL) {
            // SAFETY: the caller's promise.
            return unsafe { self.multiply(depth, a, b, sums) };
        }
        let mut buffer = [[0.0f32; ALL]; ALL];
        let halves = [
            (sums.left, 0, columns.min(SIDE)),
            (sums.right, SIDE, columns.saturating_sub(SIDE)),
        ];
        // SAFETY: the caller's promise: rows of sums.
        let row = |start: *mut f32, i: usize, count: usize| unsafe {
            std::slice::from_raw_parts_mut(start.wrapping_add(i * sums.stride), count)
        };
        if depth.accumulate {
            for (i, to) in buffer[..rows].iter_mut().enumerate() {
                for (start, first, count) in halves {
                    to[first..][..count].copy_from_slice(row(start, i, count));
                }
            }
        }
        let left = buffer.as_mut_ptr().cast::<f32>();
        let own = Sums {
            left,
            right: left.wrapping_add(SIDE),
            stride: ALL,
        };
        // SAFETY: the caller's promise; the buffer takes all sums.
        unsafe { self.multiply(depth, a, b, own) };
        for (i, from) in buffer[..rows].iter().enumerate() {
            for (start, first, count) in halves {
                row(start, i, count).copy_from_slice(&from[first..][..count]);
            }
        }
    }
}
