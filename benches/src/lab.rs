//! The surroundings of a step: the shipped plugins, a small set of synthetic images, and a session as a run has it.

use std::{path::PathBuf, sync::Arc};

use alambic::{
    artifact::{ImageFormat, ImageSet, RunFolder, Scaling},
    data::{Dataset, Inputs, Normalization, Split},
    engine::{Tensor, Value, precision::Precision},
    plugins::Registry,
    stages::{
        ComponentConfig, Session,
        networks::Network,
        teachers::{FIRST, Teachers},
        views::render,
    },
};
use anyhow::{Context, Result, anyhow, ensure};
use candle_core::Device;
use clap::ValueEnum;
use plugin_api::{
    rng::{Rng, StreamId},
    view::View,
};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// The shape of a set of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Classes.
    pub classes: usize,
    /// Pixels a side.
    pub side: usize,
}

impl Canvas {
    /// CIFAR-10's.
    pub const CIFAR10: Self = Self {
        classes: 10,
        side: 32,
    };
    /// Tiny-ImageNet's.
    pub const TINY_IMAGENET: Self = Self {
        classes: 200,
        side: 64,
    };
}

/// A network that benchmarks know by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetworkName {
    /// ResNet-18 with the stem for small images
    Resnet18,
    /// ResNet-18 with the stem for 224 pixels
    Resnet18Imagenet,
    /// ResNet-50 with the stem for 224 pixels
    Resnet50Imagenet,
    /// ConvNet-3 of width 128 with instance norm
    Convnet3,
    /// ConvNet-3 of width 128 with batch norm
    Convnet3Bn,
    /// ConvNet-4 of width 128 with instance norm
    Convnet4,
    /// ConvNet-4 of width 128 with batch norm
    Convnet4Bn,
}

impl NetworkName {
    /// The plugin and its options.
    pub fn config(self) -> ComponentConfig {
        let convnet = |depth: usize, norm: &str| {
            let params = json!({"depth": depth, "width": 128, "norm": norm});
            ComponentConfig::with("convnet", params)
        };
        let imagenet = |depth: usize| {
            ComponentConfig::with("resnet", json!({"depth": depth, "stem": "imagenet"}))
        };
        match self {
            Self::Resnet18Imagenet => imagenet(18),
            Self::Resnet50Imagenet => imagenet(50),
            Self::Resnet18 => {
                ComponentConfig::with("resnet", json!({"depth": 18, "stem": "small"}))
            }
            Self::Convnet3 => convnet(3, "instance"),
            Self::Convnet3Bn => convnet(3, "batch"),
            Self::Convnet4 => convnet(4, "instance"),
            Self::Convnet4Bn => convnet(4, "batch"),
        }
    }
}

/// A network by its name among [`NetworkName`]s, or any other component: `PLUGIN` or `PLUGIN:{"option": ..}`.
///
/// # Errors
/// When the options are no JSON object.
pub fn network_of(text: &str) -> Result<ComponentConfig> {
    if let Ok(name) = NetworkName::from_str(text, false) {
        return Ok(name.config());
    }
    let Some((plugin, options)) = text.split_once(':') else {
        return Ok(ComponentConfig::named(text));
    };
    let params: Json =
        serde_json::from_str(options).with_context(|| format!("options {options}"))?;
    ensure!(
        params.is_object(),
        "options {options}: expected a JSON object"
    );
    Ok(ComponentConfig::with(plugin, params))
}

/// Seed of images, weights and views.
pub const SEED: u64 = 0;
/// Mean and deviation of CIFAR-10, as SRe2L's CIFAR scripts have them.
const SCALING: Scaling = Scaling {
    mean: [0.4914, 0.4822, 0.4465],
    std: [0.2023, 0.1994, 0.2010],
};

/// The folder where `cargo build --release` puts plugins; benchmarks lie in `deps` below it.
///
/// # Errors
/// When the system does not say where this program lies.
pub fn plugin_folder() -> Result<PathBuf> {
    let program = std::env::current_exe().context("where this program lies")?;
    let own = program.parent().context("the folder of this program")?;
    Ok(if own.ends_with("deps") {
        own.parent().unwrap_or(own).to_owned()
    } else {
        own.to_owned()
    })
}

/// The plugins beside this program.
///
/// # Errors
/// When there are none.
pub fn plugins() -> Result<Registry> {
    let folder = plugin_folder()?;
    let registry = Registry::of_folders(std::slice::from_ref(&folder))?;
    ensure!(
        !registry.plugins().is_empty(),
        "no plugins in {}; make them with `cargo build --release`",
        folder.display()
    );
    Ok(registry)
}

