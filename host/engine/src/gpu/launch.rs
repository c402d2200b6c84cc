//! Launches of kernels: which, over how many threads, with which arguments.

use candle_core::DType;

use super::source::{Code, Module};

/// Threads of a block where entries are shared among all threads.
const THREADS: u32 = 256;

/// Blocks at most where threads walk over entries: enough for any device, few enough to start quickly.
const BLOCKS: u64 = 1 << 14;

/// A kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routine<'a> {
    pub(crate) code: Code<'a>,
    pub(crate) name: &'a str,
    /// The type of the entries that it is compiled for.
    pub(crate) entries: DType,
}

impl Routine<'static> {
    /// A kernel of the engine's own.
    pub(crate) fn own(module: Module, name: &'static str, entries: DType) -> Self {
        Self {
            code: Code::Own(module),
            name,
            entries,
        }
    }
}

/// Blocks along two axes, and the threads of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) blocks: [u32; 2],
    pub(crate) threads: u32,
}

impl Grid {
    /// Threads that share `count` entries.
    pub(crate) fn each(count: usize) -> Self {
        let blocks = (count as u64).div_ceil(u64::from(THREADS)).clamp(1, BLOCKS);
        Self {
            blocks: [blocks as u32, 1],
            threads: THREADS,
        }
    }

    /// A block for each of `rows` rows, whose `size` entries its threads share.
    pub(crate) fn rows(rows: usize, size: usize) -> Self {
        let threads = (size as u32).div_ceil(32).saturating_mul(32);
        Self {
            blocks: [rows as u32, 1],
            threads: threads.clamp(32, THREADS),
        }
    }

    /// As many blocks for each row as it has pieces.
    pub(crate) fn pieces(rows: usize, pieces: usize) -> Self {
        Self {
            blocks: [rows as u32, pieces as u32],
            threads: THREADS,
        }
    }
}

/// An argument of a kernel.
#[derive(Clone, Debug)]
pub enum Arg {
    /// An address, or 0 for what is absent.
    Address(u64),
    /// A 64-bit integer.
    Integer(i64),
    /// An `int`.
    Flag(i32),
    /// A `double`.
    Number(f64),
    /// A structure of 8-byte fields.
    Fields(Vec<u64>),
}

impl Arg {
    /// A structure of integers.
    pub(crate) fn integers(fields: impl IntoIterator<Item = usize>) -> Self {
        Self::Fields(fields.into_iter().map(|v| v as u64).collect())
    }

    /// Where the argument itself stands, for as long as it is not moved.
    pub(super) fn place(&self) -> *mut std::ffi::c_void {
        match self {
            Self::Address(v) => std::ptr::from_ref(v).cast_mut().cast(),
            Self::Integer(v) => std::ptr::from_ref(v).cast_mut().cast(),
            Self::Flag(v) => std::ptr::from_ref(v).cast_mut().cast(),
            Self::Number(v) => std::ptr::from_ref(v).cast_mut().cast(),
            Self::Fields(v) => v.as_ptr().cast_mut().cast(),
        }
    }
}

impl From<usize> for Arg {
    fn from(count: usize) -> Self {
        Self::Integer(count as i64)
    }
}

impl From<bool> for Arg {
    fn from(flag: bool) -> Self {
        Self::Flag(i32::from(flag))
    }
}

impl From<i32> for Arg {
    fn from(number: i32) -> Self {
        Self::Flag(number)
    }
}

impl From<f64> for Arg {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl<'a, T> From<Option<&'a T>> for Arg
where
    Self: From<&'a T>,
{
    /// What is absent is a null pointer.
    fn from(operand: Option<&'a T>) -> Self {
        operand.map_or(Self::Address(0), Self::from)
    }
}

/// The arguments of a launch, each turned into an [`Arg`].
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::gpu::launch::Arg::from($value)),*] };
}
pub(crate) use args;
