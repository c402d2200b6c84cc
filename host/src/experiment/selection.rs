//! Which stages of a run are to be done.

use crate::{
    artifact::{Share, Stage},
    stages::team::Team,
};

use super::failure::{Failure, config_fault};

/// Which stages to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    /// Redo this stage and everything after it.
    pub from: Option<Stage>,
    /// Run only this stage.
    pub only: Option<Stage>,
    /// Go on from the saved state of an unfinished stage whose `batch_size` alone has changed.
    pub keep_state: bool,
    /// Do a share of the units of the stage that is run alone, and leave its outcome to others.
    pub share: Option<Share>,
    /// The processes that do the stage that is run alone together, this one writing.
    pub team: Option<Team<'a>>,
    /// Called once nothing is left of what is redone: from then on the run goes on without `from`.
    pub on_redone: Option<fn()>,
}

impl Selection<'_> {
    /// As the command names it.
    ///
    /// # Errors
    /// For a name that no stage has.
    pub fn new(from: Option<&str>, only: Option<&str>, keep_state: bool) -> Result<Self, Failure> {
        let stage = |name: Option<&str>| name.map(named).transpose();
        Ok(Self {
            from: stage(from)?,
            only: stage(only)?,
            keep_state,
            share: None,
            team: None,
            on_redone: None,
        })
    }

    /// The stages that are to be done again.
    pub fn redone(&self) -> Vec<Stage> {
        let after = |from: Stage| {
            Stage::ALL
                .into_iter()
                .skip_while(move |stage| *stage != from)
        };
        self.from.into_iter().flat_map(after).collect()
    }
}

fn named(name: &str) -> Result<Stage, Failure> {
    Stage::named(name).ok_or_else(|| {
        let have = Stage::ALL.map(Stage::name).join(", ");
        config_fault("stage", format!("unknown stage \"{name}\" (have: {have})"))
    })
}
