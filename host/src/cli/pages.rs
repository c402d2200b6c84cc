//! `alambic completions` and `alambic man`: what a shell and `man` are told of the command line.

use std::{fs, path::Path};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::experiment::failure::Failure;

use super::args::Cli;

/// The program's name, as shells call it.
const PROGRAM: &str = "alambic";

/// Prints the completions of a shell.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), PROGRAM, &mut script);
    let script = String::from_utf8(script).context("completions in UTF-8")?;
    say_part!("{script}");
    Ok(())
}

/// Writes a page for each command: `alambic.1`, `alambic-run.1`, `alambic-plugin-new.1`, ..
pub fn man(dir: &Path) -> Result<(), Failure> {
    let cannot = || format!("cannot write manual pages to {}", dir.display());
    fs::create_dir_all(dir).with_context(cannot)?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(cannot)?;
    say!("manual pages: {}", dir.display());
    Ok(())
}
