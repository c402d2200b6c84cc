//! The lab: what a host lends to a matcher, on both sides of the boundary.

use std::sync::Arc;

use super::Network;
use crate::{
    Error, ErrorKind, Result, Tensor,
    abi::{Args, ArgsBuf, Method, RComponent, Reply},
    architecture::ForeignModule,
    component::{to_json, unknown_method},
};

/// Where a matcher gets real images, networks and experts from. What is drawn follows from the experiment's seed, the iteration
/// (but for [`Lab::initial`] and [`Lab::expert`], which are the same in all of them) and the arguments.
pub trait Lab: Send + Sync {
    /// Real images of a class, normalised and not augmented, [count, C, H, W]; no image is drawn twice.
    ///
    /// # Errors
    /// When the class has fewer images, or one cannot be decoded.
    fn real(&self, class: u32, count: usize, draw: u64) -> Result<Tensor>;

    /// Images under the experiment's differentiable augmentation; as they are where it has none. What happens to them is drawn
    /// once for the batch, so that the same draw does the same to other images (Siamese), or with `each` for every image.
    ///
    /// # Errors
    /// When an operation fails.
    fn augment(&self, images: &Tensor, each: bool, draw: u64) -> Result<Tensor>;

    /// The network of the experiment, without parameters.
    ///
    /// # Errors
    /// When it cannot be built.
    fn network(&self) -> Result<Network>;

    /// Initial parameters and buffers of the `draw`th network, in the order of their declaration.
    ///
    /// # Errors
    /// When they cannot be made.
    fn initial(&self, draw: u64) -> Result<Vec<Tensor>>;

    /// Parameters and buffers of an expert after `epoch` epochs of its training; `expert` wraps around.
    ///
    /// # Errors
    /// When the experiment has no experts, or they were trained for fewer epochs.
    fn expert(&self, expert: u64, epoch: u64) -> Result<Vec<Tensor>>;
}

/// The host's lab, seen from a plugin.
pub(super) struct ForeignLab<'a>(pub(super) &'a RComponent);

impl ForeignLab<'_> {
    fn call(&self, method: Method, key: &[i64], images: Option<&Tensor>) -> Result<Reply> {
        let mut args = ArgsBuf::new();
        args.ints("key", key);
        if let Some(images) = images {
            args.tensor("images", images);
        }
        self.0.call(method, &args)
    }

    fn values(&self, method: Method, key: &[i64]) -> Result<Vec<Tensor>> {
        let values = self.call(method, key, None)?.into_tensors();
        Ok(values.into_iter().map(|(_, value)| value).collect())
    }
}

impl Lab for ForeignLab<'_> {
    fn real(&self, class: u32, count: usize, draw: u64) -> Result<Tensor> {
        let key = [i64::from(class), count as i64, draw as i64];
        let mut reply = self.call(Method::LAB_REAL, &key, None)?;
        reply.take_tensor("images")
    }

    fn augment(&self, images: &Tensor, each: bool, draw: u64) -> Result<Tensor> {
        let key = [i64::from(each), draw as i64];
        let mut reply = self.call(Method::LAB_AUGMENT, &key, Some(images))?;
        reply.take_tensor("images")
    }

    fn network(&self) -> Result<Network> {
        let mut reply = self.0.call(Method::LAB_NETWORK, &ArgsBuf::new())?;
        let spec = serde_json::from_str(reply.get_text("spec")?)?;
        let module = ForeignModule::new(reply.take_component("module")?);
        Ok(Network { module, spec })
    }

    fn initial(&self, draw: u64) -> Result<Vec<Tensor>> {
        self.values(Method::LAB_INITIAL, &[draw as i64])
    }

    fn expert(&self, expert: u64, epoch: u64) -> Result<Vec<Tensor>> {
        self.values(Method::LAB_EXPERT, &[expert as i64, epoch as i64])
    }
}

pub(super) fn serve_lab(lab: &Arc<dyn Lab>, method: Method, args: &Args<'_>) -> Result<Reply> {
    let key = args.ints("key").unwrap_or_default();
    let key = |i: usize| {
        let number = key.get(i).copied();
        number
            .ok_or_else(|| Error::new(ErrorKind::UNSUPPORTED, "a call to the lab without its key"))
    };
    let mut reply = Reply::new();
    match method {
        Method::LAB_REAL => {
            let images = lab.real(key(0)? as u32, key(1)? as usize, key(2)? as u64)?;
            reply.tensor("images", images);
        }
        Method::LAB_AUGMENT => {
            let images = lab.augment(args.tensor("images")?, key(0)? == 1, key(1)? as u64)?;
            reply.tensor("images", images);
        }
        Method::LAB_NETWORK => {
            let Network { module, spec } = lab.network()?;
            reply.text("spec", to_json(&spec)?);
            reply.component("module", module.into_component());
        }
        Method::LAB_INITIAL | Method::LAB_EXPERT => {
            let values = match method {
                Method::LAB_INITIAL => lab.initial(key(0)? as u64)?,
                _ => lab.expert(key(0)? as u64, key(1)? as u64)?,
            };
            for value in values {
                reply.tensor("value", value);
            }
        }
        other => return Err(unknown_method(other)),
    }
    Ok(reply)
}
