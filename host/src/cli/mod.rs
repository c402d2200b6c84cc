//! The command line: clap's types and one thin function for each subcommand.

mod args;
mod compare;
mod data;
mod export;
mod install;
mod interrupt;
mod pages;
mod plugin;
mod probe;
mod report;
mod run;
mod verify;
mod weights;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    data::Fault,
    engine::{allocation, gpu::layout::requested_order, kernel::isa::requested_isa},
    experiment::{failure::Failure, run::start_profile},
};

pub use args::Cli;
use args::Command;

/// The run failed.
const FAILED: u8 = 1;
/// The command or a configuration is at fault.
const USAGE: u8 = 2;

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
        Command::Check(ref check) => run::check(cli, check),
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
        Err(Failure::Config(faults)) => {
            print_faults(&faults);
            ExitCode::from(USAGE)
        }
        Err(Failure::Run(error)) => {
            tell!("error: {}", without_backtrace(&format!("{error:#}")));
            ExitCode::from(FAILED)
        }
    }
}

/// Errors of candle carry a backtrace in their text when RUST_BACKTRACE is set; the message comes before it.
fn without_backtrace(text: &str) -> String {
    let is_frame = |line: &str| {
        let number = line.trim_start().split(':').next().unwrap_or_default();
        line.starts_with(' ') && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    let message: Vec<&str> = text.lines().take_while(|line| !is_frame(line)).collect();
    message.join("\n").trim_end().to_owned()
}

fn print_faults(faults: &[Fault]) {
    for fault in faults {
        tell!("error: {fault}");
    }
    if faults.len() > 1 {
        tell!("{} errors", faults.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backtraces_are_left_out() {
        let text = "stage x stopped: bad dtype\n   0: candle_core::error\n             at file.rs:3\n   1: main\n";
        assert_eq!(without_backtrace(text), "stage x stopped: bad dtype");
        assert_eq!(
            without_backtrace("two\n  teacher: 0 cat"),
            "two\n  teacher: 0 cat"
        );
    }
}
