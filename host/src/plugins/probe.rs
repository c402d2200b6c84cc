//! Opens unknown plugin files in another process first: damage that shows only when the system maps a file, relocates it or runs its
//! initialisers ends a process with a signal. That is then the other one, and the file is left out.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::sound::Sound;

/// The hidden subcommand that opens the files that follow it, and says so of each.
pub const COMMAND: &str = "probe-plugins";
/// What it says of a file, before the file's place among its arguments.
pub const OPENED: &str = "alambic opened file ";
/// Time for one file; a sound one takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens files in processes of its own.
pub struct Prober {
    program: PathBuf,
    sound: Sound,
    patience: Duration,
}

impl Prober {
    /// One that starts `program`, which has [`COMMAND`], and remembers what it found sound in the user's cache folder.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            sound: Sound::of_user(),
            patience: PATIENCE,
        }
    }

    /// The same with another limit on the time for one file.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Of files with the SHA-256 of their content: those that end the process which opens them, and how.
    ///
    /// A file whose content was found sound before is not opened again, and none where the program cannot be started.
    pub(super) fn deadly<'a>(&self, files: &[(&'a Path, &str)]) -> Vec<(&'a Path, String)> {
        let known = self.sound.read();
        let unknown = files.iter().filter(|(_, sha256)| !known.contains(*sha256));
        let unknown: Vec<(&Path, &str)> = unknown.copied().collect();
        let paths: Vec<&Path> = unknown.iter().map(|(path, _)| *path).collect();
        let Some(ends) = self.ends(&paths) else {
            return Vec::new();
        };
        let verdicts = unknown.iter().zip(&ends);
        let fine = verdicts.filter(|(_, end)| end.is_none());
        self.sound.add(known, fine.map(|((_, sha256), _)| *sha256));
        let ended = paths.into_iter().zip(ends);
        ended.filter_map(|(path, end)| Some((path, end?))).collect()
    }

    /// How opening each file ends a process, if it does.
    fn ends(&self, files: &[&Path]) -> Option<Vec<Option<String>>> {
        let mut ends: Vec<Option<String>> = Vec::new();
        while ends.len() < files.len() {
            let rest = &files[ends.len()..];
            let (opened, end) = self.open(rest)?;
            match end {
                // One of them ends the process when it is unloaded: which one shows alone.
                Some(_) if opened == rest.len() && rest.len() > 1 => {
                    for file in rest {
                        ends.extend(self.ends(&[file])?);
                    }
                }
                Some(end) => {
                    let before = opened.min(rest.len() - 1);
                    ends.extend((0..before).map(|_| None));
                    ends.push(Some(end));
                }
                None => ends.extend((0..opened).map(|_| None)),
            }
        }
        Some(ends)
    }

    /// Opens files in one process, until it ends: how many it opened, and how it ended where that is amiss.
    fn open(&self, files: &[&Path]) -> Option<(usize, Option<String>)> {
        let mut command = Command::new(&self.program);
        command.arg(COMMAND).args(files);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().ok()?;
        let (opened, is_late) = self.count(&mut child);
        if is_late {
            // It may just have ended.
            let _ = child.kill();
        }
        let status = child.wait().ok()?;
        let end = match is_late {
            true => Some(format!("opening it takes more than {:?}", self.patience)),
            false if opened < files.len() || !status.success() => Some(ended_by(status)),
            false => None,
        };
        Some((opened, end))
    }

    /// Counts the files that a process says it opened, until it ends or takes too long for one.
    fn count(&self, child: &mut Child) -> (usize, bool) {
        let stdout = child.stdout.take().expect("its output is piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines
                .take_while(|line| sender.send(line.clone()).is_ok())
                .for_each(drop);
        });
        let mut opened = 0;
        loop {
            match lines.recv_timeout(self.patience) {
                Ok(line) if line == format!("{OPENED}{opened}") => opened += 1,
                // What a plugin prints.
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => return (opened, true),
                Err(mpsc::RecvTimeoutError::Disconnected) => return (opened, false),
            }
        }
    }
}

/// How a process ended, in words.
fn ended_by(status: ExitStatus) -> String {
    let how = match (status.signal(), status.code()) {
        (Some(signal), _) => match signal_name(signal) {
            Some(name) => format!("signal {signal}, {name}"),
            None => format!("signal {signal}"),
        },
        (None, code) => format!("exit code {}", code.unwrap_or_default()),
    };
    format!("opening it ends the process ({how})")
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGTRAP => "SIGTRAP",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    /// A script in the program's place: `ok` is opened, `dies` kills it, `late` at its end, `slow` sleeps.
    const SCRIPT: &str = r#"#!/bin/sh
shift
n=0 late=
for file in "$@"; do
  case "$file" in
    dies) kill -SEGV $$ ;;
    leaves) exit 3 ;;
    late) late=yes ;;
    slow) exec sleep 60 ;;
  esac
  echo "noise of a plugin"
  echo "alambic opened file $n"
  n=$((n + 1))
done
test -z "$late" || kill -ABRT $$
"#;

    fn prober(folder: &Path) -> Prober {
        let program = folder.join("program");
        fs::write(&program, SCRIPT).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Prober {
            program,
            sound: Sound::in_folder(folder),
            patience: Duration::from_secs(20),
        }
    }

    fn told(prober: &Prober, files: &[&str]) -> Vec<String> {
        let files: Vec<(&Path, &str)> = files.iter().map(|f| (Path::new(*f), *f)).collect();
        let deadly = prober.deadly(&files).into_iter();
        deadly
            .map(|(path, end)| format!("{}: {end}", path.display()))
            .collect()
    }

    #[test]
    fn each_file_that_ends_the_process_is_found_among_others() {
        let folder = tempfile::tempdir().unwrap();
        let prober = prober(folder.path());
        let files = ["a", "dies", "b", "leaves", "late", "c"];
        let expected = [
            "dies: opening it ends the process (signal 11, SIGSEGV)",
            "leaves: opening it ends the process (exit code 3)",
            "late: opening it ends the process (signal 6, SIGABRT)",
        ];
        assert_eq!(told(&prober, &files), expected);
        let known = Sound::in_folder(folder.path()).read();
        assert_eq!(known.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        // What was found sound is not opened again, or this would end it.
        fs::write(folder.path().join("program"), "#!/bin/sh\nkill -SEGV $$\n").unwrap();
        assert_eq!(told(&prober, &["a", "b", "c"]), Vec::<String>::new());
        assert_eq!(told(&prober, &["a", "d"]).len(), 1);
    }

    #[test]
    fn a_file_that_takes_for_ever_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let prober = prober(folder.path()).with_patience(Duration::from_millis(300));
        let told = told(&prober, &["slow"]);
        assert_eq!(told, ["slow: opening it takes more than 300ms"]);
    }

    #[test]
    fn without_a_program_nothing_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut prober = prober(folder.path());
        prober.program = folder.path().join("none");
        assert_eq!(told(&prober, &["dies"]), Vec::<String>::new());
        assert!(prober.sound.read().is_empty());
    }
}
