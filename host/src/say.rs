//! Lines to the terminal. A reader that has gone away ends nothing: what is printed for it is dropped. Control characters, which names of
//! files, classes and plugins may have, are spelled out: they would steer the terminal.

use std::{
    borrow::Cow,
    fmt,
    io::{self, ErrorKind, Write},
    sync::OnceLock,
};

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

/// Writes to standard output.
pub fn out(text: fmt::Arguments<'_>) {
    let text = text.to_string();
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(visible_lines(&text).as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let _ = LOST.set(error.to_string());
        }
        _ => {}
    }
}

/// Writes to standard error; there is nobody to tell of a failure.
pub fn err(text: fmt::Arguments<'_>) {
    let text = text.to_string();
    let _ = io::stderr()
        .lock()
        .write_all(visible_lines(&text).as_bytes());
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
