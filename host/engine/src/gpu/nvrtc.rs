//! CUDA C++ to PTX by NVRTC, once for each machine: what was compiled is kept on disk.

use std::ffi::c_int;

use candle_core::cuda_backend::cudarc::{
    driver::{DriverError, sys as driver},
    nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts, result::NvrtcError, sys},
};

use super::cuda::{NVRTC, is_there};
use super::kept::{Folder, name_of};

/// The compiler, for one kind of device.
pub(super) struct Compiler {
    /// `compute_80` and so on: what kernels are compiled for.
    architecture: String,
    /// NVRTC's version, as CUDA's: major and minor.
    version: [c_int; 2],
    kept: Option<Folder>,
}

impl Compiler {
    /// The compiler for devices of a compute capability, 80 for 8.0; an NVRTC that is older than the device compiles for the newest
    /// that it knows, and the driver does the rest.
    ///
    /// # Errors
    /// If NVRTC is missing, or knows no device that old.
    pub(super) fn new(capability: c_int) -> Result<Self, String> {
        if !is_there(&NVRTC) {
            return Err(format!("{} not found", NVRTC.0));
        }
        let asked = |e: NvrtcError| format!("NVRTC: {e}");
        let ([mut major, mut minor], mut count) = ([0; 2], 0);
        // SAFETY: the library is there, and writes three numbers.
        unsafe {
            sys::nvrtcVersion(&mut major, &mut minor)
                .result()
                .map_err(asked)?;
            sys::nvrtcGetNumSupportedArchs(&mut count)
                .result()
                .map_err(asked)?;
        }
        let mut known: Vec<c_int> = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: the list has as much room as was asked for.
        let list = unsafe { sys::nvrtcGetSupportedArchs(known.as_mut_ptr()) };
        list.result().map_err(asked)?;
        let newest = newest_not_above(&known, capability).ok_or_else(|| {
            format!("NVRTC of CUDA {major}.{minor} compiles for no GPU as old as sm_{capability}; install an older one")
        })?;
        Ok(Self {
            architecture: format!("compute_{newest}"),
            version: [major, minor],
            kept: Folder::of_user(),
        })
    }

    /// The PTX of a source: kept, or compiled now.
    ///
    /// # Errors
    /// What the compiler said.
    pub(super) fn ptx(&self, name: &str, source: &str) -> Result<String, String> {
        let compile = || compiled(name, source, &self.architecture);
        let Some(kept) = &self.kept else {
            return compile();
        };
        let version = format!("nvrtc {:?}", self.version);
        let options = options(&self.architecture).join(" ");
        let file = name_of(&[&version, &options, name, source], "ptx");
        let bytes = kept.keep(&file, || compile().map(String::into_bytes))?;
        String::from_utf8(bytes).map_err(|e| format!("{}: {e}", kept.file(&file).display()))
    }

    /// Why the driver takes no module of this compiler, and what to do about it.
    pub(super) fn refused(&self, error: DriverError) -> String {
        if error.0 != driver::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION {
            return error.to_string();
        }
        let mut version: c_int = 0;
        // SAFETY: the driver writes a number; it is open, since it refused a module.
        let status = unsafe { driver::cuDriverGetVersion(&mut version) };
        too_new(self.version, status.result().is_ok().then_some(version))
    }
}

/// The newest device of a list for which code can be compiled that runs on a device of this capability.
fn newest_not_above(known: &[c_int], capability: c_int) -> Option<c_int> {
    let older = known.iter().copied().filter(|known| *known <= capability);
    older.max()
}

/// What to do about PTX of an NVRTC that is newer than the driver; the driver's version is as it tells it, 12040 for CUDA 12.4.
fn too_new([major, minor]: [c_int; 2], driver: Option<c_int>) -> String {
    let driver = match driver {
        Some(version) => format!("CUDA {}.{}", version / 1000, version % 1000 / 10),
        None => "an older CUDA".to_owned(),
    };
    format!(
        "NVRTC is of CUDA {major}.{minor}, newer than the driver, which is of {driver}: install a newer driver, or an NVRTC (libnvrtc) \
         of {driver} and let the system find that one first"
    )
}

