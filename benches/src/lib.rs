//! What the benchmarks share: the surroundings of a step, the steps themselves, and their cost besides time.
//!
//! The subjects are in `benches/`, one a file (`cargo bench`); `alambic-step` does steps for `pytorch/compare.py`, `alambic-load` loads
//! batches for `pytorch/loader.py`.

pub mod lab;
pub mod peak;
pub mod process;
pub mod serve;
pub mod work;

pub use lab::{Lab, NetworkName};
pub use work::{Size, Work};

/// Counts while [`peak`] asks for it, as in the `alambic` program.
#[global_allocator]
static ALLOCATOR: alambic::engine::allocation::Counting = alambic::engine::allocation::Counting;

/// Does `work` as the `alambic` program does: memory stays with the process, and parallel work starts inside the pool, without
/// waking another thread first.
pub fn as_the_program_does<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    alambic::engine::allocation::keep_freed_memory();
    rayon::scope(|_| work())
}
