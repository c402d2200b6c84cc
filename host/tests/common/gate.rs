//! Runs that are killed at a place of the test's choice: they wait at each file that they make durable until the test has looked.

use std::{
    io::{ErrorKind, Read},
    os::unix::{
        net::{UnixListener, UnixStream},
        process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Answer, Lab};
use crate::support::fixture;

/// Far more than the way from one file to the next takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A run at work, or at a stop.
pub struct Gated {
    child: Child,
    gate: UnixListener,
    waiting: Option<UnixStream>,
}

impl Lab {
    /// Starts `alambic run` of the experiment into the folder `run`.
    pub fn start(&self, arguments: &[&str]) -> Gated {
        self.start_telling(Stdio::null(), arguments)
    }

    /// The same, with its standard error.
    pub fn start_telling(&self, stderr: Stdio, arguments: &[&str]) -> Gated {
        self.start_command(self.command("run", arguments), stderr)
    }

    /// Starts any command that computes.
    pub fn start_command(&self, mut command: Command, stderr: Stdio) -> Gated {
        let address = self.path("gate");
        // That of an earlier run.
        let _ = std::fs::remove_file(&address);
        let gate = UnixListener::bind(&address).expect("a socket in a temporary folder");
        gate.set_nonblocking(true).expect("a socket that is asked");
        command.stdout(Stdio::null()).stderr(stderr);
        command.env("LD_PRELOAD", fixture("gate", &[]));
        command.env("ALAMBIC_TEST_GATE", &address);
        // A script runs its background jobs, these tests perhaps among them, with SIGINT ignored.
        // SAFETY: signal may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                Ok(())
            });
        }
        let child = command.spawn().expect("the program starts");
        Gated {
            child,
            gate,
            waiting: None,
        }
    }
}

impl Gated {
    /// Lets the run go on from stop to stop, to the first at which `reached` is true. There it stays.
    #[track_caller]
    pub fn until(&mut self, what: &str, reached: impl Fn() -> bool) {
        loop {
            self.waiting = None;
            self.waiting = Some(self.next_stop(what));
            if reached() {
                return;
            }
        }
    }

    #[track_caller]
    fn next_stop(&mut self, what: &str) -> UnixStream {
        let since = Instant::now();
        loop {
            match self.gate.accept() {
                Ok((stop, _)) => return stop,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
            let ended = self.child.try_wait().expect("a child can be asked");
            assert_eq!(ended, None, "the run ended before {what}");
            assert!(since.elapsed() < PATIENCE, "never came: {what}");
            thread::sleep(Duration::from_micros(300));
        }
    }

    /// Sends a signal to the run where it stands.
    #[track_caller]
    pub fn signal(&self, signal: libc::c_int) {
        let child = libc::pid_t::try_from(self.child.id()).expect("the number of a process");
        // SAFETY: kill takes any numbers; the child was not waited for, so its number is its own.
        assert_eq!(unsafe { libc::kill(child, signal) }, 0, "signal {signal}");
    }

    /// Lets the run go on for a while, past all stops.
    pub fn go_on_for(&mut self, time: Duration) {
        let since = Instant::now();
        while since.elapsed() < time {
            self.waiting = self.gate.accept().ok().map(|(stop, _)| stop);
            thread::sleep(Duration::from_micros(300));
        }
    }

    /// Sends a signal, lets the run go on to the next place where it stops, and reads what it answers.
    #[track_caller]
    pub fn stopped_by(mut self, signal: libc::c_int) -> Answer {
        self.signal(signal);
        let since = Instant::now();
        while self
            .child
            .try_wait()
            .expect("a child can be asked")
            .is_none()
        {
            self.waiting = self.gate.accept().ok().map(|(stop, _)| stop);
            assert!(since.elapsed() < PATIENCE, "signal {signal} ends nothing");
            thread::sleep(Duration::from_micros(300));
        }
        self.answer()
    }

    /// Presses Ctrl-C twice where the run stands, and reads what it answers.
    #[track_caller]
    pub fn interrupt(mut self) -> Answer {
        self.signal(libc::SIGINT);
        // Two that come at once are one.
        thread::sleep(Duration::from_millis(300));
        self.signal(libc::SIGINT);
        self.answer()
    }

    #[track_caller]
    fn answer(&mut self) -> Answer {
        let mut stderr = String::new();
        let mut told = self.child.stderr.take().expect("a pipe");
        told.read_to_string(&mut stderr).expect("a text");
        let status = self.child.wait().expect("the child ends");
        Answer {
            code: status.code(),
            stdout: String::new(),
            stderr,
        }
    }

    /// Ends the run without warning, where it stands.
    #[track_caller]
    pub fn kill(mut self) {
        self.child.kill().expect("SIGKILL");
        let status = self.child.wait().expect("the child ends");
        assert_eq!(status.signal(), Some(9), "it had ended by itself");
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        // After a test that failed; one that is killed is killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
