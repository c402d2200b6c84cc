//! The arguments of `alambic run`, `sweep`, `show` and `check`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::artifact::Share;

/// Changes to an experiment file.
#[derive(Args, Debug)]
pub struct ChangeArgs {
    /// Override a value: `--set recover.iterations=100`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Device: auto, cpu or cuda:N
    #[arg(long)]
    pub device: Option<String>,
}

/// `alambic run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Experiment files (TOML), run in this order; a folder means all files in it, sorted by name
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Overrides, applied to each of them
    #[command(flatten)]
    pub changes: ChangeArgs,
    /// Redo this stage and everything after it
    #[arg(long, value_name = "STAGE", conflicts_with = "only")]
    pub from: Option<String>,
    /// Run only this stage
    #[arg(long, value_name = "STAGE")]
    pub only: Option<String>,
    /// Resume an unfinished stage from its saved state although its `batch_size` has changed, e.g. after a GPU ran out of memory
    #[arg(long, conflicts_with = "from")]
    pub keep_state: bool,
    /// Take finished stages from this run where they are those of this experiment; may be repeated
    #[arg(long, value_name = "RUN")]
    pub reuse: Vec<PathBuf>,
    /// Do share K of N of the first unfinished stage, or of that of `--only`, and stop: batches of recover, experts, passes of relabel,
    /// students of validate. Other processes do the others, and a run without it collects them and goes on
    #[arg(long, value_name = "K/N", conflicts_with_all = ["from", "keep_state", "json", "profile"])]
    pub shard: Option<Share>,
    /// Share the stages with the other processes that a launcher has started: `mpirun -n 8 alambic run FILE --ranks mpi`
    #[arg(long, value_enum, conflicts_with_all = ["from", "keep_state", "shard", "profile"])]
    pub ranks: Option<RanksArg>,
    /// Run folder, for a single experiment; runs/NAME by default
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
    /// Measure memory use and the time of each operation; print it after each stage and show it in the report
    #[arg(long)]
    pub profile: bool,
}

/// What connects processes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RanksArg {
    /// Open MPI, MPICH or another MPI, with its mpirun or srun
    Mpi,
}

/// `alambic sweep`.
#[derive(Args, Debug)]
pub struct SweepArgs {
    /// Experiment file (TOML), with or without a [sweep] table
    pub file: PathBuf,
    /// Overrides, applied to each run before its own values
    #[command(flatten)]
    pub changes: ChangeArgs,
    /// Values of a key: `--grid validate.batch_size=[10, 20]`; may be repeated, and every combination is a run
    #[arg(long, value_name = "KEY=[VALUE, ..]")]
    pub grid: Vec<String>,
    /// A TOML file with further runs, each a table [[runs]] with `name` and `set = ["KEY=VALUE", ..]`
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
    /// Take finished stages from this run too; may be repeated
    #[arg(long, value_name = "RUN")]
    pub reuse: Vec<PathBuf>,
    /// Folder of the run folders; runs/NAME by default
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// List the runs, and what they take from each other, without running them
    #[arg(long)]
    pub dry_run: bool,
    /// Print the summaries as JSON, one per line
    #[arg(long, conflicts_with = "dry_run")]
    pub json: bool,
}

/// `alambic show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// Run folder, or experiment file (TOML)
    pub experiment: PathBuf,
    /// Overrides
    #[command(flatten)]
    pub changes: ChangeArgs,
    /// Print the whole experiment with all its defaults as TOML, with paths that hold from anywhere
    #[arg(long)]
    pub all: bool,
}

/// `alambic check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Experiment file (TOML)
    pub file: PathBuf,
    /// Overrides
    #[command(flatten)]
    pub changes: ChangeArgs,
    /// Skip the estimate of time and memory, which runs a few steps
    #[arg(long)]
    pub no_estimate: bool,
    /// Estimate the time of so many processes too, each as fast as this machine
    #[arg(long, value_name = "N", conflicts_with = "no_estimate", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub ranks: Option<u32>,
    /// What each of them can send to the others, in GB/s
    #[arg(long, value_name = "GB/S", default_value_t = 10., requires = "ranks", value_parser = bandwidth)]
    pub bandwidth: f64,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

fn bandwidth(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let is_one = |number: &f64| number.is_finite() && *number > 0.;
    number
        .filter(is_one)
        .ok_or_else(|| "expected a number above 0".to_owned())
}
