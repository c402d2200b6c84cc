//! `alambic mpi`, and runs of several processes that MPI connects.

use std::{thread, time::Duration};

use crate::{
    engine::gpu::device,
    experiment::failure::{Failure, config_fault},
    ranks::{self, Ranks},
    say::mute,
};

use super::{run_args::RanksArg, told};

/// How long the first process has to tell what all would tell, and to end them.
const FIRST: Duration = Duration::from_secs(5);

/// `alambic mpi build`.
pub fn build() -> Result<(), Failure> {
    let path = ranks::build().map_err(|error| fault(&error))?;
    say!("{}", path.display());
    Ok(())
}

fn fault(error: &anyhow::Error) -> Failure {
    config_fault("--ranks", format!("{error:#}"))
}

/// Does something together with the other processes that were started, of which the first alone tells how it goes. Where one fails, all end.
pub fn together(
    ranks: Option<RanksArg>,
    work: impl FnOnce(Option<&Ranks>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some(RanksArg::Mpi) = ranks else {
        return work(None);
    };
    let ranks = Ranks::open().map_err(|error| fault(&error))?;
    mute(!ranks.is_first());
    device::set_own(ranks.local as usize);
    tell!("{ranks}");
    let Err(failure) = work(Some(&ranks)) else {
        return Ok(ranks.close()?);
    };
    if !ranks.is_first() {
        thread::sleep(FIRST);
        mute(false);
        tell!("rank {} of {} failed:", ranks.rank, ranks.size);
    }
    let code = told::tell(&failure);
    ranks.abort(code);
    Err(failure)
}
