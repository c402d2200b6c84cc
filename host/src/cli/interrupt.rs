//! Ctrl-C ends a run like any kill, and says with which command it goes on.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use signal_hook::{consts::SIGINT, iterator::Signals};

use super::args::{ChangeArgs, Cli, RunArgs};
use crate::report::progress::beside_the_bar;

/// Exit code of a program that SIGINT has ended: 128 and the signal's number.
const INTERRUPTED: i32 = 130;

/// The command that goes on: while what is redone is still there, and once it is gone.
static COMMANDS: Mutex<[String; 2]> = Mutex::new([String::new(), String::new()]);
/// Which of them.
static IS_REDONE: AtomicBool = AtomicBool::new(false);

/// Listens from now on. A SIGINT that the program was started to ignore, as in the background of a script, stays ignored.
///
/// # Errors
/// When the system refuses.
pub fn listen() -> io::Result<()> {
    if is_ignored(SIGINT) {
        return Ok(());
    }
    // Further signals join this list and the match below.
    let mut signals = Signals::new([SIGINT])?;
    thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGINT => stop(),
                other => unreachable!("signal {other} is not on the list"),
            }
        }
    });
    Ok(())
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with a null action sigaction changes nothing and fills the struct it is handed; all zeros is a valid one should it fail.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr());
        now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Ends the program where it is, as a kill would: nothing is awaited, nothing tidied up.
fn stop() {
    beside_the_bar(|| {
        let commands = COMMANDS.lock().unwrap_or_else(PoisonError::into_inner);
        let command = &commands[usize::from(IS_REDONE.load(Ordering::SeqCst))];
        tell!("stopped; this goes on: {command}");
        // SAFETY: _exit ends the process at once. exit would run destructors of libraries that other threads are computing with.
        unsafe { libc::_exit(INTERRUPTED) }
    });
}

/// What is redone is gone: from here on the run goes on without `--from`.
pub fn redone() {
    IS_REDONE.store(true, Ordering::SeqCst);
}

/// Remembers the command that goes on with the experiments from `file` on, of which those before are finished.
pub fn goes_on_with(cli: &Cli, args: &RunArgs, file: usize, files: &[PathBuf]) {
    IS_REDONE.store(false, Ordering::SeqCst);
    let commands = [false, true].map(|is_redone| command(cli, args, (file, files), is_redone));
    *COMMANDS.lock().unwrap_or_else(PoisonError::into_inner) = commands;
}

/// Remembers the command as it was typed.
pub fn goes_on_as_typed() {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let command = quoted(words);
    *COMMANDS.lock().unwrap_or_else(PoisonError::into_inner) = [command.clone(), command];
}

/// The command line, for a shell. Where a stage is redone of several experiments, only those to come may begin it anew.
fn command(cli: &Cli, args: &RunArgs, (at, files): (usize, &[PathBuf]), is_redone: bool) -> String {
    let typed = &args.files;
    if args.from.is_none() {
        return words(cli, args, typed, None);
    }
    let (from, several) = (args.from.as_deref(), files.len() > 1);
    if !is_redone {
        let left = if several { &files[at..] } else { typed };
        return words(cli, args, left, from);
    }
    let this = if several { &files[at..=at] } else { typed };
    let this = words(cli, args, this, None);
    match files.get(at + 1..) {
        Some(left) if !left.is_empty() => {
            format!("{this} && {}", words(cli, args, left, from))
        }
        _ => this,
    }
}

