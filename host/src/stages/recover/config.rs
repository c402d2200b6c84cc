//! `[recover]`: how images are distilled. The defaults are those of SRe2L's ImageNet-1K script (`recover/recover.sh`).

use anyhow::Result;
use plugin_api::{Curve, abi::Kind, view::CropRule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    artifact::{ImageFormat, RunFolder, Stage},
    data::{Fault, Rounding},
    engine::{
        optim::{OptimizerConfig, ScheduleConfig, config::AdamConfig, schedule::CosineConfig},
        precision::Precision,
    },
    stages::{
        Around, ComponentConfig, Identity, Table,
        component::WeightedComponent,
        frames::choice::{self, FRAMES},
        half, keyed,
        limits::{BATCH, ITERATIONS, PER_CLASS},
        n,
        sets::{Init, Order, Origin},
        teachers::{Per, RecoverChoice},
        without,
    },
};

pub use super::tables::{By, HookConfig, Reference, ResolutionConfig};

/// Which state of the images to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The last, like SRe2L's code, although its flag is called `--store-best-images`
    #[default]
    Last,
    /// The one after the step with the smallest total loss of its batch
    Best,
}

/// What shares the random choices of an iteration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One crop, flip and roll for the whole batch, as in SRe2L
    #[default]
    Batch,
    /// One crop and flip for each image, one roll for the whole batch
    Crop,
    /// One for each image
    Image,
}

/// Offsets of a roll.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Roll {
    /// Smallest offset along each axis, in pixels
    #[serde(default)]
    #[schemars(range(min = -65_536, max = 65_536))]
    pub min: i32,
    /// End of the offsets along each axis, in pixels, exclusive; equal to `min` for no roll
    #[serde(default)]
    #[schemars(range(min = -65_536, max = 65_536))]
    pub end: i32,
}

/// How images are distilled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Images per class
    #[schemars(range(min = 1, max = PER_CLASS))]
    pub images_per_class: u32,
    /// Steps of gradient descent for each batch; 0 leaves the real images that it starts from as they are
    #[serde(default = "n::<4000, u64>")]
    #[schemars(range(max = ITERATIONS))]
    pub iterations: u64,
    /// Images optimised together
    #[serde(default = "n::<100, u32>")]
    #[schemars(range(min = 1, max = BATCH))]
    pub batch_size: u32,
    /// Which images share a batch
    #[serde(default, skip_serializing_if = "Order::is_default")]
    pub batch_order: Order,
    /// Precision of the layers: f32, bf16 (a GPU, or a CPU with AVX512-BF16), or tf32 (a GPU)
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// Which teachers serve, and when
    #[serde(default, skip_serializing_if = "is_default")]
    pub teachers: RecoverChoice,
    /// Real images from which regularizers that ask for them learn
    #[serde(default, skip_serializing_if = "Reference::is_default")]
    pub reference: Reference,
    /// Optimizer for the pixels
    #[serde(default = "optimizer")]
    pub optimizer: OptimizerConfig,
    /// Learning rate over the iterations
    #[serde(default = "schedule")]
    pub schedule: ScheduleConfig,
    /// Classification loss on the view
    #[serde(default = "ComponentConfig::cross_entropy")]
    pub loss: ComponentConfig,
    /// Penalties and their weights
    #[serde(default = "regularizers")]
    pub regularizers: Vec<WeightedComponent>,
    /// What the images start from
    #[serde(default)]
    pub init: Init,
    /// Crop that the network sees; the gradient reaches the whole canvas
    #[serde(default = "CropRule::random_resized")]
    pub crop: CropRule,
    /// Lower bound of the scale of random-resized crops over the iterations, in place of the one in `crop` (CDA's curriculum)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop_from: Option<Curve>,
    /// What happens to the images between two iterations, in this order
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookConfig>,
    /// Resolutions of the images one after the other, which together have as many iterations as `iterations` says; the data's
    /// throughout by default. At each change the images are resized and the optimizer begins anew
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolutions: Vec<ResolutionConfig>,
    /// Probability of mirroring a view
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// Cyclic shift of the view after crop and flip
    #[serde(default = "roll")]
    pub roll: Roll,
    /// What shares one crop, flip and roll
    #[serde(default)]
    pub scope: Scope,
    /// After each step, clamp every channel to the range of real pixels
    #[serde(default = "yes")]
    pub clamp: bool,
    /// Which state of the images is kept
    #[serde(default)]
    pub keep: Keep,
    /// How the images are stored
    #[serde(default)]
    pub format: ImageFormat,
    /// How values are rounded to bytes
    #[serde(default)]
    pub quantization: Rounding,
    /// Also store the images as floats
    #[serde(default)]
    pub keep_float: bool,
    /// States of a few images that are kept on the way, the first and the last included, early ones close together; they change no result
    #[serde(default, skip_serializing_if = "choice::is_off")]
    #[schemars(range(max = FRAMES))]
    pub frames: u32,
    /// Iterations between log lines
    #[serde(default = "n::<50, u64>")]
    #[schemars(range(min = 1, max = ITERATIONS))]
    pub log_every: u64,
}

