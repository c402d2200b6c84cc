//! The CUDA C++ sources of the engine's kernels, one a subject, compiled once for each type of entries.

use std::hash::{DefaultHasher, Hash, Hasher};

use candle_core::DType;

use crate::error::{Error, Result};

/// A file of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Module {
    Elementwise,
    Reduce,
    Softmax,
    BatchNorm,
    GroupNorm,
    Planes,
    Optimizer,
    Views,
    Order,
    Layout,
}

/// A source of kernels.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Code<'a> {
    /// One of the engine's own.
    Own(Module),
    /// One from outside, in which `real` is the type of the entries.
    Foreign {
        /// What the compiler calls the file.
        name: &'a str,
        /// CUDA C++.
        source: &'a str,
    },
}

/// What tells sources apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum CodeKey {
    Own(Module),
    Foreign(u64),
}

impl Code<'_> {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Own(module) => module.name(),
            Self::Foreign { name, .. } => name,
        }
    }

    pub(crate) fn key(&self) -> CodeKey {
        match self {
            Self::Own(module) => CodeKey::Own(*module),
            Self::Foreign { name, source } => {
                let mut hasher = DefaultHasher::new();
                (name, source).hash(&mut hasher);
                CodeKey::Foreign(hasher.finish())
            }
        }
    }

    /// Whether the threads of a block wait for each other.
    #[cfg(debug_assertions)]
    pub(crate) fn has_barriers(&self) -> bool {
        match self {
            Self::Own(module) => ["block_sum(", "__sync"]
                .iter()
                .any(|waits| module.body().contains(waits)),
            Self::Foreign { source, .. } => source.contains("__sync") || source.contains("__shfl"),
        }
    }

    /// The whole source for entries of one type.
    ///
    /// # Errors
    /// If no kernel computes with the type.
    pub(crate) fn source(&self, entries: DType) -> Result<String> {
        let refused = |expected: &str| {
            let message = format!(
                "{}: expected {expected} entries, got {entries:?}",
                self.name()
            );
            Error::argument("kernel", message)
        };
        match self {
            Self::Own(module) => {
                let name = match entries {
                    DType::F32 => "F32",
                    DType::F64 => "F64",
                    DType::BF16 => "BF16",
                    _ => return Err(refused("f32, f64 or bf16")),
                };
                let (file, body) = (module.name(), module.body());
                Ok(format!(
                    "#define {name}\n{PRELUDE}#line 1 \"{file}.cu\"\n{body}"
                ))
            }
            Self::Foreign { name, source } => {
                let real = match entries {
                    DType::F32 => "float",
                    DType::F64 => "double",
                    _ => return Err(refused("f32 or f64")),
                };
                let file: String = name.chars().filter(|c| !"\"\\\n".contains(*c)).collect();
                Ok(format!(
                    "typedef {real} real;\n#line 1 \"{file}.cu\"\n{source}\n"
                ))
            }
        }
    }
}

/// What all modules begin with.
const PRELUDE: &str = include_str!("kernels/prelude.cu");

impl Module {
    #[cfg(all(test, feature = "cuda"))]
    pub(crate) const ALL: [Self; 10] = [
        Self::Elementwise,
        Self::Reduce,
        Self::Softmax,
        Self::BatchNorm,
        Self::GroupNorm,
        Self::Planes,
        Self::Optimizer,
        Self::Views,
        Self::Order,
        Self::Layout,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Elementwise => "elementwise",
            Self::Reduce => "reduce",
            Self::Softmax => "softmax",
            Self::BatchNorm => "batch_norm",
            Self::GroupNorm => "group_norm",
            Self::Planes => "planes",
            Self::Optimizer => "optimizer",
            Self::Views => "views",
            Self::Order => "order",
            Self::Layout => "layout",
        }
    }

    fn body(self) -> &'static str {
        match self {
            Self::Elementwise => include_str!("kernels/elementwise.cu"),
            Self::Reduce => include_str!("kernels/reduce.cu"),
            Self::Softmax => include_str!("kernels/softmax.cu"),
            Self::BatchNorm => include_str!("kernels/batch_norm.cu"),
            Self::GroupNorm => include_str!("kernels/group_norm.cu"),
            Self::Planes => include_str!("kernels/planes.cu"),
            Self::Optimizer => include_str!("kernels/optimizer.cu"),
            Self::Views => include_str!("kernels/views.cu"),
            Self::Order => include_str!("kernels/order.cu"),
            Self::Layout => include_str!("kernels/layout.cu"),
        }
    }
}
