//! The command line: clap's types and one thin function for each subcommand.

mod args;
mod check;
mod compare;
mod data;
mod export;
mod install;
mod interrupt;
mod mpi;
mod pages;
mod plugin;
mod probe;
mod report;
mod run;
mod run_args;
mod show;
mod slurm;
mod sweep;
mod told;
mod verify;
mod weights;
mod weights_args;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    engine::{allocation, gpu::layout::requested_order, kernel::isa::requested_isa},
    experiment::run::start_profile,
};

pub use args::Cli;
use args::{Command, MpiCommand};
use told::{FAILED, USAGE};

/// Looks at the variables of the environment that choose how to compute.
fn environment() -> Result<(), String> {
    let variable = |name| std::env::var(name).ok();
    requested_isa(variable("ALAMBIC_ISA").as_deref())?;
    requested_order(variable("ALAMBIC_LAYOUT").as_deref())?;
    Ok(())
}

/// Parses the command line, carries it out, prints errors; returns the exit code.
pub fn main() -> ExitCode {
    allocation::keep_freed_memory();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // clap says help and version on stdout with code 0, and faults on stderr with code 2.
        Err(error) => error.exit(),
    };
    if let Err(message) = environment() {
        tell!("error: {message}");
        return ExitCode::from(USAGE);
    }
    // Before anything else is allocated: the counts are then those of the whole program.
    match &cli.command {
        Command::Run(run) if run.profile => start_profile(),
        Command::Check(check) if !check.no_estimate => allocation::set_counting(true),
        _ => {}
    }
    // Inside the pool, parallel work starts without waking another thread first.
    rayon::scope(|_| carry_out(&cli))
}

fn carry_out(cli: &Cli) -> ExitCode {
    let done = match cli.command {
        Command::Run(ref run) => run::run(cli, run),
        Command::Sweep(ref sweep) => sweep::sweep(cli, sweep),
        Command::Show(ref args) => show::show(args),
        Command::Check(ref check) => check::check(cli, check),
        Command::Plugin { ref command } => plugin::plugin(cli, command),
        Command::ProbePlugins { ref files } => {
            probe::probe(files);
            Ok(())
        }
        Command::Data { ref command } => data::data(command),
        Command::Report(ref report) => report::report(report),
        Command::Verify(ref args) => verify::verify(args),
        Command::Compare(ref args) => compare::run(cli, args),
        Command::Export(ref args) => export::export(cli, args),
        Command::ImportWeights(ref import) => weights::import(cli, import),
        Command::ExportWeights(ref export) => weights::export(export),
        Command::Mpi {
            command: MpiCommand::Build,
        } => mpi::build(),
        Command::Completions { shell } => pages::completions(shell),
        Command::Man { ref dir } => pages::man(dir),
    };
    // What has waited for a reader.
    say_part!("");
    match done {
        Ok(()) => match crate::say::lost() {
            None => ExitCode::SUCCESS,
            Some(error) => {
                tell!("error: cannot write to standard output: {error}");
                ExitCode::from(FAILED)
            }
        },
        Err(failure) => ExitCode::from(told::tell(&failure)),
    }
}
