//! CUDA C++ to code of a GPU by NVRTC, once for each machine: what was compiled is kept on disk.
//!
//! A GPU that NVRTC knows is given its machine code, which drivers load whatever the minor version of theirs; a newer one is given PTX,
//! from which the driver compiles.

use std::ffi::{CString, c_int};

use candle_core::cuda_backend::cudarc::{
    driver::{DriverError, sys as driver},
    nvrtc::{result, result::NvrtcError, sys},
};

use super::kept::{Folder, name_of};
use super::libraries::{NVRTC, is_there};

/// The compiler, for one kind of device.
pub(super) struct Compiler {
    /// What kernels are compiled for: `sm_80` and so on for machine code, `compute_80` for PTX.
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
        let architecture = architecture(&known, capability).ok_or_else(|| {
            format!("the NVRTC of CUDA {major}.{minor} does not support GPUs as old as sm_{capability}; install an older one")
        })?;
        Ok(Self {
            architecture,
            version: [major, minor],
            kept: Folder::of_user(),
        })
    }

    /// A source's code as the driver loads it: kept, or compiled now.
    ///
    /// # Errors
    /// The compiler's message.
    pub(super) fn code(&self, name: &str, source: &str) -> Result<Vec<u8>, String> {
        let compile = || compiled(name, source, &self.architecture);
        let Some(kept) = &self.kept else {
            return compile();
        };
        let version = format!("nvrtc {:?}", self.version);
        let options = options(&self.architecture).join(" ");
        kept.keep(
            &name_of(&[&version, &options, name, source], "bin"),
            compile,
        )
    }

    /// Why the driver takes no module of this compiler, and what to do about it.
    pub(super) fn refused(&self, error: DriverError) -> String {
        let mut version: c_int = 0;
        // SAFETY: the driver writes a number; it is open, since it refused a module.
        let status = unsafe { driver::cuDriverGetVersion(&mut version) };
        let driver = status.result().is_ok().then_some(version);
        match too_new(self.version, driver) {
            Some(advice) => format!("{advice} ({error})"),
            None => error.to_string(),
        }
    }
}

fn asked(error: NvrtcError) -> String {
    format!("NVRTC: {error}")
}

/// What to compile for, so that it runs on a device of this capability; none if all devices that the compiler knows are newer.
fn architecture(known: &[c_int], capability: c_int) -> Option<String> {
    let older = known.iter().copied().filter(|known| *known <= capability);
    let newest = older.max()?;
    let kind = if newest == capability {
        "sm"
    } else {
        "compute"
    };
    Some(format!("{kind}_{newest}"))
}

/// What to do about an NVRTC that is newer than the driver, which may take no code of its; none if it is not. The driver's version is as
/// it tells it, 12040 for CUDA 12.4.
fn too_new([major, minor]: [c_int; 2], driver: Option<c_int>) -> Option<String> {
    let has = driver.map(|version| [version / 1000, version % 1000 / 10])?;
    let driver = format!("CUDA {}.{}", has[0], has[1]);
    (has < [major, minor]).then(|| {
        format!(
            "NVRTC belongs to CUDA {major}.{minor}, which is newer than the driver's {driver}: install a newer driver, or put an \
             NVRTC (libnvrtc) of CUDA {driver} first on the library path"
        )
    })
}

/// NVRTC's options.
fn options(architecture: &str) -> [String; 2] {
    [
        format!("--gpu-architecture={architecture}"),
        "-default-device".to_owned(),
    ]
}

/// A source on its way through the compiler.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program was made, and nobody uses it any more. One that stays costs memory alone.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

