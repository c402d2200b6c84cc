//! Lines to the terminal. A reader that has gone away ends nothing: what is printed for it is dropped. One that does not read holds nothing
//! up: lines of progress are dropped, results wait until the work is done. Control characters, which names of
//! files, classes and plugins may have, are spelled out: they would steer the terminal.

use std::{
    borrow::Cow,
    fmt,
    io::{self, ErrorKind, Write},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// How long a line waits for a reader that is slow.
const PATIENCE_MS: i32 = 1000;
/// As much as a pipe that is ready for writing takes without waiting (`pipe(7)`: PIPE_BUF).
const CHUNK: usize = 4096;
/// The most bytes that a byte becomes where it would steer the terminal: `\u{1b}`.
const LONGEST_SPELLING: usize = 6;

/// Whether nobody has read standard error of late.
static UNREAD: AtomicBool = AtomicBool::new(false);
/// Whether nothing is told, since another process tells it.
static IS_MUTE: AtomicBool = AtomicBool::new(false);
/// Output that waits for a reader.
static WAITING: Mutex<String> = Mutex::new(String::new());

/// The first failure of standard output other than a reader that has gone away.
static LOST: OnceLock<String> = OnceLock::new();

/// A line to standard output, as `println!`.
macro_rules! say {
    ($($part:tt)*) => {
        $crate::say::out(format_args!("{}\n", format_args!($($part)*)))
    };
}

/// Text to standard output, as `print!`.
macro_rules! say_part {
    ($($part:tt)*) => { $crate::say::out(format_args!($($part)*)) };
}

/// A line to standard error, as `eprintln!`.
macro_rules! tell {
    ($($part:tt)*) => {
        $crate::say::err(format_args!("{}\n", format_args!($($part)*)))
    };
}

/// Writes to standard output, as soon as its reader takes it.
pub fn out(text: fmt::Arguments<'_>) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = text.to_string();
    text.insert_str(0, &std::mem::take(&mut *waiting));
    print(visible_lines(&text).as_bytes());
}

/// Writes to standard output what its reader takes without waiting; the rest comes with the next [`out`].
pub fn out_without_waiting(text: &str) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.push_str(text);
    while !waiting.is_empty() && takes_more(libc::STDOUT_FILENO, 0) {
        let most = waiting.len().min(CHUNK / LONGEST_SPELLING);
        let end = (0..=most).rev().find(|&end| waiting.is_char_boundary(end));
        let end = end.unwrap_or(0);
        let chunk: String = waiting.drain(..end).collect();
        print(visible_lines(&chunk).as_bytes());
    }
}

fn print(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let _ = LOST.set(error.to_string());
        }
        _ => {}
    }
}

/// Writes to standard error; there is nobody to tell of a failure. What nobody reads for a while is dropped.
pub fn err(text: fmt::Arguments<'_>) {
    if IS_MUTE.load(Ordering::Relaxed) {
        return;
    }
    let text = text.to_string();
    let mut stderr = io::stderr().lock();
    for chunk in visible_lines(&text).as_bytes().chunks(CHUNK) {
        let patience = if UNREAD.load(Ordering::Relaxed) {
            0
        } else {
            PATIENCE_MS
        };
        let takes = takes_more(libc::STDERR_FILENO, patience);
        UNREAD.store(!takes, Ordering::Relaxed);
        if !takes || stderr.write_all(chunk).is_err() {
            return;
        }
    }
}

/// Lets standard error be silent, or speak again.
pub fn mute(is_mute: bool) {
    IS_MUTE.store(is_mute, Ordering::Relaxed);
}

/// Whether a descriptor takes [`CHUNK`] bytes, or refuses them, within so many milliseconds.
fn takes_more(descriptor: libc::c_int, patience_ms: libc::c_int) -> bool {
    let mut asked = libc::pollfd {
        fd: descriptor,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: poll reads and writes the one entry that it is handed. An interrupted or refused call counts as an answer: writing tells.
    unsafe { libc::poll(&raw mut asked, 1, patience_ms) != 0 }
}

/// A name on one line, each control character as Rust writes it: `\n`, `\u{1b}`.
pub fn visible(name: &str) -> Cow<'_, str> {
    spelled_out(name, char::is_control)
}

/// The same of a text that may have several lines.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    spelled_out(text, |c| c.is_control() && c != '\n' && c != '\t')
}

fn spelled_out(text: &str, hides: fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(hides) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match hides(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Why something that was to be printed is lost, if it is.
pub fn lost() -> Option<&'static str> {
    LOST.get().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_spelled_out() {
        let name = "caf\u{e9}\n\u{1b}[31m\r\u{7f}\u{9b}\0";
        assert_eq!(
            visible(name),
            "caf\u{e9}\\n\\u{1b}[31m\\r\\u{7f}\\u{9b}\\u{0}"
        );
        assert_eq!(visible_lines("a\n\tb\u{1b}c"), "a\n\tb\\u{1b}c");
        assert!(matches!(visible("an ordinary name"), Cow::Borrowed(_)));
    }
}
