//! How a test opens the shared library that lends the host's tensors: a file with a preamble and a root of its own, as plugins have.

use std::path::Path;

use abi_stable::library::RawLibrary;

use super::{
    ArgsBuf, Error, ErrorKind, HeaderRef, MAGIC, Method, Preamble, Tensor, check_layout, open_root,
};

const PREAMBLE_SYMBOL: &[u8] = b"ALAMBIC_TENSORS";
const ROOT_SYMBOL: &[u8] = b"ALAMBIC_TENSORS_ROOT";

/// Opens the library and borrows an f64 scalar; the file stays open.
pub(crate) fn open_lender(path: &Path) -> Result<Tensor, Error> {
    let unfit = |why: &str| Error::new(ErrorKind::UNSUPPORTED, why);
    let library = RawLibrary::load_at(path)?;
    // SAFETY: a static of this layout under this name; its magic is checked before anything else.
    let preamble = unsafe { library.get::<*const Preamble>(PREAMBLE_SYMBOL) }
        .map_err(|_| unfit("it lends no tensors"))?;
    // SAFETY: the address of a static of a library that is open.
    let preamble: &Preamble = unsafe { &**preamble };
    if preamble.magic != MAGIC {
        return Err(unfit("it lends no tensors"));
    }
    // SAFETY: what has this preamble has a header of this type under this name.
    let header =
        unsafe { library.get::<HeaderRef>(ROOT_SYMBOL) }.map_err(|_| unfit("it has no root"))?;
    let header: HeaderRef = *header;
    check_layout(header, preamble).map_err(|fault| {
        let [major, minor] = preamble.api;
        unfit(&format!("plugin API {major}.{minor}: {}", fault.summary))
    })?;
    // From here on tensors and tables of functions point into the library.
    std::mem::forget(library);
    // SAFETY: the layouts were just compared.
    let root = unsafe { open_root(header) }?;
    let entries = root.entries();
    let entry = entries.first().ok_or_else(|| unfit("it is empty"))?;
    let lender = entry.create()("{}".into()).into_result()?;
    let mut reply = lender.call(Method::LEND, &ArgsBuf::new())?;
    reply.take_tensor("scalar")
}
