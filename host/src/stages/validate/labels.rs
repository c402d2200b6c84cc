//! The kinds of labels that students learn from.

use crate::stages::sets::{HARD, UNAUGMENTED};

use super::config::{Config, Control};

/// The labels that students learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// Those that a teacher gave to views.
    Stored,
    /// The classes, or what a matcher learned in their place.
    Classes,
    /// The same, without views or augmentation.
    Unaugmented,
}

impl Labels {
    /// The kinds that `[validate]` asks for, where a teacher labels or not.
    pub fn of(config: &Config, relabelled: bool) -> Vec<Self> {
        let wanted = |control| config.controls.contains(&control);
        let mut kinds = Vec::new();
        if relabelled {
            kinds.push(Self::Stored);
        }
        if !relabelled || wanted(Control::HardLabel) {
            kinds.push(Self::Classes);
        }
        if wanted(Control::Unaugmented) {
            kinds.push(Self::Unaugmented);
        }
        kinds
    }

    /// What trainings on a set are called in the run folder.
    pub fn of_set(self, set: &str) -> String {
        match self {
            Self::Stored => set.to_owned(),
            Self::Classes => format!("{set}-{HARD}"),
            Self::Unaugmented => format!("{set}-{HARD}{UNAUGMENTED}"),
        }
    }
}
