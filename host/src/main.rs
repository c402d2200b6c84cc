//! The `alambic` program: parses, runs, prints errors, gives the exit code.

/// Counts with `--profile` and for the estimates of `check`.
#[global_allocator]
static ALLOCATOR: alambic::engine::allocation::Counting = alambic::engine::allocation::Counting;

fn main() -> std::process::ExitCode {
    alambic::cli::main()
}