/// What a session borrows.
pub struct Lab {
    registry: Registry,
    folder: RunFolder,
    images: Arc<Dataset>,
    set: ImageSet,
    device: Device,
    /// Holds the images' files for as long as they may be read.
    _files: TempDir,
}

impl Lab {
    /// Makes `count` synthetic images of uniform noise, the classes in turn.
    ///
    /// # Errors
    /// When they cannot be stored or read.
    pub fn new(registry: Registry, count: usize, canvas: Canvas) -> Result<Self> {
        let Canvas { classes, side } = canvas;
        let files = tempfile::tempdir()?;
        let mut rng = Rng::new(SEED, "bench", "pixels", StreamId::default());
        // Every class has an image, as a data set must.
        let count = count.max(classes);
        let set = ImageSet::new(
            side,
            (0..count * 3 * side * side)
                .map(|_| rng.below(256) as u8)
                .collect(),
            (0..count).map(|i| (i % classes) as u32).collect(),
            (0..classes).map(|c| format!("class{c}")).collect(),
        );
        let folder = files.path().join("set/images");
        set.save(&folder, ImageFormat::Png, SCALING)?;
        let config = serde_json::from_value(json!({
            "format": "imagefolder", "train": folder, "test": folder, "resolution": side,
        }))?;
        let images = Dataset::open(&config, Split::Train, files.path()).map_err(|faults| {
            let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
            anyhow!("the synthetic images: {}", all.join("; "))
        })?;
        Ok(Self {
            registry,
            folder: RunFolder::at(files.path().join("run")),
            images: Arc::new(images),
            set,
            device: Device::Cpu,
            _files: files,
        })
    }

    /// The same surroundings on another device than the CPU.
    pub fn on(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// The session of a run.
    pub fn session(&self) -> Session<'_> {
        Session {
            registry: &self.registry,
            folder: &self.folder,
            seed: SEED,
            device: self.device.clone(),
            precision: Precision::default(),
            checkpoint_secs: f64::INFINITY,
            train: &self.images,
            test: &self.images,
            inputs: Inputs::from(Normalization {
                mean: SCALING.mean,
                std: SCALING.std,
            }),
            share: None,
            team: None,
        }
    }

    /// The synthetic images, as bytes.
    pub fn set(&self) -> &ImageSet {
        &self.set
    }

    /// A network with fresh weights.
    ///
    /// # Errors
    /// When its plugin is missing.
    pub fn network(&self, session: &Session<'_>, network: &ComponentConfig) -> Result<Network> {
        let input = session.input();
        let mut network = Network::build(&self.registry, network, input, &session.device)?;
        network.init(SEED, 0, &session.device)?;
        Ok(network)
    }

    /// The same as the only teacher.
    ///
    /// # Errors
    /// When its plugin is missing.
    pub fn teachers(&self, session: &Session<'_>, network: &ComponentConfig) -> Result<Teachers> {
        let network = self.network(session, network)?;
        Ok(Teachers::new(vec![(FIRST.to_owned(), network)]))
    }

    /// The first `count` images, whole and normalised.
    ///
    /// # Shapes
    /// [count, 3, R, R]
    ///
    /// # Errors
    /// When there are fewer.
    pub fn batch(&self, session: &Session<'_>, count: usize) -> Result<Value> {
        ensure!(
            count <= self.set.len(),
            "a batch of {count} of {} images",
            self.set.len()
        );
        let views: Vec<View> = (0..count as u32)
            .map(|i| View::whole(i, self.set.resolution as u32))
            .collect();
        render(&self.set, &views, &session.inputs, &session.device)
    }
}

/// A constant of normal noise for benchmarks of single operations; `purpose` tells two of one shape apart.
///
/// # Errors
/// When it cannot be made.
pub fn noise(purpose: &str, dims: &[usize]) -> Result<Tensor> {
    let mut rng = Rng::new(SEED, "bench", purpose, StreamId::default());
    let count: usize = dims.iter().product();
    let data: Vec<f32> = (0..count).map(|_| rng.normal() as f32).collect();
    Ok(Tensor::from_vec(data, dims, &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_has_images_of_every_class_and_a_batch_of_them() {
        let lab = Lab::new(Registry::default(), 4, Canvas::CIFAR10).unwrap();
        let session = lab.session();
        assert_eq!(session.train.num_classes(), 10);
        assert_eq!(session.input().height, 32);
        let batch = lab.batch(&session, 4).unwrap();
        assert_eq!(batch.dims(), [4, 3, 32, 32]);
        assert!(lab.batch(&session, 10 + 1).is_err());
    }
}
