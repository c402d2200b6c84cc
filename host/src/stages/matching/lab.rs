//! The lab that the host lends to a matcher: real images of a class, networks, the augmentation.

use std::sync::Arc;

use candle_core::Device;
use plugin_api::{
    Error, ErrorKind, Result, Tensor as PluginTensor,
    architecture::ForeignArchitecture,
    matcher::{Lab, Network as PluginNetwork},
    rng::{Rng, StreamId},
    view::View,
};

use crate::{
    artifact::{Stage, Trajectories},
    data::{Dataset, Inputs},
    engine::Tensor,
    plugins::ops::{export, import, kind_of},
    stages::{
        ComponentConfig, Session,
        augment::{Augment, Key, Sharing, apply},
        networks::Network,
        views::render,
    },
};

/// Whose random numbers they are.
const STREAM: &str = Stage::Match.name();

/// Networks of matchers are drawn apart from teacher and students, which are members from 0 on.
const FIRST_MEMBER: u64 = 1 << 31;

/// The experts that a matcher may ask for.
pub enum Experts {
    /// None.
    Absent,
    /// Trajectories, and how many of them.
    Stored(Trajectories, u32),
    /// Fresh networks in their place, to try a step before they are trained.
    Untrained,
}

/// What all iterations share.
pub struct Bench {
    train: Arc<Dataset>,
    inputs: Inputs,
    device: Device,
    seed: u64,
    architecture: ForeignArchitecture,
    network: Network,
    augment: Augment,
    experts: Experts,
}

/// The lab of one iteration.
pub struct IterationLab {
    /// What all iterations share.
    pub bench: Arc<Bench>,
    /// The iteration.
    pub iteration: u64,
}

impl Bench {
    /// Builds the network and reads the strategy.
    ///
    /// # Errors
    /// When a plugin refuses its options, or the strategy has an unknown word.
    pub fn new(
        session: &Session<'_>,
        architecture: &ComponentConfig,
        augment: &str,
        experts: Experts,
    ) -> anyhow::Result<Self> {
        let (registry, params) = (session.registry, architecture.params());
        Ok(Self {
            train: Arc::clone(session.train),
            inputs: session.inputs.clone(),
            device: session.device.clone(),
            seed: session.seed,
            architecture: registry.create_architecture(&architecture.plugin, &params)?,
            network: Network::of(session, architecture)?,
            augment: Augment::parse(augment)?,
            experts,
        })
    }
}

fn told(error: anyhow::Error) -> Error {
    let kind = kind_of(error.as_ref(), ErrorKind::OTHER);
    Error::new(kind, format!("{error:#}"))
}

impl Lab for IterationLab {
    fn real(&self, class: u32, count: usize, draw: u64) -> Result<PluginTensor> {
        let bench = &self.bench;
        let own = bench.train.indices_of_class(class);
        plugin_api::ensure!(
            count <= own.len(),
            "got a request for {count} real images of class {class}, which has {}",
            own.len()
        );
        let id = StreamId {
            class,
            item: draw as u32,
            iteration: self.iteration as u32,
        };
        let order = Rng::new(bench.seed, STREAM, "real", id).permutation(own.len());
        let side = bench.train.resolution() as u32;
        let whole = |&i: &u32| View::whole(own[i as usize] as u32, side);
        let views: Vec<View> = order.iter().take(count).map(whole).collect();
        let images = render(&*bench.train, &views, &bench.inputs, &bench.device);
        Ok(export(Tensor::constant(images.map_err(told)?)))
    }

    fn augment(&self, images: &PluginTensor, each: bool, draw: u64) -> Result<PluginTensor> {
        let [n, _, height, width] = images.dims()?;
        let key = Key {
            seed: self.bench.seed,
            stage: STREAM,
            id: StreamId {
                class: draw as u32,
                item: 0,
                iteration: self.iteration as u32,
            },
        };
        let numbers: Vec<u32> = (0..n as u32).collect();
        let sharing = match each {
            true => Sharing::Each(&numbers),
            false => Sharing::Siamese,
        };
        let changes = self.bench.augment.draw(&key, sharing, [height, width]);
        let changed = apply(import(images)?, &changes);
        changed.map(export).map_err(told)
    }

    fn network(&self) -> Result<PluginNetwork> {
        let (module, spec) = self.bench.architecture.build(&self.bench.network.input())?;
        Ok(PluginNetwork { module, spec })
    }

    fn initial(&self, draw: u64) -> Result<Vec<PluginTensor>> {
        let member = (FIRST_MEMBER + draw) as u32;
        let values = self
            .bench
            .network
            .initial(self.bench.seed, member, &self.bench.device);
        let values = values.map_err(told)?.into_iter();
        Ok(values.map(|v| export(Tensor::constant(v))).collect())
    }

    fn expert(&self, expert: u64, epoch: u64) -> Result<Vec<PluginTensor>> {
        let bench = &self.bench;
        let (store, count) = match &bench.experts {
            Experts::Stored(store, count) => (store, count),
            Experts::Untrained => return self.initial(epoch),
            Experts::Absent => {
                plugin_api::bail!("this experiment has no experts; add a table [experts]")
            }
        };
        // Each round has its own order, so that all are used equally often.
        let id = StreamId {
            class: 0,
            item: 0,
            iteration: (expert / u64::from(*count)) as u32,
        };
        let order =
            Rng::new(bench.seed, STREAM, Stage::Experts.name(), id).permutation(*count as usize);
        let number = order[(expert % u64::from(*count)) as usize];
        let values = store.read(number, epoch, &bench.device);
        let mut state = values.map_err(told)?;
        let declared = bench.network.spec().params.iter();
        declared
            .map(|param| {
                let value = state.remove(&param.name);
                let fitting = value.filter(|v| v.dims() == param.shape);
                fitting.map(|v| export(Tensor::constant(v))).ok_or_else(|| {
                    let folder = store.folder().display();
                    let message = format!(
                        "expert {number} in {folder} has no parameter \"{}\" of shape {:?}",
                        param.name, param.shape
                    );
                    Error::msg(message)
                })
            })
            .collect()
    }
}
