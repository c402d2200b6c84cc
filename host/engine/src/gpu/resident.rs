//! Images that stay on a GPU, where they fit: uploaded once, and kept there as bytes.

use std::sync::{Arc, OnceLock};

use candle_core::Device;

use super::holdings::Holding;
use super::{Gpu, device};
use crate::value::Value;

/// A set takes at most one part in so many of the GPU's free memory: networks need the rest.
const SHARE: usize = 4;

/// Whether a set of so many bytes is to stay on the GPU.
pub fn fits(bytes: usize) -> bool {
    device::memory().is_none_or(|[free, _]| bytes <= free / SHARE)
}

/// The bytes of a set, or that they do not fit; empty until requested.
#[derive(Clone, Debug, Default)]
pub struct Resident(OnceLock<Option<(Value, Option<Arc<Holding>>)>>);

impl Resident {
    /// The bytes on the GPU; none on the CPU, and where they do not fit. Where nobody has asked before, `bytes` makes them.
    ///
    /// # Shapes
    /// `dims`, as many entries as `bytes` gives.
    ///
    /// # Errors
    /// Those of `bytes`, or when the device has no room.
    pub fn on_gpu<E: From<candle_core::Error>>(
        &self,
        device: &Device,
        dims: [usize; 4],
        bytes: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Option<(Gpu, &Value)>, E> {
        let Some(gpu) = Gpu::at(device) else {
            return Ok(None);
        };
        if self.0.get().is_none() {
            let made = match fits(dims.iter().product()) {
                true => {
                    let value = Value::from_vec(bytes()?, dims.as_slice(), device)?;
                    let holding = Holding::of("images", &value).map(Arc::new);
                    Some((value, holding))
                }
                false => None,
            };
            // Another thread may have been faster; both made the same.
            let _ = self.0.set(made);
        }
        let kept = self.0.get().and_then(Option::as_ref);
        Ok(kept.map(|(value, _)| (gpu, value)))
    }
}

/// Equal always: a copy on a GPU is no part of what a set is.
impl PartialEq for Resident {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Resident {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::gpu::{emulated, emulator::switched};

    #[test]
    fn bytes_are_made_once_and_for_a_gpu_alone() {
        let kept = Resident::default();
        let dims = [2, 1, 1, 1];
        let ask = |bytes: Result<Vec<u8>, Error>| {
            let found = kept.on_gpu(&Device::Cpu, dims, || bytes)?;
            let values = found.map(|(_, value)| value.flatten_all()?.to_vec1::<u8>());
            Ok::<_, Error>(values.transpose()?)
        };
        assert_eq!(switched(false, || ask(Ok(vec![1, 2]))).unwrap(), None);
        emulated(|| {
            assert!(ask(Err(Error::argument("decode", "broken"))).is_err());
            assert_eq!(ask(Ok(vec![3, 4])).unwrap(), Some(vec![3, 4]));
            assert_eq!(ask(Ok(vec![5, 6])).unwrap(), Some(vec![3, 4]));
        });
    }
}
