//! Batches of views of images that do not lie on the GPU: the next one is decoded and rendered on the CPU while the GPU works on the
//! one at hand, and travels there.
//!
//! On the CPU, and where the GPU has the images and renders their views, batches are rendered when they are asked for.

use std::{borrow::Cow, ops::Range, panic, thread};

use anyhow::{Context, Result};
use candle_core::Device;
use plugin_api::view::View;

use crate::{
    data::Inputs,
    engine::{
        Value,
        error::is_out_of_memory,
        gpu::{Gpu, upload::Room},
    },
};

use super::{
    images::Images,
    render::{on_gpu, pixels, render},
};

/// Views that are asked for batch by batch.
pub struct Batches<'a> {
    views: Cow<'a, [View]>,
    inputs: &'a Inputs,
    device: &'a Device,
    /// Normalised views on the device.
    ahead: Option<(Range<usize>, Result<Value>)>,
}

impl<'a> Batches<'a> {
    /// Batches of `views` for networks on `device`.
    pub fn new(views: impl Into<Cow<'a, [View]>>, inputs: &'a Inputs, device: &'a Device) -> Self {
        Self {
            views: views.into(),
            inputs,
            device,
            ahead: None,
        }
    }

    /// All of the views.
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// The views of some rows as a network is given them, as [`render`] makes them.
    ///
    /// # Shapes
    /// [rows, 3, R, R]
    ///
    /// # Errors
    /// When an image cannot be decoded.
    pub fn take(&mut self, images: &dyn Images, rows: Range<usize>) -> Result<Value> {
        // Other rows than those that were made give their memory back first.
        match self.ahead.take().filter(|(made, _)| *made == rows) {
            Some((_, views)) => self.inputs.of_normalised(views?),
            None => render(images, &self.views[rows], self.inputs, self.device),
        }
    }

    /// Does `work` on the batch at hand while the views of the `next` rows are made, where that helps. What goes wrong with those is
    /// told when they are asked for.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn beside<T>(
        &mut self,
        images: &dyn Images,
        next: Range<usize>,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        // The pool's only thread would wait for a helper that waits for it.
        let alone = rayon::current_thread_index().is_some() && rayon::current_num_threads() < 2;
        let idle = Gpu::at(self.device).is_none() || next.is_empty() || alone;
        let (views, normalization) = (&self.views[next.clone()], &self.inputs.normalization);
        if idle || on_gpu(images, views, self.device)?.is_some() {
            return work();
        }
        let side = images.resolution();
        let room = match Room::new([views.len(), 3, side, side], self.device) {
            // The step may do with the memory that there is.
            Err(error) if is_out_of_memory(&error) => return work(),
            room => room?,
        };
        let make = || Ok(room.fill(pixels(images, views, normalization)?)?);
        thread::scope(|scope| {
            let helper = thread::Builder::new()
                .name("views".to_owned())
                .spawn_scoped(scope, make)
                .context("cannot start the thread that renders views")?;
            let done = work();
            let made = helper
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic));
            self.ahead = Some((next, made));
            done
        })
    }
}

#[cfg(test)]
#[path = "ahead_test.rs"]
mod tests;
