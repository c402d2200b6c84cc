//! The `alambic` program: parses, runs, prints errors, gives the exit code.

fn main() -> std::process::ExitCode {
    alambic::cli::main()
}
