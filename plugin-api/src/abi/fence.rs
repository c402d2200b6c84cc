//! The panic fence: each shared library has its own copy of the standard library, so a panic must be caught on the side
//! where it starts.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use abi_stable::std_types::{RErr, RResult};

use super::{Error, ErrorKind};

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    /// How many fences this thread is behind.
    static FENCES: Cell<u32> = const { Cell::new(0) };
}

/// Keeps this library's caught panics off stderr and remembers where they happened, for the error message.
///
/// A panic outside of every fence (a failed assertion of a test, say) is reported as before.
pub fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if FENCES.get() == 0 {
                return report(info);
            }
            let place = info
                .location()
                .map(|l| format!("{}:{}", l.file(), l.line()));
            PLACE.with(|p| *p.borrow_mut() = place);
        }));
    });
}

/// Runs `f`; a panic becomes an error of [`ErrorKind::PANIC`] that names `what`.
///
/// # Errors
/// Those of `f`, and its panic.
pub fn caught<T>(what: &str, f: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    FENCES.set(FENCES.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(f));
    FENCES.set(FENCES.get() - 1);
    result.unwrap_or_else(|payload| Err(panic_error(what, payload)))
}

/// [`caught`] for a function that crosses the boundary.
pub fn fence<T>(what: &str, f: impl FnOnce() -> Result<T, Error>) -> RResult<T, Error> {
    match caught(what, f) {
        Ok(value) => RResult::ROk(value),
        Err(error) => RErr(error),
    }
}

fn panic_error(what: &str, payload: Box<dyn Any + Send>) -> Error {
    let message = match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a payload that is not a string".to_owned(),
    };
    // A payload whose own Drop panics must not unwind from here.
    std::mem::forget(payload);
    let place = PLACE.with(|p| p.borrow_mut().take());
    let place = place.map(|p| format!(" at {p}")).unwrap_or_default();
    Error::new(
        ErrorKind::PANIC,
        format!("{what} panicked{place}: {message}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let error = caught::<()>("loss \"x\"", || panic!("index {} out of bounds", 7)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PANIC);
        assert!(error.to_string().contains("loss \"x\" panicked"), "{error}");
        assert!(
            error.to_string().contains("index 7 out of bounds"),
            "{error}"
        );
    }
}
