//! Peak bytes of a step. A program of its own: the count is of the whole process.

use alambic_benches::peak::peak_bytes;

#[test]
fn a_block_that_lives_only_meanwhile_is_counted_and_one_that_stays_is_not() {
    let mut held = Vec::new();
    let bytes = peak_bytes(&mut || {
        held = vec![1u8; 1 << 20];
        Ok(std::hint::black_box(vec![1u8; 8 << 20]).len())
    })
    .unwrap();
    // The new megabyte lies beside the old one for a moment.
    assert!(((8 << 20)..(10 << 20)).contains(&bytes), "{bytes}");
}
