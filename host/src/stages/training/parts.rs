//! A step on a batch in parts, each with BatchNorm statistics of its own or with those of all. Gradients are added in a fixed tree, so
//! that a step ends with the same bytes however many processes compute the parts.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use plugin_api::{Ctx, nn::BatchNormStatistics};

use crate::{
    engine::{Tensor, Value, backward_each},
    plugins::ops::{export, import},
    stages::{
        networks::{Network, plugin_error},
        team::{subtrees, sum},
    },
};

use super::{
    config::BatchNormScope,
    lockstep::in_lockstep,
    pass::{Batch, Passed, Training},
};

/// Gradients of the learned parameters; none where the loss does not depend on one.
pub(super) type Gradients = Vec<Option<Value>>;

/// A batch, its parts, and what is done with them.
pub(super) struct Parted<'a> {
    /// The training.
    pub training: &'a Training<'a>,
    /// The batch.
    pub batch: &'a Batch,
    /// Rows of its parts.
    pub parts: Vec<Range<usize>>,
    /// Where the training is.
    pub ctx: &'a Ctx,
}

/// What became of a part.
struct Made {
    /// Value of the loss.
    value: f64,
    statistics: Vec<BatchNormStatistics>,
    gradients: Gradients,
}

impl Parted<'_> {
    /// The parts that are computed here.
    fn own(&self) -> Range<usize> {
        match self.training.session.team {
            Some(team) => team.own(self.parts.len()),
            None => 0..self.parts.len(),
        }
    }

    /// Gives the loss and the gradients of the whole batch, and moves the running statistics; the loss alone where it is not finite.
    pub fn gradients(
        &self,
        network: &mut Network,
        inputs: &[Tensor],
    ) -> Result<(f64, Option<Gradients>)> {
        let (leaves, own) = (self.parts.len(), self.own());
        let mut told = Vec::new();
        let mut sums = Vec::new();
        let mut made = match self.scope() {
            BatchNormScope::Synchronised => {
                let network = &*network;
                let make = |part| self.made(part, network, inputs);
                in_lockstep(self.training.session, own.clone(), make)?
            }
            BatchNormScope::Local => Vec::new(),
        }
        .into_iter();
        for node in subtrees(leaves, &own) {
            let mut part = |node: &Range<usize>| {
                if node.len() > 1 {
                    return Ok(None);
                }
                let made = match made.next() {
                    Some(made) => made,
                    None => self.made(node.start, network, inputs)?,
                };
                told.push(Told::of(&made));
                Ok(Some(made.gradients))
            };
            sums.push(sum(node, &mut part, &added)?);
        }
        let told = self.all(told)?;
        let total = (self.parts.iter().zip(&told))
            .map(|(part, told)| self.share(part) * told.value)
            .sum::<f64>();
        if !total.is_finite() {
            return Ok((total, None));
        }
        self.move_statistics(network, &told)?;
        let Some(team) = self.training.session.team else {
            let whole = sums.pop().context("a batch without parts")?;
            return Ok((total, Some(whole)));
        };
        let learned: Vec<&[usize]> = {
            let params = network.spec().params.iter().filter(|p| p.trainable);
            params.map(|p| p.shape.as_slice()).collect()
        };
        let is_there = |i: usize| told.iter().any(|told| told.has_gradient[i]);
        let flat = Flat {
            shapes: (0..learned.len())
                .map(|i| is_there(i).then_some(learned[i]))
                .collect(),
        };
        let device = &self.training.session.device;
        let sums = sums
            .iter()
            .map(|sum| flat.joined(sum))
            .collect::<Result<_>>()?;
        let whole = team.sum(leaves, sums, flat.length(), device)?;
        Ok((total, Some(flat.cut(&whole)?)))
    }

    /// Whose statistics count: one part alone is the batch.
    fn scope(&self) -> BatchNormScope {
        match self.parts.len() {
            1 => BatchNormScope::Local,
            _ => self.training.config.batch_norm,
        }
    }

    fn share(&self, part: &Range<usize>) -> f64 {
        part.len() as f64 / self.batch.rows as f64
    }

    /// Loss, statistics and gradients of a part.
    fn made(&self, part: usize, network: &Network, inputs: &[Tensor]) -> Result<Made> {
        let rows = self.parts[part].clone();
        let before = self.parts[self.own().start].start;
        let Batch {
            images, targets, ..
        } = self.batch;
        let images = images.narrow(0, rows.start - before, rows.len())?;
        let targets = targets
            .narrow(rows.start, rows.len())
            .map_err(plugin_error)?;
        let passed = self
            .training
            .pass(network, inputs, &images, &targets, self.ctx)?;
        let Passed {
            loss,
            value,
            statistics,
        } = passed;
        let leaves: Vec<Tensor> = inputs.iter().filter(|x| x.is_tracked()).cloned().collect();
        let mut gradients = vec![None; leaves.len()];
        let loss = loss.affine(self.share(&rows), 0.)?;
        backward_each(loss, leaves, |leaf, gradient| {
            gradients[leaf] = Some(gradient.into_value());
            Ok(())
        })?;
        Ok(Made {
            value,
            statistics,
            gradients,
        })
    }

    /// What is told of all parts, in their order.
    fn all(&self, own: Vec<Told>) -> Result<Vec<Told>> {
        let Some(team) = self.training.session.team else {
            return Ok(own);
        };
        let lists = own.iter().map(Told::list).collect::<Result<Vec<_>>>()?;
        let all = team.gather_lists(&lists)?.into_iter();
        all.map(|list| Told::read(&list, self)).collect()
    }

    /// Part by part, or once where all have the same.
    fn move_statistics(&self, network: &mut Network, told: &[Told]) -> Result<()> {
        if self.scope().is_local() {
            return told
                .iter()
                .try_for_each(|told| network.update_running(&told.statistics));
        }
        let Some((first, others)) = told.split_first() else {
            return Ok(());
        };
        let mut whole = first.statistics.clone();
        for told in others {
            for (whole, other) in whole.iter_mut().zip(&told.statistics) {
                whole.count += other.count;
            }
        }
        network.update_running(&whole)
    }
}

