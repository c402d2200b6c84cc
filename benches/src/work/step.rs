//! A step, and how large it is.

use alambic::stages::ComponentConfig;
use anyhow::Result;

use crate::lab::Canvas;

/// How large a step is.
#[derive(Clone, Debug)]
pub struct Size {
    /// The network.
    pub network: ComponentConfig,
    /// The images.
    pub canvas: Canvas,
    /// Images per batch; in gradient matching, real images.
    pub batch: usize,
    /// Synthetic images in gradient matching.
    pub synthetic: usize,
}

impl Size {
    /// Images that a lab must have.
    pub fn images(&self) -> usize {
        self.batch.max(self.synthetic)
    }
}

/// Does a step and gives its loss, or another number that hangs on all of the work.
pub type Step<'a> = dyn FnMut() -> Result<f64> + 'a;

/// What is handed a step.
pub type Body<'a> = dyn FnMut(&mut Step<'_>) -> Result<()> + 'a;
