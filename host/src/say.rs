//! Lines to the terminal. A reader that has gone away ends nothing: what is printed for it is dropped.

use std::{
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
    let mut stdout = io::stdout().lock();
    match stdout.write_fmt(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let _ = LOST.set(error.to_string());
        }
        _ => {}
    }
}

/// Writes to standard error; there is nobody to tell of a failure.
pub fn err(text: fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

/// Why something that was to be printed is lost, if it is.
pub fn lost() -> Option<&'static str> {
    LOST.get().map(String::as_str)
}
