//! Uploads to a GPU that overlap with its work.
//!
//! Memory is taken before the work begins, by the thread that talks to the GPU; a second thread fills it, on a stream of its own. The
//! numbers have arrived when it is done, so the GPU never waits for them.

use candle_core::Device;

#[cfg(feature = "cuda")]
use super::cuda::Landing;
use crate::error::{Error, Result};
use crate::value::Value;

/// Room for a value on a device.
pub struct Room {
    dims: [usize; 4],
    device: Device,
    #[cfg(feature = "cuda")]
    landing: Option<Landing>,
}

impl Room {
    /// Takes the memory, where the device is a GPU.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(dims: [usize; 4], device: &Device) -> Result<Self> {
        Ok(Self {
            dims,
            device: device.clone(),
            #[cfg(feature = "cuda")]
            landing: match super::Gpu::at(device) {
                Some(super::Gpu::Cuda(cuda)) if !dims.contains(&0) => {
                    Some(cuda.landing(dims.iter().product())?)
                }
                _ => None,
            },
        })
    }

    /// The value of these numbers, on the device by now. To be called by a thread that may wait.
    ///
    /// # Errors
    /// If there are more or fewer numbers than the value has, or the device fails.
    pub fn fill(self, numbers: Vec<f32>) -> Result<Value> {
        let size: usize = self.dims.iter().product();
        if numbers.len() != size {
            let message = format!("expected {size} numbers, got {}", numbers.len());
            return Err(Error::argument("upload", message));
        }
        #[cfg(feature = "cuda")]
        if let Some(landing) = self.landing {
            return landing.fill(&numbers, &self.dims);
        }
        Ok(Value::from_vec(
            numbers,
            self.dims.as_slice(),
            &self.device,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_takes_as_many_numbers_as_it_has() {
        let room = || Room::new([1, 3, 1, 2], &Device::Cpu).unwrap();
        let numbers: Vec<f32> = (0..6u8).map(f32::from).collect();
        let value = room().fill(numbers.clone()).unwrap();
        assert_eq!(value.dims(), [1, 3, 1, 2]);
        assert_eq!(
            value.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            numbers
        );
        let error = room().fill(vec![0.; 5]).unwrap_err();
        assert!(error.to_string().contains("expected 6 numbers, got 5"));
        let empty = Room::new([0, 3, 1, 2], &Device::Cpu).unwrap();
        assert_eq!(empty.fill(Vec::new()).unwrap().dims(), [0, 3, 1, 2]);
    }
}
