//! Sets of images that are distilled, labelled and trained on.

pub mod exact;
mod origin;

pub use exact::ExactImages;
pub use origin::{
    DISTILLED, FULL_DATA, HARD, INIT_ONLY, Init, LEARNED, MATCHED, Origin, RANDOM_REAL,
    UNAUGMENTED, load, made, real_order,
};