fn is_default(choice: &RecoverChoice) -> bool {
    *choice == RecoverChoice::default()
}
fn yes() -> bool {
    true
}
fn optimizer() -> OptimizerConfig {
    OptimizerConfig::Adam(AdamConfig {
        lr: 0.25,
        betas: [0.5, 0.9],
        ..AdamConfig::default()
    })
}
fn schedule() -> ScheduleConfig {
    ScheduleConfig::Cosine(CosineConfig::default())
}
fn roll() -> Roll {
    Roll { min: 0, end: 33 }
}
fn regularizers() -> Vec<WeightedComponent> {
    let ComponentConfig { plugin, params } = ComponentConfig::named("bn-stats");
    vec![WeightedComponent {
        plugin,
        params,
        weight: 0.01.into(),
    }]
}

impl Config {
    /// What the images start from and how they are stored.
    pub fn origin(&self) -> Origin {
        Origin {
            stage: Stage::Recover,
            images_per_class: self.images_per_class,
            order: self.batch_order,
            init: self.init.clone(),
            format: self.format,
            quantization: self.quantization,
        }
    }

    /// Pixels a side at an iteration, where they are not the data's throughout.
    pub fn resolution_at(&self, iteration: u64) -> Option<usize> {
        let mut end = 0;
        let stage = self.resolutions.iter().find(|stage| {
            end += stage.iterations;
            iteration < end
        });
        stage.map(|stage| stage.resolution as usize)
    }

    /// What is wrong for data of so many pixels a side.
    pub fn faults_at(&self, side: usize) -> Vec<Fault> {
        let frames = choice::size_fault(Stage::Recover, self.frames, self.iterations, side);
        self.resolution_fault(side)
            .into_iter()
            .chain(frames)
            .collect()
    }

    fn resolution_fault(&self, side: usize) -> Option<Fault> {
        let last = self.resolutions.last()?.resolution as usize;
        let sum: u64 = self.resolutions.iter().map(|stage| stage.iterations).sum();
        let message = match () {
            () if sum != self.iterations => {
                format!(
                    "got {sum} iterations in all, expected recover.iterations = {}",
                    self.iterations
                )
            }
            () if last != side => format!("ends with {last} px, expected data.resolution = {side}"),
            () => return None,
        };
        Some(Fault::new("recover.resolutions", message))
    }

    /// How crops are drawn at an iteration.
    pub fn crop_at(&self, iteration: u64) -> CropRule {
        match (self.crop, &self.crop_from) {
            (
                CropRule::RandomResized {
                    scale: [_, to],
                    ratio,
                },
                Some(curve),
            ) => {
                let from = curve.at(iteration, self.iterations);
                CropRule::RandomResized {
                    scale: [from, to],
                    ratio,
                }
            }
            (crop, _) => crop,
        }
    }

