//! Compiling what the program asks of MPI, with the compiler of the MPI at hand.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::user_cache;

const SOURCE: &str = include_str!("shim.c");
/// Names another compiler than `mpicc`.
const COMPILER: &str = "ALAMBIC_MPICC";

/// The library that talks to MPI: as it was kept, or compiled now.
///
/// # Errors
/// When there is no compiler of an MPI, or it fails.
pub fn build() -> Result<PathBuf> {
    let compiler = env::var(COMPILER).unwrap_or_else(|_| "mpicc".to_owned());
    // What it would call tells which MPI it compiles for.
    let shown = run(Command::new(&compiler).arg("-show"), &compiler)?;
    let mut hasher = Sha256::new();
    for part in [SOURCE, &compiler, &shown] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest: String = hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let folder = user_cache::folder()
        .unwrap_or_else(env::temp_dir)
        .join("mpi");
    let path = folder.join(format!("{digest}.so"));
    if !path.is_file() {
        compile(&compiler, &folder, &path)?;
    }
    Ok(path)
}

/// Several processes may do so at once: each compiles into a file of its own and moves it into place.
fn compile(compiler: &str, folder: &Path, path: &Path) -> Result<()> {
    let make = || fs::create_dir_all(folder).and_then(|()| tempfile::tempdir_in(folder));
    let work = make().with_context(|| format!("cannot write to {}", folder.display()))?;
    let (source, library) = (work.path().join("shim.c"), work.path().join("shim.so"));
    fs::write(&source, SOURCE).with_context(|| format!("cannot write {}", source.display()))?;
    let mut command = Command::new(compiler);
    command
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source);
    run(&mut command, compiler)?;
    fs::rename(&library, path).with_context(|| format!("cannot make {}", path.display()))
}

/// The output of the compiler.
fn run(command: &mut Command, compiler: &str) -> Result<String> {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => bail!(
            "cannot start {compiler} ({error}); install Open MPI or MPICH with its compiler (Debian: libopenmpi-dev, openmpi-bin), or name \
             the compiler in {COMPILER}"
        ),
    };
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{compiler} failed: {}",
        error.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
