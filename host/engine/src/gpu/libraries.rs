//! NVIDIA's libraries, which are opened at run time.

/// A library, and its names as the system's loader knows them, the newest first.
pub(super) type Library = (&'static str, &'static [&'static str]);

pub(super) const DRIVER: Library = (
    "libcuda (the NVIDIA driver)",
    &["libcuda.so.1", "libcuda.so"],
);
pub(super) const NVRTC: Library = (
    "libnvrtc",
    &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"],
);

/// What GPUs of several processes need to know each other.
pub(super) const NCCL: Library = ("libnccl", &["libnccl.so.2", "libnccl.so"]);

/// What computing needs.
const LIBRARIES: [Library; 5] = [
    DRIVER,
    (
        "libcublas",
        &["libcublas.so.13", "libcublas.so.12", "libcublas.so"],
    ),
    ("libcurand", &["libcurand.so.10", "libcurand.so"]),
    NVRTC,
    ("libcudnn", &["libcudnn.so.9", "libcudnn.so"]),
];

pub(super) fn is_there((_, names): &Library) -> bool {
    // SAFETY: opening NVIDIA's libraries runs no code of theirs beyond their own initialisation.
    let opens = |name: &&str| unsafe { libloading::Library::new(*name) }.is_ok();
    names.iter().any(opens)
}

/// Looks for all that computing needs: a call into a library that is missing would end the process.
///
/// # Errors
/// Which are missing.
pub(super) fn all_there() -> Result<(), String> {
    let missing = LIBRARIES.iter().filter(|library| !is_there(library));
    let missing: Vec<&str> = missing.map(|(name, _)| *name).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("{} not found", missing.join(", "))),
    }
}
