//! Plugins: finding, opening and checking their files, making components by name, and lending them the engine's tensors.

pub mod check;
mod elf;
pub mod loader;
pub mod names;
pub mod ops;
pub mod registry;
pub mod scaffold;
pub mod schema;
mod search;

pub use loader::LoadError;
pub use ops::{export, import};
pub use registry::{
    BrokenPlugin, Component, CreateError, LookupError, ParamFault, Plugin, Registry,
};
pub use search::SearchError;
