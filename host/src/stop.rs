//! A request to stop: the work ends at the next place from which it goes on, or after a while wherever it is.

use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

static IS_ASKED: AtomicBool = AtomicBool::new(false);
/// Whether the work has come to such a place.
static IS_REACHED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Asks the work to stop.
pub fn ask() {
    IS_ASKED.store(true, Ordering::SeqCst);
}

/// Whether the work shall stop at the next place from which it goes on.
pub fn is_asked() -> bool {
    IS_ASKED.load(Ordering::SeqCst)
}

/// Lets this process end as one that Ctrl-C has reached, where another one was asked to stop.
pub fn ask_self() {
    // SAFETY: the signal goes to this process, which listens or ends.
    unsafe { libc::kill(libc::getpid(), libc::SIGINT) };
}

/// Ends the work here, a place from which it goes on, if it shall stop.
pub fn here_if_asked() {
    if is_asked() {
        reached();
    }
}

/// The work is at such a place. It waits there for the end of the program.
pub fn reached() -> ! {
    let (reached, told) = &IS_REACHED;
    *reached.lock().unwrap_or_else(PoisonError::into_inner) = true;
    told.notify_all();
    loop {
        thread::park();
    }
}

/// Waits until the work has stopped, but no longer than so; whether it has.
pub fn is_reached_within(patience: Duration) -> bool {
    let (reached, told) = &IS_REACHED;
    let reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = told.wait_timeout_while(reached, patience, |reached| !*reached);
    *waited.unwrap_or_else(PoisonError::into_inner).0
}
