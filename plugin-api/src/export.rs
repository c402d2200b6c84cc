//! [`export_plugin!`](crate::export_plugin): the one line that makes a crate a plugin.

/// Exports the components of a plugin: `kind "name": Type = "description"`, kinds `loss`, `regularizer`, `architecture`,
/// `relabeler`, `matcher`, `selector` and `canvas`.
///
/// ```ignore
/// export_plugin! {
///     loss "focal": Focal = "focal cross-entropy",
/// }
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($($kind:ident $name:literal : $type:ty = $description:literal),+ $(,)?) => {
        $crate::__export!(
            ALAMBIC_PLUGIN, ALAMBIC_PLUGIN_ROOT,
            [$($crate::__entry!($kind $name, $type, $description)),+]
        );
    };
}

/// The statics of a shared library that the other side opens: its preamble and its root.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($preamble:ident, $root:ident, [$($entry:expr),+]) => {
        const _: () = {
            #[cfg(panic = "abort")]
            ::core::compile_error!("a plugin must be built with panic = \"unwind\": its panics become errors of the host");

            #[unsafe(no_mangle)]
            pub static $preamble: $crate::abi::Preamble =
                $crate::abi::plugin_preamble(::core::env!("CARGO_PKG_NAME"), ::core::env!("CARGO_PKG_VERSION"));

            fn root() -> $crate::abi::Root_Ref {
                $crate::abi::make_root(
                    ::core::env!("CARGO_PKG_NAME"),
                    ::core::env!("CARGO_PKG_VERSION"),
                    ::core::env!("CARGO_PKG_DESCRIPTION"),
                    ::std::vec![$($entry),+],
                )
            }

            extern "C" fn constructor() -> $crate::abi::RootResult {
                $crate::abi::root_result(root)
            }

            #[unsafe(no_mangle)]
            pub static $root: $crate::abi::RootHeader = $crate::abi::root_header(constructor);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __entry {
    (loss $name:literal, $type:ty, $description:literal) => {
        $crate::__entry!(@ LOSS, loss, "loss", $name, $type, $description)
    };
    (regularizer $name:literal, $type:ty, $description:literal) => {
        $crate::__entry!(@ REGULARIZER, regularizer, "regularizer", $name, $type, $description)
    };
    (architecture $name:literal, $type:ty, $description:literal) => {
        $crate::__entry!(@ ARCHITECTURE, architecture, "architecture", $name, $type, $description)
    };
    (relabeler $name:literal, $type:ty, $description:literal) => {
        $crate::__entry!(@ RELABELER, relabeler, "relabeler", $name, $type, $description)
    };
    (matcher $name:literal, $type:ty, $description:literal) => {
        $crate::__entry!(@ MATCHER, matcher, "matcher", $name, $type, $description)
    };
    (selector $name:literal, $type:ty, $description:literal) => {
        $crate::__entry!(@ SELECTOR, selector, "selector", $name, $type, $description)
    };
    (canvas $name:literal, $type:ty, $description:literal) => {
        $crate::__entry!(@ CANVAS, canvas, "canvas", $name, $type, $description)
    };
    ($kind:ident $name:literal, $type:ty, $description:literal) => {
        ::core::compile_error!(::core::concat!(
            "unknown kind of component `", ::core::stringify!($kind),
            "` (have: loss, regularizer, architecture, relabeler, matcher, selector, canvas)"
        ))
    };
    (@ $KIND:ident, $module:ident, $kind:literal, $name:literal, $type:ty, $description:literal) => {{
        extern "C" fn schema() -> $crate::abi::RResult<$crate::abi::RString, $crate::Error> {
            $crate::component::schema_json::<$type>()
        }
        extern "C" fn create(
            options: $crate::abi::RStr<'_>,
        ) -> $crate::abi::RResult<$crate::abi::RComponent, $crate::Error> {
            const WHAT: &str = ::core::concat!($kind, " \"", $name, "\"");
            $crate::component::create::<$type>(options, WHAT, $crate::$module::serve::<$type>)
        }
        $crate::abi::entry($crate::abi::Kind::$KIND, $name, $description, schema, create)
    }};
}
