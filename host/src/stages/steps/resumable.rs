//! The loop that trainings, recover and match go through: a step, a checkpoint when one is due, a line of the log; and going on after
//! a kill.

use std::collections::BTreeMap;

use anyhow::{Error, Result, anyhow, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    artifact::{Checkpoint, WorkFolder, atomic, tensors::Damaged},
    report::{log::Beginning, progress::Progress},
    stages::Session,
    stop,
};

use super::{journal::Journal, state::State};

/// The texts of a checkpoint.
#[derive(Serialize, Deserialize)]
struct Texts<At> {
    #[serde(flatten)]
    at: At,
    plugin_texts: BTreeMap<String, String>,
    /// The log as far as it belongs to this state.
    log: Beginning,
}

/// A computation in steps. Its values are replaced by a step, never changed in place, so that what [`Steps::save`] gave before a
/// step is still the state before it afterwards.
///
/// # Errors
/// Each method fails when an operation, a plugin or the disk does.
pub(crate) trait Steps {
    /// Where it is, as a checkpoint says it.
    type At: Serialize + DeserializeOwned;
    /// What a step gives.
    type Made;
    /// What the log counts.
    const COUNTED: &'static str;
    /// The same in progress, plural.
    const UNIT: &'static str;

    /// Its name in events and progress.
    fn name(&self) -> &str;

    /// How many are done of how many, in [`Steps::COUNTED`].
    fn progress(&self) -> (u64, u64);

    /// Goes on from what [`Steps::save`] gave.
    fn resume(&mut self, state: State, at: Self::At) -> Result<()>;

    /// Whether a kill now would cost something that is not on disk.
    fn has_unsaved(&self) -> bool;

    /// Everything that it goes on from, and where it is.
    fn save(&self) -> Result<(State, Self::At)>;

    /// Makes the next step ready, and tells of those that others have done; false where none is left.
    fn prepare(&mut self, journal: &mut Journal) -> Result<bool>;

    /// One step.
    fn step(&mut self) -> Result<Self::Made>;

    /// Refuses numbers that are not finite: [`exploded`].
    fn check(&self, made: &Self::Made) -> Result<()>;

    /// Counts a step and tells of it. True where a part is complete, whose end is kept in any case.
    fn count(&mut self, made: Self::Made, journal: &mut Journal) -> Result<bool>;
}

/// Carries out all steps, from the checkpoint in `folder` on where there is one. The checkpoint stays: it goes once the outcome is stored.
///
/// # Errors
/// Those of the steps; the last good state stays on disk.
pub(crate) fn carry_out<S: Steps>(
    session: &Session<'_>,
    folder: &WorkFolder,
    steps: &mut S,
) -> Result<()> {
    let (team, writes) = (session.team, session.is_first());
    // A kill while a file is written leaves a part of a file.
    if writes {
        atomic::sweep(folder.path());
    }
    let mut place = Vec::new();
    let mut checkpoint = Checkpoint::new(folder.checkpoint(), session.checkpoint_secs);
    if let Some((tensors, texts)) = checkpoint.read::<Texts<S::At>>(&session.device)? {
        if !texts.log.is_at(&folder.log())? {
            bail!(Damaged {
                file: folder.log(),
                what: "has changed since the checkpoint beside it".to_owned(),
                mend: "put it back, or delete the checkpoint and run the same command again, which begins anew",
            });
        }
        let plugin_texts = texts.plugin_texts;
        let state = State {
            tensors,
            plugin_texts,
        };
        place = serde_json::to_vec(&texts.at)?;
        steps.resume(state, texts.at)?;
    }
    if let Some(team) = team {
        // All have read the same checkpoint, or none.
        team.same(&place, folder.path())?;
    }
    let (done, total) = steps.progress();
    let progress = Progress::starting_at(steps.name(), done, total, S::UNIT);
    let (run, name) = (session.folder, steps.name());
    let mut journal = match writes {
        true => Journal::open(run, folder, name, S::COUNTED, done, progress)?,
        false => Journal::silent(S::COUNTED, progress),
    };
    loop {
        let ready = steps.prepare(&mut journal);
        let ready = match team {
            Some(team) => team.all_well(ready)?,
            None => ready?,
        };
        if !ready {
            break;
        }
        let asked = stop::is_asked();
        let stops = team.map_or(Ok(asked), |team| team.any(asked))?;
        // Taken before the step and written after it: only a state that gave finite numbers is worth going back to.
        let is_wanted = writes && steps.has_unsaved();
        let good = match is_wanted && (stops || checkpoint.is_due()) {
            true => Some(steps.save()?),
            false => None,
        };
        let made = steps.step()?;
        steps.check(&made)?;
        let mut keep = |(state, at): (State, S::At), journal: &mut Journal| {
            journal.flush()?;
            let tensors: Vec<_> = state.tensors.into_iter().collect();
            let texts = Texts {
                at,
                plugin_texts: state.plugin_texts,
                log: journal.log_so_far(),
            };
            checkpoint.write(&tensors, &texts)
        };
        if let Some(good) = good {
            keep(good, &mut journal)?;
        }
        if stops {
            // None ends the others while the first writes.
            if let Some(team) = team {
                team.wait()?;
                if !asked {
                    stop::ask_self();
                }
            }
            stop::reached();
        }
        if steps.count(made, &mut journal)? && writes {
            keep(steps.save()?, &mut journal)?;
        }
    }
    journal.finish()
}

/// The error of a number that is NaN or infinite: which, where, and what to lower.
pub fn exploded(name: &str, what: &str, place: &str, knob: &str) -> Error {
    anyhow!("{name}: {what} at {place}; lower {knob}; the last good state is kept")
}
