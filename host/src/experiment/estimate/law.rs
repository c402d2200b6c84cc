//! How bytes and seconds of a step follow from the size of its batch: tried at growing sizes, straight through the last two.

use anyhow::Result;

/// Seconds that a trial may take by what the ones before say.
const TRIAL_SECS: f64 = 6.;
/// The smallest trial: a batch of one has no variance, which norms and plugins may refuse.
const FIRST: usize = 2;
/// How much larger the next trial is if the whole batch would be too costly.
const GROWTH: usize = 3;

/// What a trial found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trial {
    /// Items in the batch.
    pub batch: usize,
    /// Most bytes in use, decoded images left out.
    pub peak_bytes: u64,
    /// Bytes that stay allocated after it, decoded images left out: buffers that the engine keeps for the next step.
    pub kept_bytes: u64,
    /// Seconds of a step.
    pub step_secs: f64,
    /// Seconds of the whole trial.
    pub trial_secs: f64,
}

/// Bytes and seconds of a step by the size of its batch: the straight line through two trials, where neither falls with the size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Law {
    first: Trial,
    last: Trial,
}

impl Law {
    /// Tries batches of growing size up to `batch`, the whole one as soon as it is cheap enough: then nothing is extrapolated.
    /// Does not start a trial that may need more than `most_bytes`.
    ///
    /// # Errors
    /// Those of `trial`.
    pub fn find(
        batch: usize,
        most_bytes: u64,
        mut trial: impl FnMut(usize) -> Result<Trial>,
    ) -> Result<Self> {
        let batch = batch.max(1);
        let first = trial(batch.min(FIRST))?;
        if first.batch == batch {
            return Ok(Self { first, last: first });
        }
        // With nothing for the first, everything grows with the batch: what a single trial says at most.
        let mut law = Self {
            first: Trial::default(),
            last: first,
        };
        while law.last.batch < batch {
            let affordable = |size: usize| {
                law.at(size, |t| t.trial_secs) <= TRIAL_SECS && law.bytes_at(size) <= most_bytes
            };
            // From a single trial, what is fixed cannot be told from what grows: the next one must be near.
            let near = (law.last.batch * GROWTH).min(batch);
            let next = match () {
                () if affordable(batch) => batch,
                () if affordable(near) => near,
                () => break,
            };
            law = Self {
                first: law.last,
                last: trial(next)?,
            };
        }
        if law.first.batch == 0 {
            // The first trial was the only one that could be paid: a batch of one gives the second point of the line.
            law.first = trial(1)?;
        }
        Ok(law)
    }

    fn slope(&self, of: fn(&Trial) -> f64) -> f64 {
        let span = self.last.batch.saturating_sub(self.first.batch).max(1) as f64;
        ((of(&self.last) - of(&self.first)) / span).max(0.)
    }

    /// Something of a trial with `batch` items.
    fn at(&self, batch: usize, of: fn(&Trial) -> f64) -> f64 {
        let more = batch as f64 - self.last.batch as f64;
        of(&self.last) + more * self.slope(of)
    }

    /// Bytes that stay allocated after a step on `batch` items.
    pub fn kept_at(&self, batch: usize) -> u64 {
        self.at(batch, |t| t.kept_bytes as f64).max(0.) as u64
    }

    /// The size of the largest trial.
    pub fn tried(&self) -> usize {
        self.last.batch
    }

    /// Peak bytes of a step on `batch` items.
    pub fn bytes_at(&self, batch: usize) -> u64 {
        self.at(batch, |t| t.peak_bytes as f64).max(0.) as u64
    }

    /// Seconds of a step on `batch` items.
    pub fn secs_at(&self, batch: usize) -> f64 {
        // A small rest of a batch costs something however steep the line.
        let least = self.last.step_secs * batch as f64 / self.last.batch.max(1) as f64;
        self.at(batch, |t| t.step_secs)
            .max(least.min(self.last.step_secs))
    }

    /// The largest batch whose step stays below `bytes`.
    pub fn batch_within(&self, bytes: u64) -> usize {
        let room = bytes as f64 - self.last.peak_bytes as f64;
        let per_item = self.slope(|t| t.peak_bytes as f64).max(1.);
        (self.last.batch as f64 + room / per_item).max(0.) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 bytes and 1 ms for nothing, 10 bytes and `item_secs` for each item.
    fn of(batch: usize, item_secs: f64) -> Trial {
        let step_secs = 1e-3 + item_secs * batch as f64;
        Trial {
            batch,
            peak_bytes: 100 + 10 * batch as u64,
            kept_bytes: 50 + batch as u64,
            step_secs,
            trial_secs: 3. * step_secs,
        }
    }

    fn find(batch: usize, most_bytes: u64, item_secs: f64) -> (Law, Vec<usize>) {
        let mut sizes = Vec::new();
        let law = Law::find(batch, most_bytes, |size| {
            sizes.push(size);
            Ok(of(size, item_secs))
        });
        (law.unwrap(), sizes)
    }

    #[test]
    fn a_cheap_batch_is_tried_whole() {
        let (law, sizes) = find(64, u64::MAX, 1e-4);
        assert_eq!(sizes, [2, 64]);
        assert_eq!((law.kept_at(64), law.kept_at(100)), (114, 150));
        assert_eq!((law.tried(), law.bytes_at(64)), (64, 740));
        assert!((law.secs_at(64) - 7.4e-3).abs() < 1e-12);
        assert_eq!(law.batch_within(1100), 100);
        assert_eq!(find(1, u64::MAX, 1e-4).1, [1]);
    }

    #[test]
    fn what_is_too_slow_or_too_large_is_extrapolated() {
        for (law, sizes) in [find(1000, u64::MAX, 0.1), find(1000, 800, 1e-4)] {
            assert!(
                sizes.len() > 1 && *sizes.last().unwrap() < 1000,
                "{sizes:?}"
            );
            assert_eq!(law.bytes_at(1000), 10_100);
        }
        // Not even the smallest one fits a second time: a batch of one gives the line.
        let (law, sizes) = find(1000, 1, 0.1);
        assert_eq!(sizes, [2, 1]);
        assert_eq!(law.bytes_at(1000), 10_100);
        // Two trials tell what is fixed: the whole batch may then be within reach after all.
        assert_eq!(find(60, 800, 1e-4).1, [2, 6, 60]);
        assert!((law.secs_at(1000) - 100.001).abs() < 1e-6);
    }

    #[test]
    fn a_rest_of_a_batch_is_never_free() {
        let line = |first, last| Law { first, last };
        let law = line(of(2, 1.), of(4, 1.));
        assert!(law.secs_at(1) > 0.9);
        let falling = line(of(2, 1.), of(4, 0.1));
        assert!(falling.secs_at(1) > 0. && falling.secs_at(8) >= falling.secs_at(4));
    }
}
