//! Kernels on the processor, for tests: the sources compiled by the C++ compiler with a header that stands in for CUDA's.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::DType;
use libloading::Library;

use super::kept::{Folder, name_of};
use super::launch::{Arg, Grid, Routine};
use super::source::{Code, CodeKey};
use crate::error::{Error, Result};

const SHIM: &str = include_str!("shim.h");

thread_local! {
    static SWITCHED: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Whether values on the CPU count as lying on an emulated device: as this thread was told, else as the process was.
pub(super) fn is_on() -> bool {
    static PROCESS: OnceLock<bool> = OnceLock::new();
    let process = || *PROCESS.get_or_init(|| std::env::var_os("ALAMBIC_EMULATED_GPU").is_some());
    SWITCHED.get().unwrap_or_else(process)
}

/// Does `work` with the emulation on or off, on this thread.
pub(super) fn switched<T>(on: bool, work: impl FnOnce() -> T) -> T {
    /// Puts the switch back, after a panic too.
    struct Back(Option<bool>);
    impl Drop for Back {
        fn drop(&mut self) {
            SWITCHED.set(self.0);
        }
    }
    let _back = Back(SWITCHED.replace(Some(on)));
    work()
}

/// What a compiled module exports: runs the kernel of a name, or says 1 where there is none.
type Emulate = unsafe extern "C" fn(*const c_char, *const c_uint, *const *mut c_void) -> c_int;

/// Compiled modules; the lock also keeps launches apart, since the header's state is that of one launch.
static MODULES: Mutex<BTreeMap<(CodeKey, &'static str), Library>> = Mutex::new(BTreeMap::new());

/// Runs a kernel.
///
/// # Safety
/// As [`super::Gpu::launch`].
pub(super) unsafe fn launch(routine: &Routine<'_>, grid: Grid, args: &[Arg]) -> Result<()> {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    let fail = |message: String| Error::argument("kernel", message);
    let key = (routine.code.key(), routine.entries.as_str());
    if let std::collections::btree_map::Entry::Vacant(place) = modules.entry(key) {
        place.insert(compiled(&routine.code, routine.entries)?);
    }
    let name = CString::new(routine.name).map_err(|e| fail(e.to_string()))?;
    let size = [grid.blocks[0], grid.blocks[1], grid.threads];
    let places: Vec<*mut c_void> = args.iter().map(Arg::place).collect();
    // SAFETY: the symbol is the one that `compiled` wrote, with this signature; the arguments are the caller's promise.
    let status = unsafe {
        let emulate = modules[&key].get::<Emulate>(b"emulate");
        let emulate = emulate.map_err(|e| fail(e.to_string()))?;
        emulate(name.as_ptr(), size.as_ptr(), places.as_ptr())
    };
    match status {
        0 => Ok(()),
        _ => Err(fail(format!(
            "{}.cu has no kernel {:?}",
            routine.code.name(),
            routine.name
        ))),
    }
}

/// Names of the kernels of a source.
fn names(source: &str) -> Vec<&str> {
    let starts = source.lines().filter_map(|line| {
        let own = line.strip_prefix("ROUTINE ");
        own.or_else(|| Some(line.split_once("__global__ void ")?.1))
    });
    let names = starts
        .filter_map(|l| l.split_once('('))
        .map(|(name, _)| name.trim());
    names.filter(|name| !name.is_empty()).collect()
}

/// The source as a shared library, kept beside the test programs for as long as it stays the same.
fn compiled(code: &Code<'_>, entries: DType) -> Result<Library> {
    let name = code.name();
    let fail = |message: String| Error::argument("kernel", format!("{name}: {message}"));
    let source = program(code, entries)?;
    let folder = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(|p| p.join("emulated-kernels")))
        .unwrap_or_else(std::env::temp_dir);
    let folder = Folder::at(folder);
    let file = name_of(&[SHIM, &source], "so");
    if folder.find(&file).is_none() {
        let library =
            build(&source).map_err(|log| fail(format!("its kernels do not compile:\n{log}")))?;
        // What follows the end of a library is nothing to its loader.
        let put = folder.put(&file, &library);
        put.map_err(|e| fail(format!("{}: {e}", folder.path().display())))?;
    }
    // SAFETY: the library is made of kernels and runs nothing when it is loaded.
    unsafe { Library::new(folder.file(&file)) }.map_err(|e| fail(e.to_string()))
}

/// The source with the function that finds its kernels by name.
fn program(code: &Code<'_>, entries: DType) -> Result<String> {
    let source = code.source(entries)?;
    let barriers = code.has_barriers();
    let mut program = format!("#include \"shim.h\"\n{source}\n");
    program += "#define EXPORTED extern \"C\" __attribute__((visibility(\"default\")))\n\
                EXPORTED int emulate(const char* name, const unsigned* size, void** arguments) {\n";
    for name in names(&source) {
        program += &format!(
            "    if (!strcmp(name, \"{name}\")) return shim::launch(::{name}, size, arguments, {barriers}), 0;\n"
        );
    }
    program += "    return 1;\n}\n";
    Ok(program)
}

/// The bytes of a shared library.
fn build(source: &str) -> std::result::Result<Vec<u8>, String> {
    let io = |e: std::io::Error| format!("{}: {e}", std::env::temp_dir().display());
    let place = tempfile::tempdir().map_err(io)?;
    let at = |name: &str| -> PathBuf { place.path().join(name) };
    std::fs::write(at("shim.h"), SHIM).map_err(io)?;
    std::fs::write(at("kernels.cpp"), source).map_err(io)?;
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let mut command = Command::new(&compiler);
    command.args([
        "-std=c++17",
        "-O2",
        "-shared",
        "-fPIC",
        "-fvisibility=hidden",
    ]);
    // No product and sum are joined that the source does not join.
    command.args(["-ffp-contract=off", "-Wall", "-Wno-unused-function", "-o"]);
    command.arg(at("kernels.so")).arg(at("kernels.cpp"));
    let output = command.output().map_err(|e| {
        format!(
            "{}: {e} (a C++ compiler runs the tests' kernels)",
            compiler.display()
        )
    })?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    std::fs::read(at("kernels.so")).map_err(io)
}
