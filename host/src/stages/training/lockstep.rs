//! Parts of a batch that share BatchNorm statistics: each passes through the network on a thread of its own, one of them at a time, up to
//! the next norm, where it waits until all parts of all processes have come there.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    engine::{
        Error,
        ops::{Parts, share_statistics},
        profile::{self, Handed},
    },
    stages::Session,
};

/// How long the conductor looks for messages before it looks for work that the threads have left to the pool.
const GLANCE: Duration = Duration::from_micros(20);

/// The numbers of all parts.
type All = Arc<Vec<Vec<f64>>>;

/// What a part tells the conductor.
enum Message<T> {
    /// Its numbers; it waits for those of all.
    Waits(Vec<f64>),
    /// It has passed.
    Ends(Result<T>, Handed),
}

/// A part's way to the conductor.
struct Seat<T> {
    to: Sender<Message<T>>,
    from: Mutex<Receiver<All>>,
}

impl<T: Send> Parts for Seat<T> {
    fn gather(&self, own: Vec<f64>) -> crate::engine::Result<All> {
        let gone = |_| Error::argument("batch_norm", "another part of the batch has failed");
        self.to.send(Message::Waits(own)).map_err(|_| gone(()))?;
        let from = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        let all = from.recv().map_err(|_| gone(()));
        // Until now it has waited.
        profile::mark();
        all
    }
}

/// What `make` makes of the own parts, in their order. All processes come here together, those without a part too.
///
/// # Errors
/// Those of `make`, and when the other processes cannot be asked.
pub(super) fn in_lockstep<T: Send + 'static>(
    session: &Session<'_>,
    own: Range<usize>,
    make: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let make = &make;
    thread::scope(|scope| {
        let mut seats = Vec::new();
        for part in own {
            let (to, messages) = channel();
            let (go, from) = channel();
            let seat = Arc::new(Seat {
                to: to.clone(),
                from: Mutex::new(from),
            });
            let work = move || {
                let _computing = session.compute();
                // The first word is that it may begin.
                let begun = seat
                    .from
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .recv();
                if begun.is_err() {
                    return;
                }
                let _sharing = share_statistics(seat);
                profile::mark();
                let made = make(part);
                // Nobody listens where another has failed.
                drop(to.send(Message::Ends(made, profile::hand_over())));
            };
            let builder = thread::Builder::new().name(format!("part {part}"));
            let begun = builder.spawn_scoped(scope, work);
            begun.context("cannot start the thread of a part")?;
            seats.push((go, messages));
        }
        conduct(session, &seats)
    })
}

/// Lets one part after the other go on until it waits or ends, and then tells all of them the numbers of all.
fn conduct<T>(
    session: &Session<'_>,
    seats: &[(Sender<All>, Receiver<Message<T>>)],
) -> Result<Vec<T>> {
    let (mut all, mut made) = (All::default(), Vec::new());
    loop {
        let mut own = Vec::new();
        for (number, (go, messages)) in seats.iter().enumerate() {
            if made.len() == seats.len() {
                break;
            }
            let ended = || anyhow!("the thread of part {number} has ended");
            go.send(all.clone()).map_err(|_| ended())?;
            match next(messages).ok_or_else(ended)? {
                Message::Waits(numbers) => own.push(numbers),
                Message::Ends(done, times) => {
                    profile::take_over(times);
                    made.push(done?);
                }
            }
        }
        if !own.is_empty() && own.len() != seats.len() {
            bail!("the parts of a batch have passed different numbers of BatchNorms");
        }
        let told = match session.team {
            Some(team) => team.gather_lists(&own)?,
            None => own,
        };
        // So it is on all processes.
        if told.is_empty() {
            return Ok(made);
        }
        all = Arc::new(told);
    }
}

/// The next message of a part. Its kernels share their work with the threads of the pool, of which this may be the only one.
fn next<T>(messages: &Receiver<Message<T>>) -> Option<Message<T>> {
    loop {
        match messages.recv_timeout(GLANCE) {
            Ok(message) => return Some(message),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {
                while rayon::yield_now() == Some(rayon::Yield::Executed) {}
            }
        }
    }
}
