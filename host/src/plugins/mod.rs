//! Plugins: finding, opening and checking their files, making components by name, and lending them the engine's tensors.

pub mod check;
mod component;
pub mod elf;
mod load_error;
pub mod loader;
pub mod names;
pub mod ops;
pub mod probe;
pub mod registry;
pub mod scaffold;
pub mod schema;
mod search;
mod sound;

pub use component::{Component, CreateError, LookupError, Plugin};
pub use load_error::{LoadError, LoadFault};
pub use ops::{export, import};
pub use probe::Prober;
pub use registry::{ParamFault, Registry};
pub use search::{SearchError, installed_folder};
