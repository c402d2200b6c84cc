//! The stages of a run by type: what each is called, which of them makes the images, and whose files it reads.

use std::fmt;

use serde::Serialize;

/// A stage of a run; they are carried out in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The teacher.
    Squeeze,
    /// The distilled images, from the teacher.
    Recover,
    /// Networks whose training trajectories a matcher follows.
    Experts,
    /// The distilled images, by a matcher.
    Match,
    /// The distilled images, made elsewhere.
    Given,
    /// Their labels.
    Relabel,
    /// The evaluation.
    Validate,
    /// The evaluation while classes arrive step by step.
    Continual,
}

impl Stage {
    /// All of them in their order.
    pub const ALL: [Self; Self::Continual as usize + 1] = [
        Self::Squeeze,
        Self::Recover,
        Self::Experts,
        Self::Match,
        Self::Given,
        Self::Relabel,
        Self::Validate,
        Self::Continual,
    ];

    /// Those that make the distilled images, of which an experiment has one at most.
    pub const MAKERS: [Self; 3] = [Self::Recover, Self::Match, Self::Given];

    /// Its name: that of its table, of its folder, of its record in the manifest and of its random numbers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Squeeze => "squeeze",
            Self::Recover => "recover",
            Self::Experts => "experts",
            Self::Match => "match",
            Self::Given => "given",
            Self::Relabel => "relabel",
            Self::Validate => "validate",
            Self::Continual => "continual",
        }
    }

    /// Whether it consists of units that processes can share: batches of images, experts, passes of labels, students.
    pub const fn has_units(self) -> bool {
        matches!(
            self,
            Self::Recover | Self::Experts | Self::Relabel | Self::Validate
        )
    }

    /// The stage of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// The stages that it cannot do without: one of each group, the first unless another is there.
    pub const fn needs(self) -> &'static [&'static [Self]] {
        match self {
            Self::Squeeze | Self::Match | Self::Given => &[],
            Self::Recover => &[&[Self::Squeeze]],
            Self::Experts => &[&[Self::Match]],
            Self::Relabel => &[&Self::MAKERS, &[Self::Squeeze]],
            Self::Validate => &[&Self::MAKERS],
            Self::Continual => &[&[Self::Validate]],
        }
    }

    /// The stages whose files it reads, where the run has them.
    pub const fn reads(self) -> &'static [Self] {
        match self {
            Self::Squeeze | Self::Experts | Self::Given => &[],
            Self::Recover => &[Self::Squeeze],
            Self::Match => &[Self::Squeeze, Self::Experts],
            Self::Relabel => &[Self::Squeeze, Self::Recover, Self::Match, Self::Given],
            Self::Validate => &[Self::Recover, Self::Match, Self::Given, Self::Relabel],
            Self::Continual => &[
                Self::Squeeze,
                Self::Recover,
                Self::Match,
                Self::Given,
                Self::Validate,
            ],
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_its_place_and_its_own_name() {
        for (i, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, i, "{stage} is not in its place");
            assert_eq!(Stage::named(stage.name()), Some(stage));
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.name());
        }
        assert_eq!(Stage::named("distil"), None);
    }
}
