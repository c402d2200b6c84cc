//! What a plugin file exports: a plain preamble that any host can read, and the root that lists its components.

#![allow(missing_docs)] // the derive makes undocumented accessors; the fields are documented

use abi_stable::{
    StableAbi,
    library::{AbiHeaderRef, CheckTypeLayout, LibHeader, RootModule, RootModuleResult},
    prefix_type::PrefixTypeTrait,
    sabi_types::VersionStrings,
    std_types::{RResult, RSlice, RStr, RString},
};

use super::{Error, HostVTable_Ref, RComponent};

/// The version of this plugin API: major, minor. Plugins and hosts of one major understand each other.
pub const API_VERSION: [u32; 2] = [
    if cfg!(feature = "test-other-major") {
        2
    } else {
        1
    },
    if cfg!(feature = "test-older") {
        0
    } else if cfg!(feature = "test-newer") {
        5
    } else {
        4
    },
];

/// The first bytes of every preamble.
pub const MAGIC: [u8; 8] = *b"ALAMBIC\x01";

/// The symbol of the preamble.
pub const PREAMBLE_SYMBOL: &str = "ALAMBIC_PLUGIN";

/// The symbol of the root.
pub const ROOT_SYMBOL: &str = "ALAMBIC_PLUGIN_ROOT";

/// The first thing that a host reads: plain C, and it never changes.
#[repr(C)]
pub struct Preamble {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// The plugin's [`API_VERSION`].
    pub api: [u32; 2],
    /// NUL-terminated.
    pub plugin_name: [u8; 64],
    /// NUL-terminated.
    pub plugin_version: [u8; 32],
    /// The oldest compiler that plugin-api supports, NUL-terminated; for messages.
    pub rustc: [u8; 64],
}

/// The preamble of a plugin.
pub const fn plugin_preamble(name: &str, version: &str) -> Preamble {
    Preamble {
        magic: MAGIC,
        api: API_VERSION,
        plugin_name: fixed(name),
        plugin_version: fixed(version),
        rustc: fixed(env!("CARGO_PKG_RUST_VERSION")),
    }
}

/// A text as NUL-terminated bytes, cut where it does not fit.
pub const fn fixed<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    let mut out = [0; N];
    let mut i = 0;
    while i < bytes.len() && i < N - 1 {
        out[i] = bytes[i];
        i += 1;
    }
    out
}

/// A kind of component: an open set, so that later versions can append kinds.
#[repr(transparent)]
#[derive(StableAbi, Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Kind(pub u32);

macro_rules! kinds {
    ($($(#[$doc:meta])* $KIND:ident = $number:literal, $name:literal;)*) => {
        impl Kind {
            $($(#[$doc])*
            pub const $KIND: Self = Self($number);)*

            /// The kinds of this version, in the order in which they are listed.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$KIND),*];

            /// The kind's name in messages and on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$KIND => $name,)*
                    _ => "component of a newer version",
                }
            }
        }
    };
}

kinds! {
    /// A loss on logits.
    LOSS = 1, "loss";
    /// A penalty on images or statistics.
    REGULARIZER = 2, "regularizer";
    /// A network.
    ARCHITECTURE = 3, "architecture";
    /// A way to make, store and read labels.
    RELABELER = 4, "relabeler";
    /// A distance between training on synthetic and on real images; since 1.1.
    MATCHER = 5, "matcher";
    /// A choice of real images to start from; since 1.3.
    SELECTOR = 6, "selector";
    /// What happens to images under way between two iterations; since 1.3.
    CANVAS = 7, "canvas";
}

/// One component of a plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = Entry_Ref, prefix_fields = Entry_Prefix)))]
#[sabi(missing_field(panic))]
pub struct Entry {
    pub kind: Kind,
    pub name: RStr<'static>,
    pub description: RStr<'static>,
    /// The JSON schema of its options.
    pub schema: extern "C" fn() -> RResult<RString, Error>,
    /// Makes one from its options (JSON).
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(RStr<'_>) -> RResult<RComponent, Error>,
}

/// All components of a plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = Root_Ref, prefix_fields = Root_Prefix)))]
#[sabi(missing_field(panic))]
pub struct Root {
    pub name: RStr<'static>,
    pub version: RStr<'static>,
    pub description: RStr<'static>,
    /// Never called: puts the host's table under the layout check.
    pub host_table: extern "C" fn(HostVTable_Ref),
    #[sabi(last_prefix_field)]
    pub entries: RSlice<'static, Entry_Ref>,
}

impl RootModule for Root_Ref {
    abi_stable::declare_root_module_statics! {Root_Ref}
    const BASE_NAME: &'static str = "alambic_plugin";
    const NAME: &'static str = "alambic plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}

/// The header that [`ROOT_SYMBOL`] names.
pub type RootHeader = LibHeader;
/// A reference to a header whose own version was not checked yet.
pub type HeaderRef = AbiHeaderRef;
/// What the root's constructor gives.
pub type RootResult = RootModuleResult;

/// The header of a plugin, from its root's constructor.
pub const fn root_header(constructor: extern "C" fn() -> RootResult) -> RootHeader {
    // SAFETY: the constructor is made by `export_plugin!`, which gives a `Root_Ref`.
    unsafe { LibHeader::from_constructor::<Root_Ref>(constructor, CheckTypeLayout::Yes) }
}

/// Runs the root's constructor behind abi_stable's own checks.
pub fn root_result(make: fn() -> Root_Ref) -> RootResult {
    abi_stable::library::__call_root_module_loader(make)
}

extern "C" fn host_table(_: HostVTable_Ref) {}

/// One component's entry.
pub fn entry(
    kind: Kind,
    name: &'static str,
    description: &'static str,
    schema: extern "C" fn() -> RResult<RString, Error>,
    create: extern "C" fn(RStr<'_>) -> RResult<RComponent, Error>,
) -> Entry {
    Entry {
        kind,
        name: name.into(),
        description: description.into(),
        schema,
        create,
    }
}

/// The root of a plugin; called once, when it is loaded.
pub fn make_root(
    name: &'static str,
    version: &'static str,
    description: &'static str,
    entries: Vec<Entry>,
) -> Root_Ref {
    let entries: Vec<Entry_Ref> = entries
        .into_iter()
        .map(PrefixTypeTrait::leak_into_prefix)
        .collect();
    let root = Root {
        name: name.into(),
        version: version.into(),
        description: description.into(),
        host_table,
        entries: RSlice::from_slice(entries.leak()),
    };
    root.leak_into_prefix()
}