/// What NVRTC is told beside the source.
fn options(architecture: &str) -> [String; 2] {
    [
        format!("--gpu-architecture={architecture}"),
        "-default-device".to_owned(),
    ]
}

/// Compiles CUDA C++ to PTX for an architecture such as `compute_80`. No GPU is needed.
///
/// # Errors
/// What the compiler said, or that NVRTC is missing.
pub(super) fn compiled(name: &str, source: &str, architecture: &str) -> Result<String, String> {
    if !is_there(&NVRTC) {
        return Err(format!("{} not found", NVRTC.0));
    }
    if [name, source].iter().any(|text| text.contains('\0')) {
        return Err("a source ends at a zero byte, and this one has more behind it".to_owned());
    }
    let options = CompileOptions {
        options: options(architecture).to_vec(),
        name: Some(format!("{name}.cu")),
        ..Default::default()
    };
    match compile_ptx_with_opts(source, options) {
        Ok(ptx) => Ok(ptx.to_src()),
        Err(CompileError::CompileError { log, .. }) => Err(log.to_string_lossy().into_owned()),
        Err(other) => Err(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::source::{Code, Module};
    use super::*;

    /// Whether NVRTC is there; a toolchain without it is an error.
    fn nvrtc_is_there() -> bool {
        let there = is_there(&NVRTC);
        assert!(there || std::env::var_os("ALAMBIC_CUDA_TOOLCHAIN").is_none());
        if !there {
            eprintln!("not checked: no NVRTC");
        }
        there
    }

    /// Needs NVRTC, and no GPU: without it the test says so and passes.
    #[test]
    fn every_kernel_compiles_for_ampere_and_hopper() {
        if !nvrtc_is_there() {
            return;
        }
        let types = [DType::F32, DType::F64, DType::BF16];
        for architecture in ["sm_80", "sm_90"] {
            for (module, entries) in Module::ALL.iter().flat_map(|m| types.map(|t| (m, t))) {
                let source = Code::Own(*module).source(entries).unwrap();
                match compiled(module.name(), &source, architecture) {
                    Ok(ptx) => assert!(ptx.contains(".entry"), "{module:?} {entries:?}"),
                    Err(log) => panic!("{module:?} {entries:?} {architecture}: {log}"),
                }
            }
        }
    }

    #[test]
    fn ptx_is_kept_for_sources_of_ones_own_and_of_others() {
        if !nvrtc_is_there() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let compiler = Compiler {
            kept: Some(Folder::at(root.path().to_owned())),
            ..Compiler::new(90).unwrap()
        };
        let files = || std::fs::read_dir(root.path()).unwrap().count();
        let foreign = Code::Foreign {
            name: "a plugin's",
            source: "extern \"C\" __global__ void none(real* x) { x[0] = 1; }",
        };
        for (i, code) in [Code::Own(Module::Reduce), foreign].iter().enumerate() {
            let source = code.source(DType::F32).unwrap();
            let first = compiler.ptx(code.name(), &source).unwrap();
            assert!(first.contains(".entry") && first.contains(".target sm_90"));
            assert_eq!(files(), i + 1);
            assert_eq!(compiler.ptx(code.name(), &source).unwrap(), first);
            assert_eq!(files(), i + 1);
        }
        let wrong = compiler.ptx("wrong", "int x = ;").unwrap_err();
        assert!(wrong.contains("wrong.cu"), "{wrong}");
        assert_eq!(files(), 2);
    }

    #[test]
    fn an_nvrtc_that_is_older_than_the_device_compiles_for_the_newest_it_knows() {
        let known = [75, 80, 86, 90];
        assert_eq!(newest_not_above(&known, 86), Some(86));
        assert_eq!(newest_not_above(&known, 120), Some(90));
        assert_eq!(newest_not_above(&known, 70), None);
    }

    #[test]
    fn an_nvrtc_that_is_newer_than_the_driver_is_told() {
        let text = too_new([13, 0], Some(12040));
        assert!(text.contains("CUDA 13.0") && text.contains("of CUDA 12.4: install"));
        assert!(too_new([13, 0], None).contains("a newer driver"));
    }
}
