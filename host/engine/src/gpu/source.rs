//! The CUDA C++ sources of the engine's kernels, one a subject, compiled once for each type of entries.

use std::hash::{DefaultHasher, Hash, Hasher};

use candle_core::DType;

use crate::error::{Error, Result};

/// A file of kernels. The subject that launches them brings it, by [`module!`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Module {
    /// The file's name without its ending.
    pub(crate) name: &'static str,
    /// CUDA C++.
    pub(crate) body: &'static str,
}

/// The [`Module`] of a file in `kernels/`.
macro_rules! module {
    ($name:literal) => {
        $crate::gpu::source::Module {
            name: $name,
            body: include_str!(concat!("kernels/", $name, ".cu")),
        }
    };
}
pub(crate) use module;

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
    Own(&'static str),
    Foreign(u64),
}

impl Code<'_> {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Own(module) => module.name,
            Self::Foreign { name, .. } => name,
        }
    }

    pub(crate) fn key(&self) -> CodeKey {
        match self {
            Self::Own(module) => CodeKey::Own(module.name),
            Self::Foreign { name, source } => {
                let mut hasher = DefaultHasher::new();
                (name, source).hash(&mut hasher);
                CodeKey::Foreign(hasher.finish())
            }
        }
    }

    /// Whether the threads of a block wait for each other.
    pub(crate) fn has_barriers(&self) -> bool {
        match self {
            Self::Own(module) => ["block_sum(", "__sync"]
                .iter()
                .any(|waits| module.body.contains(waits)),
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
                let Module { name: file, body } = module;
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Every file of kernels, as they stand in the source tree.
    pub(crate) fn modules() -> Vec<Module> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/gpu/kernels");
        let files = std::fs::read_dir(folder).expect("the folder of kernels");
        let files = files.map(|file| file.expect("a file of kernels").path());
        let leaked = |text: String| -> &'static str { text.leak() };
        let module = |path: std::path::PathBuf| Module {
            name: leaked(path.file_stem().unwrap().to_string_lossy().into_owned()),
            body: leaked(std::fs::read_to_string(&path).unwrap()),
        };
        let modules = files.map(module).filter(|m| m.name != "prelude");
        modules.collect()
    }

    #[test]
    fn every_file_of_kernels_is_brought_and_launched_by_the_subject_of_its_name() {
        let modules = modules();
        assert!(!modules.is_empty());
        for Module { name, body } in modules {
            let subject = format!("{}/src/gpu/{name}.rs", env!("CARGO_MANIFEST_DIR"));
            let subject = std::fs::read_to_string(&subject).unwrap_or_else(|e| {
                panic!("kernels/{name}.cu needs a file to launch it, {subject}: {e}")
            });
            let brought = format!("module!(\"{name}\")");
            assert!(subject.contains(&brought), "{name}.rs lacks {brought}");
            for routine in body.lines().filter_map(|l| l.strip_prefix("ROUTINE ")) {
                let routine = routine.split('(').next().unwrap_or_default();
                let launched = subject.contains(&format!("\"{routine}\""));
                assert!(launched, "{name}.rs does not launch {routine} of {name}.cu");
            }
        }
    }
}
