//! Optimizers with PyTorch's semantics, one fused pass a tensor, and learning-rate schedules.

pub mod config;
mod kernel;
pub mod schedule;

use std::sync::Arc;

use candle_core::{DType, Device};

use super::error::{Error, Result, ensure};
use super::gpu::{Gpu, holdings::Holding};
use super::profile;
use super::value::Value;
pub use config::OptimizerConfig;
pub use schedule::ScheduleConfig;

/// A parameter optimizer: the method of its configuration and the moments it has gathered.
///
/// Parameters and gradients are plain values; no graph is involved. Moments start at zero and are created on a
/// parameter's first gradient; a parameter without a gradient keeps its value and its moments.
#[derive(Clone, Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    shapes: Vec<Vec<usize>>,
    slots: Vec<Slot>,
    steps: u64,
}

/// What an optimizer remembers of one parameter.
#[derive(Clone, Debug, Default)]
struct Slot {
    /// Momentum of SGD, first moment of Adam.
    first: Option<Value>,
    /// Second moment of Adam.
    second: Option<Value>,
    /// Gradients this parameter has had: Adam's bias correction counts these.
    steps: u64,
    /// The moments' share of a GPU's memory.
    holding: Option<Arc<Holding>>,
}

impl Slot {
    /// Counts the moments, once they are there.
    fn count(&mut self, param: &Value) {
        if self.holding.is_some() || Gpu::at(param.device()).is_none() {
            return;
        }
        let moments = [&self.first, &self.second].into_iter().flatten();
        let bytes = moments.map(|m| m.elem_count() * m.dtype().size_in_bytes());
        let bytes = bytes.sum();
        self.holding = (bytes > 0).then(|| Arc::new(Holding::of_bytes("optimizer", bytes)));
    }
}

impl Optimizer {
    /// An optimizer for parameters of the given shapes.
    pub fn new(config: OptimizerConfig, shapes: &[Vec<usize>]) -> Self {
        Self {
            config,
            shapes: shapes.to_vec(),
            slots: vec![Slot::default(); shapes.len()],
            steps: 0,
        }
    }

    /// The configuration.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves every parameter that has a gradient by one step at learning rate `lr`.
    ///
    /// Weight decay acts where `decay_mask` is true. The values in `params` are replaced, never written to: who shares
    /// them keeps the old ones.
    ///
    /// # Errors
    /// If the numbers of parameters, gradients and flags differ, or a shape or type does not fit.
    pub fn step(
        &mut self,
        params: &mut [Value],
        grads: &[Option<Value>],
        lr: f64,
        decay_mask: &[bool],
    ) -> Result<()> {
        let op = "optimizer step";
        let count = self.shapes.len();
        ensure!(
            params.len() == count && grads.len() == count && decay_mask.len() == count,
            op,
            "expected {count} parameters, gradients and decay flags, got {}, {} and {}",
            params.len(),
            grads.len(),
            decay_mask.len()
        );
        for (i, (param, grad)) in params.iter().zip(grads).enumerate() {
            self.check(i, param, grad.as_ref())?;
        }
        for (i, grad) in grads.iter().enumerate() {
            if let Some(grad) = grad {
                self.update(i, &mut params[i], grad, lr, decay_mask[i])?;
            }
        }
        self.finish_step();
        Ok(())
    }

    /// Moves parameter `i` alone, as [`Optimizer::step`] does; [`Optimizer::finish_step`] belongs after the last one of a step.
    ///
    /// # Errors
    /// If there is no such parameter, or a shape or type does not fit.
    pub fn update(
        &mut self,
        i: usize,
        param: &mut Value,
        grad: &Value,
        lr: f64,
        decay: bool,
    ) -> Result<()> {
        self.check(i, param, Some(grad))?;
        let slot = &mut self.slots[i];
        slot.steps += 1;
        let decay = if decay { 1.0 } else { 0.0 };
        *param = kernel::step(&self.config, slot, param, grad, lr, decay)?;
        slot.count(param);
        profile::done("optimizer");
        Ok(())
    }

    /// Counts a step whose parameters have been updated one by one.
    pub fn finish_step(&mut self) {
        self.steps += 1;
    }

    fn check(&self, i: usize, param: &Value, grad: Option<&Value>) -> Result<()> {
        let op = "optimizer step";
        let count = self.shapes.len();
        ensure!(i < count, op, "there is no parameter {i}, only {count}");
        let shape = self.shapes[i].as_slice();
        let fits = |v: &Value| v.dims() == shape && v.dtype() == param.dtype();
        ensure!(
            fits(param) && grad.is_none_or(fits),
            op,
            "parameter {i}: expected shape {shape:?} and one type, got {:?} {:?} and gradient {:?}",
            param.dims(),
            param.dtype(),
            grad.map(|g| (g.dims(), g.dtype()))
        );
        Ok(())
    }

    /// The moments by name (`<index>.first`, `<index>.second`) and the step counts (`steps`, an i64 vector: the
    /// optimizer's own, then one for each parameter), for a checkpoint.
    ///
    /// # Errors
    /// If the counts cannot be stored.
    pub fn state(&self) -> Result<Vec<(String, Value)>> {
        let own = std::iter::once(self.steps);
        let counts: Vec<i64> = own
            .chain(self.slots.iter().map(|slot| slot.steps))
            .map(|steps| steps as i64)
            .collect();
        let mut state = vec![("steps".to_owned(), Value::new(counts, &Device::Cpu)?)];
        for (i, slot) in self.slots.iter().enumerate() {
            let moments = [("first", &slot.first), ("second", &slot.second)];
            for (name, moment) in moments {
                if let Some(moment) = moment {
                    state.push((format!("{i}.{name}"), moment.clone()));
                }
            }
        }
        Ok(state)
    }

    /// Restores what [`Optimizer::state`] gave: the next step has the very bytes it would have had.
    ///
    /// # Errors
    /// If a name is unknown, the step counts are missing, or a shape does not fit.
    pub fn load_state(&mut self, state: &[(String, Value)], device: &Device) -> Result<()> {
        let op = "optimizer state";
        let mut slots = vec![Slot::default(); self.shapes.len()];
        let mut counts = None;
        for (name, value) in state {
            if name == "steps" {
                counts = Some(value.to_dtype(DType::I64)?.to_vec1::<i64>()?);
                continue;
            }
            let place = name.split_once('.').and_then(|(index, moment)| {
                let slot = slots.get_mut(index.parse::<usize>().ok()?)?;
                let place = match moment {
                    "first" => &mut slot.first,
                    "second" => &mut slot.second,
                    _ => return None,
                };
                Some((index.parse::<usize>().ok()?, place))
            });
            let Some((i, place)) = place else {
                let have = self.shapes.len();
                let message = format!("unknown entry {name:?} (have {have} parameters)");
                return Err(Error::argument(op, message));
            };
            ensure!(
                value.dims() == self.shapes[i].as_slice(),
                op,
                "{name}: expected shape {:?}, got {:?}",
                self.shapes[i],
                value.dims()
            );
            *place = Some(value.to_device(device)?.contiguous()?);
        }
        let Some(counts) = counts.filter(|counts| counts.len() == slots.len() + 1) else {
            let message = format!(
                "expected an entry \"steps\" with {} counts",
                slots.len() + 1
            );
            return Err(Error::argument(op, message));
        };
        for (slot, steps) in slots.iter_mut().zip(&counts[1..]) {
            slot.steps = *steps as u64;
        }
        self.steps = counts[0] as u64;
        self.slots = slots;
        Ok(())
    }
}

#[cfg(test)]
#[path = "optim_test.rs"]
mod tests;
