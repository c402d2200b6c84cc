//! Which ranges of a line of bytes are free.

use std::collections::{BTreeMap, BTreeSet};

/// A line of `len` bytes of which ranges are taken and given back. Free ranges that touch are one.
///
/// A taken range is the shortest free one that is long enough, of equals the first, so that long ones stay whole.
pub(super) struct Ranges {
    len: usize,
    /// Where the last range that is not free ends: all that lies behind is free.
    end: usize,
    /// The free ranges before, by their start.
    lens: BTreeMap<usize, usize>,
    /// The same as `(length, start)`.
    starts: BTreeSet<(usize, usize)>,
}

impl Ranges {
    pub(super) const fn new(len: usize) -> Self {
        Self {
            len,
            end: 0,
            lens: BTreeMap::new(),
            starts: BTreeSet::new(),
        }
    }

    /// Where the last taken range ends.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Takes `len` bytes: where they start, unless there is no such range.
    pub(super) fn take(&mut self, len: usize) -> Option<usize> {
        if let Some(&(found, start)) = self.starts.range((len, 0)..).next() {
            self.remove(start, found);
            if found > len {
                self.insert(start + len, found - len);
            }
            return Some(start);
        }
        let start = self.end;
        let end = start.checked_add(len).filter(|end| *end <= self.len)?;
        self.end = end;
        Some(start)
    }

    /// Gives back `len` bytes that were taken.
    pub(super) fn give(&mut self, mut start: usize, mut len: usize) {
        if let Some(&after) = self.lens.get(&(start + len)) {
            self.remove(start + len, after);
            len += after;
        }
        if let Some((&first, &before)) = self.lens.range(..start).next_back()
            && first + before == start
        {
            self.remove(first, before);
            (start, len) = (first, before + len);
        }
        if start + len == self.end {
            self.end = start;
        } else {
            self.insert(start, len);
        }
    }

    fn insert(&mut self, start: usize, len: usize) {
        self.lens.insert(start, len);
        self.starts.insert((len, start));
    }

    fn remove(&mut self, start: usize, len: usize) {
        self.lens.remove(&start);
        self.starts.remove(&(len, start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_range_that_is_long_enough_is_taken() {
        let mut ranges = Ranges::new(100);
        let starts = [30, 5, 20, 5, 10].map(|len| ranges.take(len));
        assert_eq!(starts, [0, 30, 35, 55, 60].map(Some));
        ranges.give(0, 30);
        ranges.give(35, 20);
        assert_eq!(ranges.take(18), Some(35));
        assert_eq!(ranges.take(25), Some(0));
        assert_eq!(ranges.take(31), None, "30 are left behind the last");
        assert_eq!(ranges.take(30), Some(70));
    }

    #[test]
    fn taken_ranges_never_overlap_and_all_come_back() {
        const LEN: usize = 10_000;
        let mut ranges = Ranges::new(LEN);
        let mut taken: Vec<(usize, usize)> = Vec::new();
        let mut random = 1u64;
        let mut next = |below: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) as usize % below
        };
        for _ in 0..20_000 {
            if next(2) == 0 && !taken.is_empty() {
                let (start, len) = taken.swap_remove(next(taken.len()));
                ranges.give(start, len);
            } else {
                let len = 1 + next(500);
                let Some(start) = ranges.take(len) else {
                    continue;
                };
                assert!(start + len <= LEN);
                let apart = |(other, count): &(usize, usize)| {
                    start + len <= *other || other + count <= start
                };
                assert!(taken.iter().all(apart), "{start} {len}");
                taken.push((start, len));
            }
        }
        for (start, len) in taken {
            ranges.give(start, len);
        }
        assert!(ranges.end == 0 && ranges.lens.is_empty() && ranges.starts.is_empty());
        assert_eq!(ranges.take(LEN), Some(0));
    }
}
