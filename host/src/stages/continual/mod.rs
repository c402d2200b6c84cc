//! Continual: classes arrive step by step, and after each step fresh students train on a memory of all classes seen so far (GDumb,
//! Prabhu et al., ECCV 2020; DM; SRe2L, section 3.7).

mod config;
mod memory;
mod order;
mod run;

pub use config::{Budget, Config, Distill};
pub use memory::{Arrival, places};
pub use order::ClassOrder;
pub use run::{Upstream, run};
