//! A teacher at work in recover, and the regularizers that look at it.

use anyhow::{Context, Result};
use plugin_api::{
    Ctx, Curve,
    nn::LayerKind,
    regularizer::{BatchNormInput, ForeignRegularizer, Regularizer, RegularizerInput},
    tensor::BatchNormMode,
};

use crate::{
    engine::Tensor,
    plugins::ops::export,
    stages::{
        Session,
        networks::{Forward, Network},
    },
};

use super::config::Config;

/// A regularizer of one teacher.
pub struct Term {
    /// Its name in logs and states.
    pub name: String,
    /// Its weight in the loss.
    pub weight: Curve,
    /// It, with what it keeps for this teacher.
    pub regularizer: ForeignRegularizer,
}

/// A teacher, and the regularizers that look at it.
pub struct Member<'a> {
    network: &'a Network,
    frozen: Vec<Tensor>,
    /// Layers whose inputs a regularizer asks for.
    layers: Vec<LayerKind>,
    /// The regularizers.
    pub terms: Vec<Term>,
}

/// Images that a teacher sees: which classes they are of, and their numbers within them.
#[derive(Clone, Copy)]
pub struct Labelled<'a> {
    /// Their classes.
    pub labels: &'a [u32],
    /// Their numbers within their classes.
    pub numbers: &'a [u32],
}

impl<'a> Member<'a> {
    pub fn new(session: &Session<'_>, config: &Config, network: &'a Network) -> Result<Self> {
        let named = config.regularizers.iter().zip(config.term_names());
        let terms = named.map(|(regularizer, name)| {
            let component = regularizer.component();
            let (plugin, params) = (&component.plugin, component.params());
            Ok(Term {
                name,
                weight: regularizer.weight,
                regularizer: session.registry.create_regularizer(plugin, &params)?,
            })
        });
        let terms: Vec<Term> = terms.collect::<Result<_>>()?;
        let asked = |kind: &LayerKind| {
            let mut needs = terms.iter().map(|term| term.regularizer.needs());
            needs.any(|needs| needs.layers.contains(kind))
        };
        let frozen = network.values().iter().cloned();
        Ok(Self {
            network,
            frozen: frozen.map(Tensor::constant).collect(),
            layers: LayerKind::ALL.into_iter().filter(asked).collect(),
            terms,
        })
    }

    /// Shows `view` of `canvas` to the teacher, and gives `f` what a regularizer is handed of it.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn show<R>(
        &self,
        [view, canvas]: [&Tensor; 2],
        images: Labelled<'_>,
        ctx: &Ctx,
        f: impl FnOnce(&RegularizerInput<'_>) -> Result<R>,
    ) -> Result<R> {
        let (network, mode) = (self.network, BatchNormMode::RECOVER);
        let forward = network.forward_recording(&self.frozen, view, mode, &self.layers, ctx)?;
        let batch_norms = batch_norm_inputs(network, &forward)?;
        f(&RegularizerInput {
            view: &export(view.clone()),
            canvas: &export(canvas.clone()),
            batch_norms: &batch_norms,
            features: &forward.taps,
            logits: &forward.logits,
            labels: images.labels,
            images: images.numbers,
            layers: &forward.layers,
            ctx,
        })
    }
}

/// The statistics of a pass, with the teacher's running ones.
fn batch_norm_inputs(teacher: &Network, forward: &Forward) -> Result<Vec<BatchNormInput>> {
    let running = |at: usize| export(Tensor::constant(teacher.values()[at].clone()));
    let inputs = forward.statistics.iter().map(|s| {
        let norm = teacher
            .spec()
            .batch_norms
            .get(s.index)
            .context("a statistic of an undeclared BatchNorm")?;
        Ok(BatchNormInput {
            name: norm.name.clone(),
            mean: s.mean.clone(),
            var: s.var.clone(),
            running_mean: running(norm.running_mean),
            running_var: running(norm.running_var),
        })
    });
    inputs.collect()
}
