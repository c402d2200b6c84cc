//! Rows of an image with zeros around, as blocks of channels.

use crate::kernel::batch_norm::Channels;
use crate::kernel::lanes::Lanes;
use crate::kernel::layout::to_blocked;

/// A window of rows of one image, with zeros around: row r and column c are row `first + r` and column `c - left` of the image.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) first: isize,
    pub(crate) rows: usize,
    pub(crate) left: usize,
    /// Columns, zeros included; at least `left + width`.
    pub(crate) columns: usize,
}

impl Window {
    /// Numbers that a block of channels needs.
    pub(crate) fn len(&self, lanes: usize) -> usize {
        self.rows * self.columns * lanes
    }

    /// Fills a block; `map` is that of the block's channels, if entries go through one. Zeros around stay zeros.
    ///
    /// # Safety
    /// `from` has `channels` planes of the image; `to` takes [`Self::len`] numbers.
    pub(crate) unsafe fn fill<S: Lanes>(
        &self,
        s: S,
        (from, map): (*const f32, Option<Channels<'_, f32>>),
        channels: usize,
        to: *mut f32,
    ) {
        s.run(
            #[inline(always)]
            || {
                let begin = self.first.max(0) as usize;
                let last = (self.first + self.rows as isize).max(0) as usize;
                let end = last.min(self.height).max(begin);
                let above = ((begin as isize - self.first) as usize).min(self.rows);
                let below = (above + end - begin).min(self.rows);
                let at = |row: usize, column: usize| {
                    to.wrapping_add((row * self.columns + column) * S::LANES)
                };
                let zero = s.splat(0.0);
                // SAFETY: places inside the window and rows inside the image.
                unsafe {
                    for row in (0..above).chain(below..self.rows) {
                        for column in 0..self.columns {
                            s.store(at(row, column), zero);
                        }
                    }
                    for row in above..below {
                        for column in (0..self.left).chain(self.left + self.width..self.columns) {
                            s.store(at(row, column), zero);
                        }
                    }
                    let (mut row, mut column) = (above, self.left);
                    let from = from.wrapping_add(begin * self.width);
                    let count = (end - begin) * self.width;
                    to_blocked(s, from, self.height * self.width, channels, count, || {
                        let here = at(row, column);
                        column += 1;
                        if column == self.left + self.width {
                            column = self.left;
                            row += 1;
                        }
                        here
                    });
                    if let Some(map) = map {
                        for row in above..below {
                            map.registers(s, at(row, self.left), (self.width, 1));
                        }
                    }
                }
            },
        );
    }
}
