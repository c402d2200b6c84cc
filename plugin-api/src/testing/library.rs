//! Finds the host's tensors: `libalambic_tensors.so`, which lies beside the `alambic` program.

use std::{
    env,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::{
    Tensor,
    abi::open_lender,
    contract::{TENSORS_FILE as FILE, TENSORS_VARIABLE as VARIABLE},
};

/// An f64 scalar of the host.
///
/// # Panics
/// When there is no library, or none that fits; the message says how to get one.
pub(super) fn scalar() -> Tensor {
    static SCALAR: OnceLock<Result<Tensor, String>> = OnceLock::new();
    let scalar = SCALAR.get_or_init(|| {
        let path = found(env::var_os(VARIABLE), env::current_exe().ok().as_deref())?;
        open_lender(&path).map_err(|e| format!("{}: {e}", path.display()))
    });
    match scalar {
        Ok(scalar) => scalar.clone(),
        Err(why) => panic!("{why}"),
    }
}

/// The file that the variable names, or the one beside the test program or in the folder above: a workspace builds it there.
fn found(named: Option<std::ffi::OsString>, program: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(named) = named {
        return Ok(named.into());
    }
    let beside = program
        .into_iter()
        .flat_map(|p| p.ancestors().skip(1).take(2));
    beside.map(|folder| folder.join(FILE)).find(|path| path.is_file()).ok_or_else(|| {
        format!(
            "no tensors to test on: run `alambic plugin test`, or set {VARIABLE} to the {FILE} beside the alambic program \
             (in its own workspace: cargo build -p alambic-tensors)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_by_name_or_beside_the_test() {
        let folder = env::temp_dir().join(format!("alambic-tensors-{}", std::process::id()));
        let program = folder.join("deps/test");
        std::fs::create_dir_all(folder.join("deps")).unwrap();
        let missing = found(None, Some(&program)).unwrap_err();
        assert!(
            missing.starts_with("no tensors to test on: run `alambic plugin test`"),
            "{missing}"
        );
        assert_eq!(missing.lines().count(), 1);
        std::fs::write(folder.join(FILE), "").unwrap();
        assert_eq!(found(None, Some(&program)).unwrap(), folder.join(FILE));
        assert_eq!(
            found(Some("x.so".into()), Some(&program)).unwrap(),
            Path::new("x.so")
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_lends_nothing_is_refused() {
        let error = open_lender(Path::new("/no/such/file"))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("/no/such/file"), "{error}");
    }
}
