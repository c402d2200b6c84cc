//! Tasks of a kernel on the threads of the pool.

use std::hint::spin_loop;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rayon::Yield;

use super::scratch::{Shared, Unfilled};

/// Runs `work` for `0..count` on all threads.
///
/// Each thread has a share of its own, the same one in every kernel: what it wrote in one is still in its cache in the next. When
/// done, it helps with the shares of the others, so one that wakes late or is held up delays nobody.
pub(crate) fn each(count: usize, work: impl Fn(usize) + Sync) {
    /// Times that a thread goes for more in its own share.
    const TURNS: usize = 16;
    let threads = rayon::current_num_threads().min(count);
    if threads <= 1 {
        return (0..count).for_each(work);
    }
    let share = |i: usize| count * i / threads..count * (i + 1) / threads;
    let next: Vec<AtomicUsize> = (0..threads)
        .map(|i| AtomicUsize::new(share(i).start))
        .collect();
    on_all(threads, &|| {
        let own = rayon::current_thread_index().unwrap_or(0);
        for i in (own..own + threads).map(|i| i % threads) {
            let Range { start, end } = share(i);
            let taken = ((end - start) / TURNS).max(1);
            loop {
                let first = next[i].fetch_add(taken, Ordering::Relaxed);
                if first >= end {
                    break;
                }
                (first..end.min(first + taken)).for_each(&work);
            }
        }
    });
}

/// Runs `work` on this thread and on as many others as come in time.
///
/// Kernels follow each other within microseconds, and a thread that sleeps takes longer to wake; so those who helped stay awake
/// for a moment, and this thread does not sleep while it waits for them.
fn on_all(threads: usize, work: &(impl Fn() + Sync)) {
    let (caller, helping) = (rayon::current_thread_index(), &AtomicUsize::new(0));
    rayon::in_place_scope(|scope| {
        (1..threads).for_each(|_| {
            scope.spawn(move |_| {
                let here = Helping::new(helping);
                work();
                drop(here);
                if rayon::current_thread_index() != caller {
                    linger();
                }
            });
        });
        work();
        while helping.load(Ordering::Acquire) > 0 {
            // A helper may itself wait for something that only this thread can do.
            look_for_work();
        }
    });
}

/// Counts a helper while it lives.
struct Helping<'a>(&'a AtomicUsize);

impl<'a> Helping<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Acquire);
        Self(count)
    }
}

impl Drop for Helping<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Has this thread look for work a while longer than the pool would, once it is done with the task that it is at.
///
/// It does one task at most, which asks for more of this at its end: the thread may have been waiting for something before.
fn linger() {
    const MOST: Duration = Duration::from_micros(200);
    let own = rayon::current_thread_index();
    rayon::spawn(move || {
        let began = Instant::now();
        // Another thread may have taken this over; it has its own work.
        while rayon::current_thread_index() == own && began.elapsed() < MOST && !look_for_work() {}
    });
}

/// Does one task of the pool, if there is one; else passes a moment.
fn look_for_work() -> bool {
    match rayon::yield_now() {
        Some(Yield::Executed) => return true,
        Some(Yield::Idle) => (0..16).for_each(|_| spin_loop()),
        // Not a thread of the pool.
        None => std::thread::yield_now(),
    }
    false
}

/// Runs `work` on the parts of `size` entries that `slice` is cut into, the last one maybe shorter.
pub(crate) fn each_part<T: Send>(
    slice: &mut [T],
    size: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let (start, len) = (Shared(slice.as_mut_ptr()), slice.len());
    each(len.div_ceil(size), |i| {
        // SAFETY: inside the slice, which is borrowed uniquely; the parts do not overlap.
        work(i, unsafe {
            start.slice(i * size, size.min(len - i * size))
        });
    });
}

/// What `work` gives for each of `0..count`, as [`each`] runs it.
pub(crate) fn map<T: Copy + Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let mut results = Unfilled::<T>::new(count);
    let to = results.shared();
    // SAFETY: each entry is written once, by its own task, and all are.
    unsafe {
        each(count, |i| to.at(i).write(work(i)));
        results.filled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn every_task_is_done_once_whatever_the_threads() {
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                for count in [0, 1, 2, 7, 1000] {
                    let squares: Vec<usize> = (0..count).map(|i| i * i).collect();
                    assert_eq!(map(count, |i| i * i), squares);
                }
            });
        }
    }

    #[test]
    fn tasks_may_use_the_pool_themselves() {
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let sums = map(20, |i| {
                    rayon::broadcast(|_| ());
                    map(i, |j| j).iter().sum::<usize>()
                });
                let expected: Vec<usize> = (0..20).map(|i| (0..i).sum()).collect();
                assert_eq!(sums, expected);
            });
        }
    }

    #[test]
    fn a_panic_of_a_task_is_passed_on() {
        for i in 0..40 {
            let bad = |j| assert!(i != j, "task {i}");
            let panic = catch_unwind(|| each(40, bad)).unwrap_err();
            assert_eq!(panic.downcast_ref::<String>(), Some(&format!("task {i}")));
        }
        assert_eq!(map(9, |i| i), (0..9).collect::<Vec<_>>());
    }
}
