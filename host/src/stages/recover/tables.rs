//! Tables inside of `[recover]`: the pass of real images, hooks, resolutions.

use plugin_api::view::CropRule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::stages::{
    ComponentConfig,
    limits::{BATCH, ITERATIONS, PER_CLASS},
};

/// Which images share a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Those of one class
    #[default]
    Class,
    /// One of each class after the other
    Mixed,
}

/// Real images from which regularizers that ask for them learn, once for each teacher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reference {
    /// Images of each class, drawn; all by default
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = PER_CLASS))]
    pub images_per_class: Option<u32>,
    /// Images per batch
    #[schemars(range(min = 1, max = BATCH))]
    pub batch_size: u32,
    /// Which images share a batch
    pub by: By,
    /// Crops of the images
    pub crop: CropRule,
    /// Probability of mirroring an image
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
}

impl Default for Reference {
    fn default() -> Self {
        Self {
            images_per_class: None,
            batch_size: 100,
            by: By::Class,
            crop: CropRule::None,
            flip: 0.,
        }
    }
}

impl Reference {
    /// Whether nothing was said of it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A canvas hook, and how often it is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookConfig {
    /// Name of the component, or `plugin::component` if two plugins have one of that name
    pub plugin: String,
    /// Options of the component (see `alambic plugin show`)
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Json>,
    /// Iterations from one call to the next, the first before the first iteration
    #[schemars(range(min = 1, max = ITERATIONS))]
    pub every: u64,
}

impl HookConfig {
    /// The component.
    pub fn component(&self) -> ComponentConfig {
        ComponentConfig {
            plugin: self.plugin.clone(),
            params: self.params.clone(),
        }
    }
}

/// Iterations at a resolution of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolutionConfig {
    /// How many iterations
    #[schemars(range(min = 1, max = ITERATIONS))]
    pub iterations: u64,
    /// Pixels a side
    #[schemars(range(min = 1, max = 4096))]
    pub resolution: u32,
}
