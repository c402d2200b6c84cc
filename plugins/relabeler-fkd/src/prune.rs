//! Which views are labelled at all.

use plugin_api::{
    prelude::*,
    rng::{Rng, StreamId},
};

/// What a pruned label store keeps.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prune {
    /// Fraction of all epochs' views whose labels are kept, rounded up to a whole number of epochs; 1 keeps all
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub(crate) keep: f64,
    /// Keep whole epochs, or the same number of batches chosen from all epochs
    #[serde(default)]
    pub(crate) of: Unit,
}

/// The unit that is kept or left out.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    /// The first epochs
    #[default]
    Epochs,
    /// Batches of the views' `batch_size`, chosen at random among those of all epochs
    Batches,
}

impl Prune {
    /// Everything is kept.
    pub(crate) const NONE: Self = Self {
        keep: 1.,
        of: Unit::Epochs,
    };

    /// Passes that are stored, each as long as an epoch.
    pub(crate) fn passes(&self, set: &SetInfo) -> Result<u32> {
        let keep = self.keep;
        ensure!(
            keep > 0. && keep <= 1.,
            "keep: expected a number above 0 and up to 1, got {keep}"
        );
        Ok(((f64::from(set.epochs) * keep).ceil() as u32).clamp(1, set.epochs.max(1)))
    }

    /// The views of a pass.
    pub(crate) fn views(&self, set: &SetInfo, pass: u32) -> Vec<View> {
        match self.of {
            Unit::Epochs => set.draw_views(pass),
            Unit::Batches => self.batches(set, pass),
        }
    }

    /// As many batches as an epoch has: the next ones in a random order of the batches of all epochs.
    fn batches(&self, set: &SetInfo, pass: u32) -> Vec<View> {
        let size = set.views.batch_size.max(1) as usize;
        let count = (set.images as usize).div_ceil(size);
        let mut rng = Rng::new(set.seed, "relabel", "prune", StreamId::default());
        let order = rng.permutation(count * set.epochs as usize);
        let chosen = order.iter().skip(count * pass as usize).take(count);
        let batch = |chosen: &u32| {
            let (epoch, batch) = (*chosen as usize / count, *chosen as usize % count);
            let views = set.draw_views(epoch as u32);
            let end = views.len().min((batch + 1) * size);
            views[batch * size..end].to_vec()
        };
        chosen.flat_map(batch).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::view::{BeforeRule, ColorRule, CropRule, MixRule};

    const SET: SetInfo = SetInfo {
        images: 10,
        classes: 3,
        resolution: 8,
        seed: 1,
        epochs: 9,
        views: ViewRule {
            crop: CropRule::Padded { padding: 2 },
            flip: 0.5,
            mix: MixRule::CutMix { alpha: 1. },
            batch_size: 4,
            color_jitter: ColorRule::NONE,
            before: BeforeRule::NONE,
        },
    };

    #[test]
    fn whole_epochs_are_the_first_ones() {
        let prune = Prune {
            keep: 0.25,
            of: Unit::Epochs,
        };
        assert_eq!(prune.passes(&SET).unwrap(), 3);
        assert_eq!(prune.views(&SET, 2), SET.draw_views(2));
        assert_eq!(Prune::NONE.passes(&SET).unwrap(), 9);
    }

    #[test]
    fn batches_are_whole_and_never_twice() {
        let prune = Prune {
            keep: 1.,
            of: Unit::Batches,
        };
        let chosen: Vec<View> = (0..9).flat_map(|pass| prune.views(&SET, pass)).collect();
        let all: Vec<View> = (0..9).flat_map(|epoch| SET.draw_views(epoch)).collect();
        assert_eq!(chosen.len(), all.len());
        // Each view is its batch's own: of all that were drawn, every one was chosen once.
        let sorted = |views: &[View]| {
            let mut rows: Vec<_> = views.iter().map(View::to_row).collect();
            rows.sort_unstable();
            rows
        };
        assert_eq!(sorted(&chosen), sorted(&all));
        assert_ne!(chosen, all);
        assert_eq!(prune.views(&SET, 3), prune.views(&SET, 3));
    }

    #[test]
    fn fractions_that_are_none_are_refused() {
        for keep in [0., -1., 1.5, f64::NAN] {
            let prune = Prune {
                keep,
                of: Unit::Epochs,
            };
            let error = prune.passes(&SET).unwrap_err().to_string();
            assert!(
                error.starts_with("keep: expected a number above 0"),
                "{error}"
            );
        }
    }
}
