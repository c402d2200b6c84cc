//! The images that a convolution reads.

use crate::kernel::batch_norm::{ChannelMap, Channels};
use crate::kernel::elementary::Elementary;
use crate::kernel::scratch::Unfilled;
use crate::kernel::tasks::each;
use crate::kernel::vectorised;

/// Images as they lie, or each entry through the map of its channel.
#[derive(Clone, Copy)]
pub struct Images<'a, T> {
    pub(crate) entries: &'a [T],
    pub(crate) map: Option<&'a ChannelMap<T>>,
}

impl<'a, T: Elementary> Images<'a, T> {
    /// As they lie.
    pub(crate) fn plain(entries: &'a [T]) -> Self {
        Self { entries, map: None }
    }

    /// The map from a channel on.
    pub(crate) fn channels(&self, first: usize) -> Option<Channels<'a, T>> {
        self.map.map(|map| map.from(first))
    }

    /// The entries behind the map, for images of some channels.
    pub(crate) fn mapped(&self, map: &ChannelMap<T>, channels: usize, plane: usize) -> Vec<T> {
        let mut to = Unfilled::new(self.entries.len());
        let out = to.shared();
        each(self.entries.len() / plane.max(1), |i| {
            let from = &self.entries[i * plane..][..plane];
            let own = map.from(i % channels);
            vectorised(
                #[inline(always)]
                move || {
                    // SAFETY: each task has its own plane.
                    let to = unsafe { out.slice(i * plane, plane) };
                    to.copy_from_slice(from);
                    own.line(to);
                },
            );
        });
        // SAFETY: the tasks cover all planes.
        unsafe { to.filled() }
    }
}