fn words(cli: &Cli, args: &RunArgs, files: &[PathBuf], from: Option<&str>) -> String {
    let Cli {
        plugin_dir,
        command: _,
    } = cli;
    let RunArgs {
        files: _,
        changes: ChangeArgs { overrides, device },
        from: _,
        only,
        keep_state,
        reuse,
        out,
        json,
        profile,
    } = args;
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let program = std::env::args_os().next();
    let program = program.map_or_else(|| "alambic".to_owned(), |name| path(name.as_ref()));
    let value = |flag: &str, value: String| [flag.to_owned(), value];
    let folders = plugin_dir.iter();
    let folders = folders.flat_map(|folder| value("--plugin-dir", path(folder)));
    let overrides = overrides.iter().cloned();
    let overrides = overrides.flat_map(|change| value("--set", change));
    let reuse = reuse.iter().flat_map(|run| value("--reuse", path(run)));
    let options = [
        ("--device", device.clone()),
        ("--from", from.map(str::to_owned)),
        ("--only", only.clone()),
        ("--out", out.as_deref().map(path)),
    ];
    let options = options.into_iter();
    let options = options.filter_map(|(flag, given)| Some(value(flag, given?)));
    let flags = [
        ("--keep-state", *keep_state),
        ("--json", *json),
        ("--profile", *profile),
    ];
    let flags = flags.into_iter().filter(|(_, is_given)| *is_given);
    let words = [program].into_iter().chain(folders);
    let words = words
        .chain(["run".to_owned()])
        .chain(files.iter().map(|file| path(file)));
    let words = words.chain(overrides).chain(options.flatten()).chain(reuse);
    let words = words.chain(flags.map(|(flag, _)| flag.to_owned()));
    quoted(words)
}

fn quoted(words: impl Iterator<Item = String>) -> String {
    let quoted = words.map(|word| match shlex::try_quote(&word) {
        Ok(quoted) => quoted.into_owned(),
        // No argument of a program has a zero in it.
        Err(_) => word,
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{super::args::Command, *};

    fn parsed(line: &[&str]) -> Cli {
        Cli::try_parse_from(line).expect("a command line")
    }

    fn run(cli: &Cli) -> &RunArgs {
        match &cli.command {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    /// The command lines that go on, as arguments of the program.
    fn going_on(line: &[&str], file: usize, is_redone: bool) -> Vec<Vec<String>> {
        let cli = parsed(line);
        let args = run(&cli);
        let text = command(&cli, args, (file, &args.files), is_redone);
        let commands = text.split(" && ");
        let words = commands.map(|command| shlex::split(command).expect("a shell takes it"));
        words.map(|words| words[1..].to_vec()).collect()
    }

    #[test]
    fn every_argument_comes_back_through_a_shell() {
        let line = [
            "alambic",
            "--plugin-dir",
            "a b",
            "run",
            "x y.toml",
            "--set",
            "name=\"it's\"",
            "--set",
            "recover.loss={ plugin = \"kl\" }",
            "--device",
            "cpu",
            "--only",
            "recover",
            "--reuse",
            "a run",
            "--out",
            "$HOME",
            "--keep-state",
            "--json",
            "--profile",
        ];
        let again = going_on(&line, 0, false).remove(0);
        let again: Vec<&str> = std::iter::once("alambic")
            .chain(again.iter().map(String::as_str))
            .collect();
        assert_eq!(
            format!("{:?}", parsed(&again)),
            format!("{:?}", parsed(&line))
        );
    }

    #[test]
    fn what_is_redone_is_not_begun_anew() {
        let line = ["alambic", "run", "a.toml", "--from", "recover"];
        assert_eq!(going_on(&line, 0, false), [line[1..].to_vec()]);
        assert_eq!(going_on(&line, 0, true), [["run", "a.toml"]]);
        let several = [
            "alambic", "run", "a.toml", "b.toml", "c.toml", "--from", "recover",
        ];
        let to_come = ["run", "c.toml", "--from", "recover"]
            .map(str::to_owned)
            .to_vec();
        let this = ["run", "b.toml"].map(str::to_owned).to_vec();
        assert_eq!(going_on(&several, 1, true), [this, to_come]);
        let left = ["run", "b.toml", "c.toml", "--from", "recover"];
        assert_eq!(going_on(&several, 1, false), [left]);
        assert_eq!(going_on(&several, 2, true), [["run", "c.toml"]]);
    }
}
