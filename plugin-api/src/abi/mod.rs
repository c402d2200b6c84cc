//! Everything that crosses the boundary, and the only module that names `abi_stable`.
//!
//! Plugin authors never look in here. The layout is small on purpose: an opaque tensor handle with a table of host functions,
//! one object type ([`RComponent`]) with one method, and bags of named values ([`Args`], [`Reply`]). What a loss or a
//! relabeler is handed is decided by names, not by layout, so new kinds, methods and fields never change it.

#![allow(non_camel_case_types, non_local_definitions)] // what the derives of abi_stable generate

mod args;
mod error;
mod export;
mod fence;
mod host;
mod layout;
#[cfg(feature = "testing")]
mod lender;

pub use abi_stable::std_types::{RResult, RSlice, RSliceMut, RStr, RString, RVec};
pub use args::{Args, ArgsBuf, Reply};
pub use error::{Error, ErrorKind};
pub use export::{
    API_VERSION, Entry, Entry_Ref, HeaderRef, Kind, MAGIC, PREAMBLE_SYMBOL, Preamble, ROOT_SYMBOL,
    Root, Root_Ref, RootHeader, RootResult, entry, fixed, make_root, plugin_preamble, root_header,
    root_result,
};
pub use fence::{caught, fence, silence_panics};
pub use host::{Attrs, DType, HostVTable, HostVTable_Ref, RawTensor, Tensor, make_vtable};
pub use layout::{LayoutFault, check_layout, open_root};
#[cfg(feature = "testing")]
pub(crate) use lender::open_lender;

use abi_stable::{StableAbi, sabi_trait, sabi_trait::TD_Opaque, std_types::RBox};

/// A method of a component: an open set of numbers, listed beside the kind that they belong to.
#[repr(transparent)]
#[derive(StableAbi, Copy, Clone, PartialEq, Eq, Debug)]
pub struct Method(pub u32);

macro_rules! methods {
    ($($(#[$doc:meta])* $METHOD:ident = $number:literal, $name:literal;)*) => {
        impl Method {
            $($(#[$doc])*
            pub const $METHOD: Self = Self($number);)*

            /// The method's name in messages.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$METHOD => $name,)*
                    _ => "method of a newer version",
                }
            }
        }
    };
}

methods! {
    /// Any kind: the state to checkpoint.
    SAVE = 1, "save";
    /// Any kind: takes a state back.
    LOAD = 2, "load";
    /// Any kind: what it needs from the network, as JSON.
    NEEDS = 3, "needs";
    /// Losses, regularizers, matchers and modules: the forward computation.
    FORWARD = 10, "forward";
    /// Regularizers: learns from a batch of real images.
    OBSERVE = 11, "observe";
    /// Regularizers: what was learned from real images.
    REFERENCE = 12, "reference";
    /// Regularizers: takes back what was learned from real images.
    REFER_TO = 13, "refer_to";
    /// Architectures: declares parameters and gives a module.
    BUILD = 20, "build";
    /// Relabelers: how many epochs of labels are made and how they are found again.
    LAYOUT = 30, "layout";
    /// Relabelers: the views that the teachers label.
    PLAN = 31, "plan";
    /// Relabelers: logits to records.
    ENCODE = 32, "encode";
    /// Relabelers: the views that the student trains on.
    TRAIN_VIEWS = 33, "train_views";
    /// Relabelers: records to targets.
    DECODE = 34, "decode";
    /// The lab of matchers: real images of a class.
    LAB_REAL = 40, "lab_real";
    /// The lab of matchers: images under the experiment's augmentation.
    LAB_AUGMENT = 41, "lab_augment";
    /// The lab of matchers: the network, without parameters.
    LAB_NETWORK = 42, "lab_network";
    /// The lab of matchers: initial parameters.
    LAB_INITIAL = 43, "lab_initial";
    /// The lab of matchers: parameters of an expert.
    LAB_EXPERT = 44, "lab_expert";
    /// Kernels of a plugin's own: the gradients of the inputs.
    KERNEL_BACKWARD = 50, "kernel_backward";
    /// Kernels of a plugin's own: CUDA source and launches.
    KERNEL_CUDA = 51, "kernel_cuda";
    /// The library that lends tensors to tests: an f64 scalar on the CPU, beside which others are made.
    LEND = 60, "lend";
}

/// The one method that every object on either side of the boundary has.
#[sabi_trait]
pub trait RawComponent: Send + Sync + 'static {
    /// Does `method` on named values.
    #[sabi(last_prefix_field)]
    fn call(&self, method: Method, args: &Args<'_>) -> RResult<Reply, Error>;
}

/// An owned object of the other side.
#[repr(transparent)]
#[derive(StableAbi)]
pub struct RComponent(RawComponent_TO<RBox<()>>);

impl RComponent {
    /// Wraps an object of this side.
    pub fn new(object: impl RawComponent) -> Self {
        RComponent(RawComponent_TO::from_value(object, TD_Opaque))
    }

    /// Calls `method`.
    ///
    /// # Errors
    /// Whatever the object answers; [`ErrorKind::UNSUPPORTED`] for a method that it does not know.
    pub fn call(&self, method: Method, args: &ArgsBuf<'_>) -> Result<Reply, Error> {
        args.lend(|args| self.0.call(method, args).into_result())
    }
}
