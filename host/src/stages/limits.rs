//! The largest numbers that the tables of several stages take: far above every published recipe, and low enough that nothing computed
//! from them overflows.

/// Epochs of a training, and epochs between its evaluations.
pub(crate) const EPOCHS: u32 = 1_000_000;
/// Images, or views, at once.
pub(crate) const BATCH: u32 = 10_000_000;
/// Steps on the distilled images; a random stream counts them in 32 bits.
pub(crate) const ITERATIONS: u64 = 1_000_000_000;
/// Images of a class.
pub(crate) const PER_CLASS: u32 = 1_000_000;
/// The seed of a student, who is the network of number seed + 1; from 2^30 on numbers are those of experts and of a matcher's networks.
pub(crate) const STUDENT_SEED: u32 = 1_000_000_000;
