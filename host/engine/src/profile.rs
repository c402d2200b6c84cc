//! Time profile of a computation, by operation. Off unless switched on: then an operation reads the clock.
//!
//! Forward passes are timed from the outside: an operation adds itself to the graph when its value is there, so the time since
//! the last such moment is its own, with what its caller did to prepare it. Backward passes are timed around each
//! vector-Jacobian product; the operations inside of one count for it. [`mark`] says that the time so far was no operation's.
//! A GPU is waited for at each of these moments, which makes its steps slower than they are without a profile.
//! Times are those of the calling thread, which waits for the threads that a kernel shares its work with.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{allocation, gpu::device::settle};

static IS_ON: AtomicBool = AtomicBool::new(false);

thread_local! {
    static RECORDS: RefCell<Records> = const { RefCell::new(Records::new()) };
}

/// The cost of an operation, over all its calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperationTime {
    /// Name of the operation.
    pub name: String,
    /// Calls in forward passes, including those without a graph.
    pub forward_calls: u64,
    /// Seconds in forward passes.
    pub forward_secs: f64,
    /// Calls of its backward.
    pub backward_calls: u64,
    /// Seconds in backward passes.
    pub backward_secs: f64,
    /// Bytes allocated in both passes, for results and temporaries; 0 if allocations are not counted.
    pub allocated_bytes: u64,
}

impl OperationTime {
    /// Seconds of both passes.
    pub fn secs(&self) -> f64 {
        self.forward_secs + self.backward_secs
    }
}

#[derive(Clone, Copy, Default)]
struct Times {
    forward_calls: u64,
    forward: Duration,
    backward_calls: u64,
    backward: Duration,
    allocated_bytes: u64,
}

struct Records {
    operations: BTreeMap<&'static str, Times>,
    /// When the last operation ended, and the bytes that had been asked for by then.
    last: Option<(Instant, u64)>,
    backward_depth: usize,
}

impl Records {
    const fn new() -> Self {
        Self {
            operations: BTreeMap::new(),
            last: None,
            backward_depth: 0,
        }
    }

    /// Begins the next operation; gives the time of the one before and the bytes that it asked for.
    fn lap(&mut self) -> (Duration, u64) {
        settle();
        let now = (Instant::now(), allocation::allocated_bytes());
        let (began, bytes) = self.last.replace(now).unwrap_or(now);
        (now.0 - began, now.1.saturating_sub(bytes))
    }
}

/// Switches the profile of all threads on or off.
pub fn set_profiling(on: bool) {
    IS_ON.store(on, Relaxed);
}

/// Whether operations are timed.
pub fn is_profiling() -> bool {
    IS_ON.load(Relaxed)
}

/// What this thread did since the last operation belongs to none.
pub fn mark() {
    if is_profiling() {
        RECORDS.with_borrow_mut(Records::lap);
    }
}

/// What this thread did since the last operation, or [`mark`], was a forward pass of `name`.
pub fn done(name: &'static str) {
    if !is_profiling() {
        return;
    }
    RECORDS.with_borrow_mut(|records| {
        // An operation inside of a backward is part of it.
        if records.backward_depth > 0 {
            return;
        }
        let (took, bytes) = records.lap();
        let times = records.operations.entry(name).or_default();
        times.forward_calls += 1;
        times.forward += took;
        times.allocated_bytes += bytes;
    });
}

/// Times the backward of an operation.
pub(super) fn backward<T>(name: &'static str, work: impl FnOnce() -> T) -> T {
    if !is_profiling() {
        return work();
    }
    RECORDS.with_borrow_mut(|records| records.backward_depth += 1);
    let (began, bytes) = (Instant::now(), allocation::allocated_bytes());
    let result = work();
    settle();
    RECORDS.with_borrow_mut(|records| {
        records.backward_depth = records.backward_depth.saturating_sub(1);
        // A gradient that is asked for inside of a backward counts for the outer one.
        if records.backward_depth == 0 {
            let times = records.operations.entry(name).or_default();
            times.backward_calls += 1;
            times.backward += began.elapsed();
            times.allocated_bytes += allocation::allocated_bytes().saturating_sub(bytes);
            records.lap();
        }
    });
    result
}

/// The times of a thread's operations, on their way to another one.
pub struct Handed(BTreeMap<&'static str, Times>);

/// Takes the times of this thread's operations, for the thread that it works for.
pub fn hand_over() -> Handed {
    Handed(RECORDS.with_borrow_mut(|r| std::mem::take(&mut r.operations)))
}

/// Counts the times of another thread's operations as this one's.
pub fn take_over(times: Handed) {
    RECORDS.with_borrow_mut(|records| {
        for (name, of) in times.0 {
            let all = records.operations.entry(name).or_default();
            all.forward_calls += of.forward_calls;
            all.forward += of.forward;
            all.backward_calls += of.backward_calls;
            all.backward += of.backward;
            all.allocated_bytes += of.allocated_bytes;
        }
    });
}

/// The time of this thread's operations so far, longest first; resets the counts.
pub fn take() -> Vec<OperationTime> {
    let operations = RECORDS.with_borrow_mut(|r| std::mem::take(&mut r.operations));
    let mut times: Vec<OperationTime> = operations
        .into_iter()
        .map(|(name, times)| OperationTime {
            name: name.to_owned(),
            forward_calls: times.forward_calls,
            forward_secs: times.forward.as_secs_f64(),
            backward_calls: times.backward_calls,
            backward_secs: times.backward.as_secs_f64(),
            allocated_bytes: times.allocated_bytes,
        })
        .collect();
    times.sort_by(|a, b| b.secs().total_cmp(&a.secs()));
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tensor, Value, grad};
    use candle_core::{DType, Device};

    /// The only test that switches the profile: others would see it off in between.
    #[test]
    fn forward_and_backward_are_told_apart() {
        let x = Tensor::leaf(Value::ones(3, DType::F64, &Device::Cpu).unwrap());
        let work = || {
            let y = x.exp().unwrap().exp().unwrap().sum_all().unwrap();
            let first = grad(&y, &[&x], true).unwrap().remove(0).unwrap();
            grad(&first.sum_all().unwrap(), &[&x], false).unwrap();
        };
        work();
        assert!(take().is_empty(), "off, nothing is kept");

        set_profiling(true);
        let began = Instant::now();
        mark();
        work();
        let elapsed = began.elapsed().as_secs_f64();
        set_profiling(false);
        let times = take();
        let of = |name: &str| times.iter().find(|t| t.name == name).unwrap();
        assert_eq!(of("exp").forward_calls, 2);
        // Two in the first walk and two in the second; the products that their derivatives are made of are no calls of mul's own.
        assert_eq!(of("exp").backward_calls, 4);
        let forward_alone = |t: &OperationTime| t.name != "mul" || t.forward_calls == 0;
        assert!(times.iter().all(forward_alone));
        let sum: f64 = times.iter().map(OperationTime::secs).sum();
        assert!(sum > 0. && sum <= elapsed);
        assert!(times.windows(2).all(|t| t[0].secs() >= t[1].secs()));
        assert!(take().is_empty(), "taken");
    }
}
