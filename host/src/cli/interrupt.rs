//! Ctrl-C and the signals of batch systems: a run keeps what it has at the next step, says with which command it goes on, and ends.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGUSR1},
    iterator::Signals,
};

use super::{
    args::Cli,
    run_args::{ChangeArgs, RanksArg, RunArgs},
    slurm::Requeued,
};
use crate::{report::progress::beside_the_bar, stop};

/// What ends a run. Batch systems send SIGTERM, or what they are told to send a while before.
const ENDING: [libc::c_int; 3] = [SIGINT, SIGTERM, SIGUSR1];
/// Exit codes are this and the number of the signal.
const SIGNALLED: libc::c_int = 128;
/// How long a step is waited for: batch systems kill some 30 s after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(25);
/// How often a second signal is looked for.
const GLANCE: Duration = Duration::from_millis(50);

/// The command that goes on: while what is redone is still there, and once it is gone.
static COMMANDS: Mutex<[String; 2]> = Mutex::new([String::new(), String::new()]);
/// Which of them.
static IS_REDONE: AtomicBool = AtomicBool::new(false);

/// Listens from now on. A signal that the program was started to ignore, as SIGINT in the background of a script, stays ignored.
///
/// # Errors
/// When the system refuses.
pub fn listen() -> io::Result<()> {
    let heard = ENDING.into_iter().filter(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(heard)?;
    thread::spawn(move || {
        let first = signals.forever().next();
        if let Some(signal) = first {
            stop(signal, &mut signals);
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

/// Ends the program once the work has stopped; after a while, or at a further signal, where it is, as a kill would.
fn stop(signal: libc::c_int, signals: &mut Signals) {
    stop::ask();
    beside_the_bar(|| tell!("stopping at the next step; a second signal stops at once"));
    let since = Instant::now();
    let mut is_over = || since.elapsed() > PATIENCE || signals.pending().next().is_some();
    while !stop::is_reached_within(GLANCE) && !is_over() {}
    let requeued = match signal {
        SIGINT => None,
        _ => Requeued::of_this_process(),
    };
    beside_the_bar(|| {
        let commands = COMMANDS.lock().unwrap_or_else(PoisonError::into_inner);
        let command = &commands[usize::from(IS_REDONE.load(Ordering::SeqCst))];
        tell!("stopped; this goes on: {command}");
        if let Some(job) = requeued {
            job.queue();
        }
        // SAFETY: _exit ends the process at once. exit would run destructors of libraries that other threads are computing with.
        unsafe { libc::_exit(SIGNALLED + signal_of(signal)) }
    });
}

/// The signal that the exit code has: who stops at SIGUSR1 was asked to end.
fn signal_of(signal: libc::c_int) -> libc::c_int {
    if signal == SIGINT { SIGINT } else { SIGTERM }
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
        shard,
        ranks,
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
        ("--shard", shard.map(|share| share.to_string())),
        ("--ranks", ranks.map(|RanksArg::Mpi| "mpi".to_owned())),
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
    fn a_share_and_ranks_come_back_too() {
        for line in [
            ["alambic", "run", "a.toml", "--shard", "2/3"],
            ["alambic", "run", "a.toml", "--ranks", "mpi"],
        ] {
            assert_eq!(going_on(&line, 0, false), [line[1..].to_vec()]);
        }
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
