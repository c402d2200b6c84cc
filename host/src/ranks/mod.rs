//! Processes that a launcher of MPI has started together: how many there are, which of them this is, and waiting for each other.
//!
//! The program links no MPI. A small library in C (`shim.c`) is compiled with the `mpicc` at hand on first use, kept in the user's cache
//! folder by what it was compiled with, and opened only where ranks are asked for.

mod build;
mod mpi;
pub mod peers;

use std::{env, fmt};

use anyhow::{Context, Result, bail, ensure};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

pub use build::build;
pub use peers::Peers;

/// Variables in which launchers say how many processes they started: Open MPI's, those of MPICH and its kin, and Slurm's.
const COUNTS: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"];
/// Room for what a library says of itself.
const WORDS: usize = 8192;

/// The processes that run together.
pub struct Ranks {
    library: Library,
    /// Which of them this is, from 0.
    pub rank: u32,
    /// How many there are.
    pub size: u32,
    /// Which of those of its machine this is, from 0.
    pub local: u32,
    nodes: u32,
    name: String,
}

impl Ranks {
    /// Compiles what is missing, and begins; all processes do so together.
    ///
    /// # Errors
    /// When there is no MPI, or it knows another number of processes than the launcher has started.
    pub fn open() -> Result<Self> {
        let path = build()?;
        // SAFETY: the file is compiled from `shim.c`; opening it runs the initialisers of the system's MPI library.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        let library = library.with_context(|| format!("cannot open {}", path.display()))?;
        let number = |name: &str| -> Result<u32> {
            // SAFETY: functions of these names take nothing and give an unsigned int.
            let function = unsafe { library.get::<unsafe extern "C" fn() -> u32>(name.as_bytes()) };
            // SAFETY: MPI has begun, or begins with this call.
            Ok(unsafe { function?() })
        };
        ensure!(number("alambic_mpi_open")? == 0, "MPI does not begin");
        let (rank, size) = (number("alambic_mpi_rank")?, number("alambic_mpi_size")?);
        let ranks = Self {
            nodes: number("alambic_mpi_nodes")?,
            local: number("alambic_mpi_local_rank")?,
            name: short(&words(&library)?),
            library,
            rank,
            size,
        };
        if let Some(fault) = miscounted(size, |name| env::var(name).ok()) {
            ranks.close()?;
            bail!(fault);
        }
        Ok(ranks)
    }

    /// Whether this is the one that writes what is common to all.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// Ends all processes with an exit code.
    pub fn abort(&self, code: u8) {
        // SAFETY: the function of this name takes an int and gives nothing.
        let function = unsafe {
            self.library
                .get::<unsafe extern "C" fn(libc::c_int)>(b"alambic_mpi_abort")
        };
        if let Ok(function) = function {
            // SAFETY: MPI has begun.
            unsafe { function(libc::c_int::from(code)) };
        }
    }

    /// Ends MPI; all processes do so together.
    ///
    /// # Errors
    /// When the library lacks the function.
    pub fn close(self) -> Result<()> {
        self.call("alambic_mpi_close")?;
        // Libraries of MPI leave threads behind, which go on in their code.
        std::mem::forget(self.library);
        Ok(())
    }

    fn call(&self, name: &str) -> Result<()> {
        // SAFETY: functions of these names take and give nothing.
        let function = unsafe { self.library.get::<unsafe extern "C" fn()>(name.as_bytes()) };
        // SAFETY: MPI has begun and has not ended.
        unsafe { function?() };
        Ok(())
    }
}

impl fmt::Display for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u32| if count == 1 { "" } else { "s" };
        let Self {
            name, size, nodes, ..
        } = self;
        let (ranks, machines) = (plural(*size), plural(*nodes));
        write!(f, "{name}, {size} rank{ranks} on {nodes} node{machines}")
    }
}

/// What the library says of itself.
fn words(library: &Library) -> Result<String> {
    let mut text = vec![0u8; WORDS];
    // SAFETY: the function of this name takes a buffer and its length, and gives how much of it it has filled.
    let function = unsafe {
        library.get::<unsafe extern "C" fn(*mut u8, usize) -> usize>(b"alambic_mpi_library")
    };
    // SAFETY: the buffer has that length.
    let count = unsafe { function?(text.as_mut_ptr(), text.len()) };
    text.truncate(count);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Name and version: "Open MPI 4.1.4", "MPICH 4.0.2".
fn short(words: &str) -> String {
    let line = words.lines().next().unwrap_or_default();
    let name = line.split(',').next().unwrap_or_default();
    let parts = name.split_whitespace().filter(|part| *part != "Version:");
    let parts = parts.map(|part| match part.strip_prefix('v') {
        Some(version) if version.starts_with(|c: char| c.is_ascii_digit()) => version,
        _ => part,
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// What is wrong where the launcher has started another number of processes.
fn miscounted(size: u32, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let counts = COUNTS.into_iter();
    let mut started = counts.filter_map(|name| Some((name, variable(name)?.parse::<u32>().ok()?)));
    // A launcher that is itself started by Slurm may start fewer than Slurm has tasks for.
    let (name, started) = started.next()?;
    (started != size).then(|| {
        format!(
            "the launcher has started {started} processes ({name}), and MPI knows {size}; start them with the mpirun of the same MPI, \
             or with srun --mpi=pmix"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_called_by_name_and_version() {
        let open = "Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4";
        assert_eq!(short(open), "Open MPI 4.1.4");
        assert_eq!(
            short("MPICH Version:      4.0.2\nMPICH Release date: x"),
            "MPICH 4.0.2"
        );
        assert_eq!(short(""), "");
    }

    #[test]
    fn processes_that_do_not_know_each_other_are_told() {
        let of = |size: u32, set: &[(&str, &str)]| {
            miscounted(size, |name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(1, &[]), None);
        assert_eq!(of(4, &[("OMPI_COMM_WORLD_SIZE", "4")]), None);
        assert_eq!(
            of(2, &[("OMPI_COMM_WORLD_SIZE", "2"), ("SLURM_NTASKS", "8")]),
            None
        );
        let fault = of(1, &[("SLURM_NTASKS", "3")]).expect("a fault");
        assert!(
            fault.contains("started 3 processes (SLURM_NTASKS), and MPI knows 1"),
            "{fault}"
        );
    }
}