/// Compiles CUDA C++ to machine code for an architecture such as `sm_80`, or to PTX, which ends with a zero byte, for one such as
/// `compute_80`. No GPU is needed.
///
/// # Errors
/// What the compiler said, or that NVRTC is missing.
pub(super) fn compiled(name: &str, source: &str, architecture: &str) -> Result<Vec<u8>, String> {
    if !is_there(&NVRTC) {
        return Err(format!("{} not found", NVRTC.0));
    }
    let text = |text: &str| {
        let whole = CString::new(text);
        whole.map_err(|_| "the source contains a zero byte before its end")
    };
    let (source, file) = (text(source)?, text(&format!("{name}.cu"))?);
    let program = result::create_program(&source, Some(&file)).map_err(asked)?;
    let program = Program(program);
    // SAFETY: the program is there, and so are the source and its name, to which it may refer.
    if let Err(error) = unsafe { result::compile_program(program.0, &options(architecture)) } {
        // SAFETY: as above.
        let log = unsafe { result::get_program_log(program.0) };
        let log = log.map(|log| log.into_iter().map(|c| c as u8).collect());
        let log = log.map(|bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned());
        return Err(match log {
            Ok(log) => log.trim_end_matches('\0').to_owned(),
            Err(_) => asked(error),
        });
    }
    match architecture.starts_with("sm_") {
        true => machine_code(&program),
        // SAFETY: the program is compiled.
        false => unsafe { result::get_ptx(program.0) }
            .map(|ptx| ptx.into_iter().map(|c| c as u8).collect()),
    }
    .map_err(asked)
}

fn machine_code(program: &Program) -> Result<Vec<u8>, NvrtcError> {
    let mut size = 0;
    // SAFETY: the program is compiled; NVRTC writes a number, and then as many bytes as that says.
    unsafe {
        sys::nvrtcGetCUBINSize(program.0, &mut size).result()?;
        let mut code = vec![0u8; size];
        sys::nvrtcGetCUBIN(program.0, code.as_mut_ptr().cast()).result()?;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::source::{Code, tests::modules};
    use super::*;

    /// What machine code begins with.
    const ELF: &[u8] = b"\x7fELF";

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
            for (module, entries) in modules().iter().flat_map(|m| types.map(|t| (m, t))) {
                let source = Code::Own(*module).source(entries).unwrap();
                let name = module.name;
                match compiled(name, &source, architecture) {
                    Ok(code) => assert!(code.starts_with(ELF), "{name} {entries:?}"),
                    Err(log) => panic!("{name} {entries:?} {architecture}: {log}"),
                }
            }
        }
    }

    #[test]
    fn code_is_kept_for_sources_of_ones_own_and_of_others() {
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
        for (i, code) in [Code::Own(modules()[0]), foreign].iter().enumerate() {
            let source = code.source(DType::F32).unwrap();
            let first = compiler.code(code.name(), &source).unwrap();
            assert!(first.starts_with(ELF));
            assert_eq!(files(), i + 1);
            assert_eq!(compiler.code(code.name(), &source).unwrap(), first);
            assert_eq!(files(), i + 1);
        }
        let wrong = compiler.code("wrong", "int x = ;").unwrap_err();
        assert!(wrong.contains("wrong.cu"), "{wrong}");
        assert_eq!(files(), 2);
    }

    #[test]
    fn a_device_that_nvrtc_does_not_know_is_given_ptx() {
        let known = [75, 80, 86, 90];
        let of = |capability| architecture(&known, capability);
        assert_eq!(of(86).as_deref(), Some("sm_86"));
        assert_eq!(of(120).as_deref(), Some("compute_90"));
        assert_eq!(of(70), None);
        if nvrtc_is_there() {
            let source = "extern \"C\" __global__ void one(float* x) { x[0] = 1; }";
            let ptx = compiled("one", source, "compute_90").unwrap();
            let ptx = std::ffi::CStr::from_bytes_with_nul(&ptx).unwrap();
            let ptx = ptx.to_str().unwrap();
            assert!(ptx.contains(".entry one") && ptx.contains(".target sm_90"));
        }
    }

    #[test]
    fn an_nvrtc_that_is_newer_than_the_driver_is_told() {
        let text = too_new([13, 0], Some(12040)).unwrap();
        assert!(text.contains("CUDA 13.0") && text.contains("of CUDA 12.4: install"));
        assert_eq!(too_new([13, 0], Some(13000)), None);
        assert_eq!(too_new([12, 9], Some(13000)), None);
        assert_eq!(too_new([13, 0], None), None);
    }
}
