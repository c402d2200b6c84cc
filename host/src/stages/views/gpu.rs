//! Views of a set whose pixels lie on a GPU, rendered there.

use anyhow::Result;
use plugin_api::view::View;

use crate::{
    data::Normalization,
    engine::{
        Value,
        gpu::{
            Gpu,
            views::{ViewNumbers, render},
        },
    },
};

/// The views, normalised.
///
/// # Errors
/// When a view is of no image of the set, or the device has no room.
pub(super) fn rendered(
    (gpu, images): (Gpu, &Value),
    views: &[View],
    normalization: &Normalization,
) -> Result<Value> {
    let numbers: Vec<ViewNumbers> = views.iter().map(View::to_row).collect();
    let scaling = [normalization.mean, normalization.std];
    let colors = View::to_color_rows(views);
    Ok(render(&gpu, images, &numbers, colors, scaling)?)
}
