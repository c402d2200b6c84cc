//! What processes that compute together can do, whatever connects them.

use anyhow::Result;

/// The processes that compute together, seen from one of them. All of them call the same methods in the same order.
///
/// # Errors
/// Each method fails when another process or what connects them does.
pub trait Peers: Sync {
    /// Which of them this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Waits until all have come here. A core is free meanwhile.
    fn wait(&self) -> Result<()>;

    /// What each has told, in the order of their ranks.
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// The numbers of each, one after the other; `counts` says how many each has.
    fn gather_numbers(&self, own: &[f32], counts: &[usize]) -> Result<Vec<f32>>;

    /// Hands each the numbers that are for it, `counts` of them, in the order of the ranks; gives what each has for this one, of which
    /// there are `theirs`.
    fn exchange(&self, own: &[f32], counts: &[usize], theirs: &[usize]) -> Result<Vec<f32>>;
}
