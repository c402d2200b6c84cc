"""Changes the vendored sources of two dependencies for a build without an NVIDIA toolkit at run time.

    python3 patch_sources.py FOLDER     # FOLDER is what `cargo vendor --versioned-dirs` filled

cudarc: candle asks it to link NVIDIA's libraries, and a program so linked does not start where they are missing. Here they are
opened when they are first used, which is what lets `device = "auto"` fall back to the CPU.

candle-kernels: the kernels for quantised and mixture-of-experts models are left out. They take most of the compiler's time and
nothing here calls them; each of their entry points says so if something does.
"""

import glob
import json
import os
import re
import sys


def only(folder, name):
    """The vendored folder of a package."""
    found = glob.glob(f"{folder}/{name}-[0-9]*")
    if len(found) != 1:
        sys.exit(f"expected one version of {name} in {folder}, found {found}")
    return found[0]


def edit(path, *changes):
    """Replaces texts that must be there, each once."""
    with open(path) as file:
        text = file.read()
    for before, after in changes:
        if before not in text:
            sys.exit(f"{path}: expected to find {before!r}")
        text = text.replace(before, after, 1)
    with open(path, "w") as file:
        file.write(text)


def allow_changes(package):
    """Keeps the checksum of the package, which Cargo.lock names, and drops those of its files."""
    path = f"{package}/.cargo-checksum.json"
    with open(path) as file:
        sums = json.load(file)
    sums["files"] = {}
    with open(path, "w") as file:
        json.dump(sums, file)


def open_libraries_late(package):
    both = (
        '    #[cfg(all(feature = "dynamic-loading", feature = "dynamic-linking"))]\n'
        '    panic!("Both `dynamic-loading` and `dynamic-linking` features are active, this is a bug");\n'
    )
    linked = '    #[cfg(feature = "dynamic-linking")]\n    dynamic_linking(major, minor);\n'
    edit(f"{package}/Cargo.toml", ("dynamic-linking = []", 'dynamic-linking = ["dynamic-loading"]'))
    edit(f"{package}/build.rs", (both, ""), (linked, ""))
    allow_changes(package)


def leave_out_quantised(package):
    path = f"{package}/build.rs"
    edit(path, ('"mmq_*.cu"]', '"mmq_*.cu", "quantized.cu"]'))
    with open(path) as file:
        text = file.read()
    start = text.index("    let mut moe_sources")
    end = text.index("    Ok(())", start)
    absent = (
        "    use std::io::Write;\n"
        "    let mut out = std::fs::OpenOptions::new().append(true).open(&ptx_path).unwrap();\n"
        '    writeln!(out, "pub const QUANTIZED: &str = \\"\\";").unwrap();\n'
    )
    text = text[:start] + absent + text[end:]
    text = text.replace('const CUTILE_FEATURE: &str = "CARGO_FEATURE_CUTILE";\n', "", 1)
    with open(path, "w") as file:
        file.write(text)
    with open(f"{package}/src/ffi.rs") as file:
        names = sorted(set(re.findall(r"pub fn (\w+)", file.read())))
    with open(f"{package}/src/absent.rs", "w") as file:
        file.write("//! Entry points of the kernels that this build leaves out.\n")
        for name in names:
            body = f'panic!("{name}: built without quantised kernels")'
            file.write(f'#[no_mangle]\nunsafe extern "C" fn {name}() {{ {body} }}\n')
    with open(f"{package}/src/lib.rs", "a") as file:
        file.write("\n#[allow(clashing_extern_declarations)]\nmod absent;\n")
    allow_changes(package)


if __name__ == "__main__":
    folder = os.path.abspath(sys.argv[1])
    open_libraries_late(only(folder, "cudarc"))
    leave_out_quantised(only(folder, "candle-kernels"))
