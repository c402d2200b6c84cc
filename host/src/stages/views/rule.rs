//! Rules of views that several stages have.

use plugin_api::view::{ColorRule, CropRule, MixRule, ViewRule};

/// Images as they are.
pub fn whole(batch_size: u32) -> ViewRule {
    ViewRule {
        crop: CropRule::None,
        flip: 0.,
        mix: MixRule::None,
        batch_size,
        color_jitter: ColorRule::NONE,
    }
}

/// The usual probability of a mirrored view.
pub fn half() -> f64 {
    0.5
}
