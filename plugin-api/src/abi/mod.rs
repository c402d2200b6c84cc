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

impl Method {
    /// Any kind: the state to checkpoint.
    pub const SAVE: Self = Self(1);
    /// Any kind: takes a state back.
    pub const LOAD: Self = Self(2);
    /// Any kind: what it needs from the network, as JSON.
    pub const NEEDS: Self = Self(3);
    /// Losses, regularizers, matchers and modules: the forward computation.
    pub const FORWARD: Self = Self(10);
    /// Regularizers: learns from a batch of real images.
    pub const OBSERVE: Self = Self(11);
    /// Regularizers: what was learned from real images.
    pub const REFERENCE: Self = Self(12);
    /// Regularizers: takes back what was learned from real images.
    pub const REFER_TO: Self = Self(13);
    /// Architectures: declares parameters and gives a module.
    pub const BUILD: Self = Self(20);
    /// Relabelers: how many epochs of labels are made and how they are found again.
    pub const LAYOUT: Self = Self(30);
    /// Relabelers: the views that the teachers label.
    pub const PLAN: Self = Self(31);
    /// Relabelers: logits to records.
    pub const ENCODE: Self = Self(32);
    /// Relabelers: the views that the student trains on.
    pub const TRAIN_VIEWS: Self = Self(33);
    /// Relabelers: records to targets.
    pub const DECODE: Self = Self(34);
    /// The lab of matchers: real images of a class.
    pub const LAB_REAL: Self = Self(40);
    /// The lab of matchers: images under the experiment's augmentation.
    pub const LAB_AUGMENT: Self = Self(41);
    /// The lab of matchers: the network, without parameters.
    pub const LAB_NETWORK: Self = Self(42);
    /// The lab of matchers: initial parameters.
    pub const LAB_INITIAL: Self = Self(43);
    /// The lab of matchers: parameters of an expert.
    pub const LAB_EXPERT: Self = Self(44);
    /// Kernels of a plugin's own: the gradients of the inputs.
    pub const KERNEL_BACKWARD: Self = Self(50);
    /// Kernels of a plugin's own: CUDA source and launches.
    pub const KERNEL_CUDA: Self = Self(51);
    /// The library that lends tensors to tests: an f64 scalar on the CPU, beside which others are made.
    pub const LEND: Self = Self(60);
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
