//! What trainings read: views of images and their targets.

pub mod dataset;
pub mod labels;
pub mod targets;

use std::ops::Range;

use anyhow::Result;
use plugin_api::{Ctx, loss::Targets, view::View};

use crate::engine::Value;

use super::views::Images;

/// What a network trains on.
pub trait Feed {
    /// The views of an epoch, in their order.
    ///
    /// # Errors
    /// When they cannot be read or drawn.
    fn views(&mut self, epoch: u32) -> Result<Vec<View>>;

    /// Targets of some of those views; `rows` is their place in the epoch.
    ///
    /// # Errors
    /// When they cannot be read.
    fn targets(
        &mut self,
        epoch: u32,
        views: &[View],
        rows: Range<usize>,
        ctx: &Ctx,
    ) -> Result<Targets>;

    /// What happens to the rendered images of some views, `row` the place of the first of them in the epoch; nothing unless a feed says
    /// otherwise.
    ///
    /// # Errors
    /// When an operation fails.
    fn augment(&self, images: Value, _epoch: u32, _views: &[View], _row: usize) -> Result<Value> {
        Ok(images)
    }

    /// The images that the views are of.
    fn images(&self) -> &dyn Images;
}
