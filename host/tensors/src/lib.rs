//! The host's tensors as a shared library: what `plugin_api::testing` opens, so that a plugin's tests run on the operations that its
//! users run, across the real boundary.

use alambic::plugins::export;
use alambic_engine::Tensor;
use candle_core::{DType, Device};
use plugin_api::{
    Error, ErrorKind,
    abi::{
        Args, Kind, Method, RComponent, RResult, RStr, RString, RawComponent, Reply, entry, fence,
    },
};

struct Lender;

impl RawComponent for Lender {
    fn call(&self, method: Method, _args: &Args<'_>) -> RResult<Reply, Error> {
        fence("lending a tensor", || {
            if method != Method::LEND {
                let message = format!("unknown method #{}", method.0);
                return Err(Error::new(ErrorKind::UNSUPPORTED, message));
            }
            let mut reply = Reply::new();
            let scalar = Tensor::zeros(&[], DType::F64, &Device::Cpu)?;
            reply.tensor("scalar", export(scalar));
            Ok(reply)
        })
    }
}

extern "C" fn schema() -> RResult<RString, Error> {
    RResult::ROk("{}".into())
}

extern "C" fn create(_options: RStr<'_>) -> RResult<RComponent, Error> {
    RResult::ROk(RComponent::new(Lender))
}

plugin_api::__export!(
    ALAMBIC_TENSORS,
    ALAMBIC_TENSORS_ROOT,
    [entry(
        Kind(0),
        "tensors",
        "tensors for tests",
        schema,
        create
    )]
);