    /// Names of the regularizers' terms in logs and reports, each once.
    pub fn term_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for regularizer in &self.regularizers {
            let base = regularizer.plugin.clone();
            let same = names
                .iter()
                .filter(|n| **n == base || n.starts_with(&format!("{base}-")))
                .count();
            names.push(if same == 0 {
                base
            } else {
                format!("{base}-{}", same + 1)
            });
        }
        names
    }

    /// What to say where one teacher serves images of one number, but batches mix numbers.
    pub fn mixed_numbers(&self, classes: usize) -> Option<Fault> {
        let size = self.batch_size as usize;
        let across = self.batch_order == Order::Across;
        let mixes = self.teachers.per == Per::Image && !(across && classes.is_multiple_of(size));
        mixes.then(|| {
            let message = format!(
                "with teachers.per = \"image\" expected batches across classes and a divisor of the {classes} classes, got {size}"
            );
            Fault::new("recover.batch_size", message)
        })
    }

    /// What is wrong with the numbers.
    pub fn faults(&self) -> Vec<Fault> {
        let optimizer = keyed("recover.optimizer".to_owned(), self.optimizer.faults());
        let schedule = keyed("recover.schedule".to_owned(), self.schedule.faults());
        let frames = choice::fault(Stage::Recover, self.frames, self.iterations);
        let mut faults: Vec<Fault> = optimizer.chain(schedule).chain(frames).collect();
        let mut add =
            |key: &str, message: String| faults.push(Fault::new(format!("recover.{key}"), message));
        for (key, crop) in [
            ("crop", &self.crop),
            ("reference.crop", &self.reference.crop),
        ] {
            if let Some(message) = crop.fault() {
                add(key, message);
            }
        }
        if let Some(curve) = &self.crop_from {
            let fault = match self.crop {
                CropRule::RandomResized { scale: [_, to], .. } => {
                    let expected = format!("a number above 0 and up to {to}, crop's upper bound");
                    curve.fault(|from| from > 0. && from <= to, &expected)
                }
                _ => Some("only for random-resized crops".to_owned()),
            };
            if let Some(message) = fault {
                add("crop_from", message);
            }
        }
        if self.iterations == 0 && !self.init.is_real() {
            add(
                "iterations",
                "got 0, expected at least 1 for images that start from noise".into(),
            );
        }
        if self.roll.end < self.roll.min {
            add(
                "roll",
                format!(
                    "got min {} and end {}, expected min <= end",
                    self.roll.min, self.roll.end
                ),
            );
        }
        for (i, regularizer) in self.regularizers.iter().enumerate() {
            if let Some(message) = regularizer.weight.fault(f64::is_finite, "a finite number") {
                add(&format!("regularizers[{i}].weight"), message);
            }
        }
        faults
    }
}

impl Table for Config {
    fn identity(&self, _: &Around<'_>) -> Result<Identity> {
        let regularizers = self.regularizers.iter();
        let regularizers = regularizers.map(|r| (Kind::REGULARIZER, r.component()));
        let mut components = vec![(Kind::LOSS, self.loss.clone())];
        components.extend(regularizers);
        let hooks = self.hooks.iter();
        components.extend(hooks.map(|hook| (Kind::CANVAS, hook.component())));
        let selected = self.init.selected();
        components.extend(selected.map(|s| (Kind::SELECTOR, s.component())));
        Ok(Identity {
            table: without(json!(self), &["log_every", "frames"]),
            components,
            ..Identity::default()
        })
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn unkept(&self, folder: &RunFolder) -> Result<Option<String>> {
        let path = folder.stage(Stage::Recover).frames();
        choice::unkept(Stage::Recover, &path, self.frames, self.iterations)
    }

    fn batch_size(&self) -> Option<u32> {
        Some(self.batch_size)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // `random.randint(0, args.jitter)` of the authors, whose scripts set 32, includes both ends.
    #[test]
    fn the_roll_of_the_authors_includes_its_last_offset() {
        let config: Config = serde_json::from_value(json!({"images_per_class": 1})).unwrap();
        assert_eq!((config.roll.min, config.roll.end), (0, 33));
    }
}
