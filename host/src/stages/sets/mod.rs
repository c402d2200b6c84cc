//! Sets of images that are distilled, labelled and trained on.

pub mod exact;
mod origin;

pub use exact::ExactImages;
pub use origin::{
    DISTILLED, FULL_DATA, HARD, INIT_ONLY, Init, LEARNED, MATCHED, Order, Origin, PlainInit,
    RANDOM_REAL, SELECTED_REAL, Selected, UNAUGMENTED, load, made, random_real, real_order,
};
