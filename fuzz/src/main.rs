//! `alambic-fuzz TARGET`: a target under afl.

use std::process::ExitCode;

use alambic_fuzz::{Bench, TARGETS};

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("no target \"{name}\" (have: {})", names.join(", "));
        return ExitCode::from(2);
    };
    let bench = Bench::new(target).expect("a temporary folder");
    afl::fuzz!(|input: &[u8]| bench.feed(input));
    ExitCode::SUCCESS
}
