//! Calls into libraries that read foreign files: a panic over damaged data becomes an error.

use plugin_api::abi::{caught, silence_panics};

/// What `f` gives; a panic in it is not printed, but becomes an error that says who panicked.
///
/// `f` must not hand its work to other threads: their panics are reported as before.
///
/// # Errors
/// Those of `f`, and its panic.
pub fn fenced<T>(who: &str, f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    silence_panics();
    match caught(who, || Ok(f())) {
        Ok(result) => result,
        Err(panic) => Err(format!("it is damaged: {panic}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_errors_pass() {
        let panicking = || -> Result<u8, String> { panic!("index {} out of bounds", 7) };
        let error = fenced("the reader", panicking).unwrap_err();
        assert!(
            error.starts_with("it is damaged: the reader panicked at "),
            "{error}"
        );
        assert!(error.ends_with("index 7 out of bounds"), "{error}");
        assert_eq!(fenced("the reader", || Ok(7)), Ok(7));
        let own = || -> Result<u8, String> { Err("no".to_owned()) };
        assert_eq!(fenced("the reader", own), Err("no".to_owned()));
    }
}
