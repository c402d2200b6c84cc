//! Sets of images that are distilled, labelled and trained on.

pub mod exact;
mod named;
mod origin;

pub use exact::ExactImages;
pub use named::{
    DISTILLED, FULL_DATA, HARD, INIT_ONLY, LEARNED, MATCHED, RANDOM_REAL, UNAUGMENTED, load, made,
};
pub use origin::{Init, Origin, real_order};
