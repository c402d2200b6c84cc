//! Relabel: soft labels for crops of a set, by the teacher (SRe2L, section 3.3; FKD, Shen and Xing, ECCV 2022).

mod config;
mod labeller;
mod run;

pub use config::{Config, TeacherMode};
pub use labeller::Labeller;
pub use run::{run, shard_passes, told_as};