/// The sum of two lists of gradients.
fn added(a: Gradients, b: Gradients) -> Result<Gradients> {
    let pairs = a.into_iter().zip(b);
    let sums = pairs.map(|pair| match pair {
        (Some(a), Some(b)) => {
            let sum = Tensor::constant(a).add(&Tensor::constant(b))?;
            Ok(Some(sum.into_value()))
        }
        (None, None) => Ok(None),
        _ => bail!("the loss depends on a parameter in some parts of a batch and not in others"),
    });
    sums.collect()
}

/// What all processes need to know of a part.
struct Told {
    value: f64,
    has_gradient: Vec<bool>,
    statistics: Vec<BatchNormStatistics>,
}

impl Told {
    fn of(made: &Made) -> Self {
        Self {
            value: made.value,
            has_gradient: made.gradients.iter().map(Option::is_some).collect(),
            statistics: made.statistics.clone(),
        }
    }

    /// As numbers: the loss, the gradients that are there, and each norm's number, count, channels, means and variances.
    fn list(&self) -> Result<Vec<f64>> {
        let mut list = vec![self.value, self.has_gradient.len() as f64];
        list.extend(self.has_gradient.iter().map(|is| f64::from(u8::from(*is))));
        for of in &self.statistics {
            let [mean, var] = [&of.mean, &of.var].map(|statistic| -> Result<Vec<f64>> {
                Ok(import(statistic).map_err(plugin_error)?.to_f64_vec()?)
            });
            let (mean, var) = (mean?, var?);
            list.extend([of.index, of.count, mean.len()].map(|n| n as f64));
            list.extend(mean.into_iter().chain(var));
        }
        Ok(list)
    }

    fn read(list: &[f64], parted: &Parted<'_>) -> Result<Self> {
        let device = &parted.training.session.device;
        let mut left = list;
        let mut take = |count: usize| -> Result<Option<&[f64]>> {
            if left.is_empty() {
                return Ok(None);
            }
            ensure!(
                count <= left.len(),
                "what another process told ends too early"
            );
            let (taken, rest) = left.split_at(count);
            left = rest;
            Ok(Some(taken))
        };
        let (value, count) = match take(2)? {
            Some(&[value, count]) => (value, count as usize),
            _ => bail!("another process told nothing"),
        };
        let has_gradient = take(count)?.unwrap_or_default();
        let has_gradient = has_gradient.iter().map(|is| *is > 0.).collect();
        let mut statistics = Vec::new();
        while let Some(head) = take(3)? {
            let (index, count, channels) = (head[0] as usize, head[1] as usize, head[2] as usize);
            let mut vector = || -> Result<plugin_api::Tensor> {
                let numbers = take(channels)?.unwrap_or_default();
                let numbers: Vec<f32> = numbers.iter().map(|n| *n as f32).collect();
                let value = Value::from_vec(numbers, channels, device)?;
                Ok(export(Tensor::constant(value)))
            };
            statistics.push(BatchNormStatistics {
                index,
                mean: vector()?,
                var: vector()?,
                count,
            });
        }
        Ok(Self {
            value,
            has_gradient,
            statistics,
        })
    }
}

/// Gradients one after the other as one vector; those that no part has take no place.
struct Flat<'a> {
    shapes: Vec<Option<&'a [usize]>>,
}

impl Flat<'_> {
    fn length(&self) -> usize {
        let shapes = self.shapes.iter().flatten();
        shapes.map(|shape| shape.iter().product::<usize>()).sum()
    }

    fn joined(&self, gradients: &Gradients) -> Result<Value> {
        let pairs = self.shapes.iter().zip(gradients);
        let vectors = pairs.filter_map(|(shape, gradient)| Some(((*shape)?, gradient)));
        let vectors = vectors.map(|(shape, gradient)| match gradient {
            Some(gradient) => Ok(gradient.flatten_all()?),
            None => bail!(
                "the loss depends on a parameter of shape {shape:?} in some parts of a batch and not in others"
            ),
        });
        Ok(Value::cat(&vectors.collect::<Result<Vec<_>>>()?, 0)?)
    }

    fn cut(&self, whole: &Value) -> Result<Gradients> {
        let mut start = 0;
        let cut = self.shapes.iter().map(|shape| {
            let Some(shape) = *shape else {
                return Ok(None);
            };
            let count = shape.iter().product();
            let gradient = whole.narrow(0, start, count)?.reshape(shape)?;
            start += count;
            Ok(Some(gradient))
        });
        cut.collect()
    }
}
