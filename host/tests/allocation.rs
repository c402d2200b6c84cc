//! The counting allocator, alone in its process: other tests would allocate meanwhile.

use std::hint::black_box;

use alambic::engine::allocation::{
    Counting, allocated_bytes, is_counting, live_bytes, peak_above, peak_bytes, reset_peak,
    set_counting,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: i64 = 1 << 20;
/// What the test harness may allocate beside us.
const SLACK: i64 = 64 << 10;

fn block(mib: i64) -> Vec<u8> {
    black_box(vec![1u8; (mib * MIB) as usize])
}

#[track_caller]
fn about(got: i64, expected: i64) {
    assert!(
        (got - expected).abs() <= SLACK,
        "got {got}, expected {expected} within {SLACK}"
    );
}

#[test]
fn live_and_peak_follow_the_blocks() {
    let old = block(16);
    assert!(!is_counting());
    about(live_bytes(), 0);

    set_counting(true);
    let (a, b) = (block(8), block(4));
    about(live_bytes(), 12 * MIB);
    drop(a);
    about(live_bytes(), 4 * MIB);
    about(peak_bytes(), 12 * MIB);
    reset_peak();
    about(peak_bytes(), 4 * MIB);

    // A buffer that grows, and one that is asked for in zeros.
    let mut grown: Vec<u8> = Vec::with_capacity(MIB as usize);
    grown.reserve_exact(2 * MIB as usize);
    let zeros = black_box(vec![0u8; MIB as usize]);
    about(live_bytes(), 7 * MIB);
    drop((black_box(grown), zeros));

    // Many small blocks on many threads, freed on another one.
    let small = || (0..8192).map(|_| vec![1u8; 128]).collect::<Vec<_>>();
    let workers: Vec<_> = (0..4).map(|_| std::thread::spawn(small)).collect();
    let small: Vec<_> = workers.into_iter().map(|w| w.join().unwrap()).collect();
    let handles = 4 * 8192 * size_of::<Vec<u8>>() as i64;
    about(live_bytes(), 4 * MIB + 4 * MIB + handles);
    drop(small);
    about(live_bytes(), 4 * MIB);

    // A block older than the count goes below zero, and spoils neither the next peak nor the next difference.
    drop((old, b));
    about(live_bytes(), -16 * MIB);
    let (kept, peak) = peak_above(|| {
        drop(block(6));
        block(2)
    });
    about(peak as i64, 6 * MIB);
    about(live_bytes(), -14 * MIB);

    let before = allocated_bytes();
    drop((block(3), block(2)));
    about((allocated_bytes() - before) as i64, 5 * MIB);

    // Off, nothing is counted; on again, it begins at zero.
    set_counting(false);
    drop(kept);
    about(live_bytes(), -14 * MIB);
    set_counting(true);
    about(live_bytes(), 0);
    about(peak_bytes(), 0);
}
