//! A built network: what it answers in each mode, and its derivatives.

use super::{
    finite,
    gradient::{slopes, squared_gradient},
};
use crate::{
    Context as _, Ctx, Result, Tensor,
    architecture::{ForeignModule, Module},
    ensure, grad,
    nn::{ModuleSpec, Params},
    tensor::BatchNormMode,
};

/// Images per batch.
pub(super) const IMAGES: usize = 2;

/// A network with parameters and weights for its logits.
pub(super) struct Network {
    pub(super) module: ForeignModule,
    pub(super) spec: ModuleSpec,
    pub(super) params: Vec<Tensor>,
    pub(super) weights: Tensor,
    pub(super) ctx: Ctx,
}

impl Network {
    fn logits(&self, params: &[Tensor], x: &Tensor, mode: BatchNormMode) -> Result<Tensor> {
        self.module
            .forward(&Params::new(params.to_vec(), mode), x, &self.ctx)
    }

    /// A scalar to which each logit contributes with its own weight.
    fn scalar(&self, params: &[Tensor], x: &Tensor, mode: BatchNormMode) -> Result<Tensor> {
        (self.logits(params, x, mode)? * &self.weights)?.sum_all()
    }

    /// Indices of the parameters that are learned.
    fn learned(&self) -> Vec<usize> {
        let specs = &self.spec.params;
        (0..specs.len()).filter(|&i| specs[i].trainable).collect()
    }

    /// Logits, features and statistics in one mode.
    pub(super) fn check_mode(&self, x: &Tensor, mode: BatchNormMode) -> Result<()> {
        let params = Params::new(self.params.clone(), mode);
        let logits = self.module.forward(&params, x, &self.ctx)?;
        let expected = self.weights.shape();
        ensure!(
            logits.shape() == expected,
            "expected logits of shape {expected:?}, got {:?}",
            logits.shape()
        );
        finite(&logits).context("logits")?;
        let (taps, statistics) = params.into_report();
        let named: Vec<_> = taps
            .iter()
            .filter(|(name, _)| name == "embedding")
            .collect();
        let [(_, embedding)] = named.as_slice() else {
            crate::bail!(
                "it taps \"embedding\" {} times, expected once: params.tap(\"embedding\", &x) before the classifier",
                named.len()
            );
        };
        ensure!(
            embedding.rank() == 2 && embedding.dim(0)? == IMAGES,
            "expected an embedding of shape [{IMAGES}, features], got {:?}",
            embedding.shape()
        );
        let mut reported: Vec<usize> = statistics.iter().map(|s| s.index).collect();
        reported.sort_unstable();
        let declared = if mode == BatchNormMode::EVAL {
            0
        } else {
            self.spec.batch_norms.len()
        };
        ensure!(
            reported.iter().copied().eq(0..declared),
            "statistics of the BatchNorms {reported:?} are reported, expected each of {declared} once; \
             each BatchNorm must be used once in a forward pass"
        );
        for s in &statistics {
            let norm = &self.spec.batch_norms[s.index];
            let channels = &self.spec.params[norm.running_mean].shape;
            ensure!(
                &s.mean.shape() == channels && &s.var.shape() == channels,
                "statistics of \"{}\" have shapes {:?} and {:?}, expected {channels:?}",
                norm.name,
                s.mean.shape(),
                s.var.shape()
            );
            finite(&s.mean)
                .and_then(|()| finite(&s.var))
                .with_context(|| format!("statistics of \"{}\"", norm.name))?;
        }
        Ok(())
    }

    /// That an image has the same logits alone and in a batch.
    pub(super) fn check_batch_independence(&self, x: &Tensor, tolerance: f64) -> Result<()> {
        let together = self.logits(&self.params, x, BatchNormMode::EVAL)?;
        for image in 0..IMAGES {
            let alone = self.logits(&self.params, &x.narrow(0, image, 1)?, BatchNormMode::EVAL)?;
            let expected = together.narrow(0, image, 1)?;
            let distance = (&alone - &expected)?.norm_all()?.to_scalar()?;
            let scale = expected.norm_all()?.to_scalar()?.max(1.);
            let same = distance <= tolerance * scale;
            ensure!(
                same,
                "the logits of image {image} alone and in a batch differ by {distance:.3e}; images must be independent of each other"
            );
        }
        Ok(())
    }

    /// That every learned parameter has a gradient in train mode.
    pub(super) fn check_all_used(&self, x: &Tensor) -> Result<()> {
        let learned = self.learned();
        let mut params = self.params.clone();
        for &i in &learned {
            params[i] = params[i].leaf()?;
        }
        let value = self.scalar(&params, x, BatchNormMode::TRAIN)?;
        let targets: Vec<&Tensor> = learned.iter().map(|&i| &params[i]).collect();
        for (&i, gradient) in learned.iter().zip(grad(&value, &targets, false)?) {
            let name = &self.spec.params[i].name;
            let Some(gradient) = gradient else {
                crate::bail!("parameter \"{name}\" is declared but the logits do not depend on it")
            };
            finite(&gradient).with_context(|| format!("gradient of \"{name}\""))?;
        }
        Ok(())
    }

    /// First order for the images and some parameters; then, of the squared gradient with respect to the images.
    pub(super) fn check_gradients(&self, x: &Tensor, tolerance: f64) -> Result<()> {
        let learned = self.learned();
        let mut chosen = vec![
            learned[0],
            learned[learned.len() / 2],
            learned[learned.len() - 1],
        ];
        chosen.dedup();
        let mut inputs = vec![("the images".to_owned(), x.clone())];
        inputs.extend(chosen.iter().map(|&i| {
            (
                format!("parameter \"{}\"", self.spec.params[i].name),
                self.params[i].clone(),
            )
        }));
        let scalar = |x: &[Tensor]| {
            let mut params = self.params.clone();
            for (&i, param) in chosen.iter().zip(&x[1..]) {
                params[i] = param.clone();
            }
            self.scalar(&params, &x[0], BatchNormMode::EVAL)
        };
        let largest = slopes(&scalar, &inputs, tolerance, 4)?;
        let depends = largest[0] > 0.;
        ensure!(depends, "the logits do not depend on the images");
        let squared = |x: &[Tensor]| squared_gradient(&scalar, x, 1);
        // Differences of a gradient lose some of its digits.
        slopes(&squared, &inputs, 10. * tolerance, 2)
            .context("second derivative")
            .map(|_| ())
    }
}
