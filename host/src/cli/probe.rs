//! `alambic probe-plugins`, which the program itself starts: opens plugin files that may end the process.

use std::path::PathBuf;

use crate::plugins::{Registry, probe::OPENED};

/// Opens files one after the other and says so of each, be it a plugin or not: a file that ends this process is missing then.
pub fn probe(files: &[PathBuf]) {
    leave_no_core();
    for (place, file) in files.iter().enumerate() {
        // What else is wrong with it is told by the process that asked, which opens it next.
        let _ = Registry::of_file(file, None);
        say!("{OPENED}{place}");
    }
}

/// The end of this process is expected, and of no use to a debugger.
fn leave_no_core() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call reads the limits, which live until it returns.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
}
