//! Numbers that the GPUs of several processes hand each other, by NVIDIA's NCCL. It moves them; sums are the engine's own.

use std::ops::Range;

use candle_core::Device;

use crate::error::Result;
use crate::value::Value;

/// The GPU of this process among those of others.
///
/// Without the feature `cuda` there is none.
pub struct Nccl {
    #[cfg(feature = "cuda")]
    joined: joined::Joined,
    #[cfg(not(feature = "cuda"))]
    never: std::convert::Infallible,
}

impl Nccl {
    /// What the first process makes for all to join by; empty where the device is no GPU.
    ///
    /// # Errors
    /// If the library is missing or fails.
    pub fn word(device: &Device) -> Result<Vec<u8>> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            return joined::word();
        }
        let _ = device;
        Ok(Vec::new())
    }

    /// Joins the others; all do so together. None where `word` is empty.
    ///
    /// # Errors
    /// If the library is missing, or two processes have the same GPU.
    pub fn join(word: &[u8], rank: usize, size: usize) -> Result<Option<Self>> {
        #[cfg(feature = "cuda")]
        if !word.is_empty() {
            let joined = joined::Joined::new(word, rank, size)?;
            return Ok(Some(Self { joined }));
        }
        let _ = (word, rank, size);
        Ok(None)
    }

    /// Hands each process a range of a vector of f32, and takes so many numbers of each, one after the other.
    ///
    /// # Errors
    /// If another process or the library fails, or there is no room.
    pub fn exchange(&self, own: &Value, sent: &[Range<usize>], taken: &[usize]) -> Result<Value> {
        #[cfg(feature = "cuda")]
        return self.joined.exchange(own, sent, taken);
        #[cfg(not(feature = "cuda"))]
        {
            let _ = (own, sent, taken);
            match self.never {}
        }
    }
}

#[cfg(feature = "cuda")]
mod joined {
    use std::ffi::c_char;
    use std::ops::Range;

    use candle_core::Storage;
    use candle_core::cuda_backend::CudaStorage;
    use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, group_end, group_start, result};
    use candle_core::op::BackpropOp;

    use crate::error::{Error, Result};
    use crate::gpu::cuda::{Cuda, failed, opened};
    use crate::gpu::libraries;
    use crate::value::Value;

    pub(super) struct Joined {
        comm: Comm,
        cuda: &'static Cuda,
    }

    // SAFETY: a communicator may be used by any thread, and is by one: that of the training.
    unsafe impl Sync for Joined {}
    // SAFETY: as above.
    unsafe impl Send for Joined {}

    fn refused(error: result::NcclError) -> Error {
        Error::device("nccl", format!("{error:?}"))
    }

    fn library() -> Result<()> {
        // A call into a library that is missing would end the process.
        match libraries::is_there(&libraries::NCCL) {
            true => Ok(()),
            false => Err(Error::device("nccl", "libnccl not found")),
        }
    }

    pub(super) fn word() -> Result<Vec<u8>> {
        library()?;
        let id = Id::new().map_err(refused)?;
        Ok(id.internal().iter().map(|byte| *byte as u8).collect())
    }

    impl Joined {
        pub(super) fn new(word: &[u8], rank: usize, size: usize) -> Result<Self> {
            library()?;
            let bytes: Vec<c_char> = word.iter().map(|byte| *byte as c_char).collect();
            let bytes = <[c_char; 128]>::try_from(bytes.as_slice());
            let bytes = bytes.map_err(|_| Error::device("nccl", "expected a word of 128 bytes"))?;
            let cuda = opened().ok_or_else(|| Error::device("nccl", "no GPU is open"))?;
            let stream = cuda.device().cuda_stream();
            let comm = Comm::from_rank(stream, rank, size, Id::uninit(bytes)).map_err(refused)?;
            Ok(Self { comm, cuda })
        }

        pub(super) fn exchange(
            &self,
            own: &Value,
            sent: &[Range<usize>],
            taken: &[usize],
        ) -> Result<Value> {
            let stream = self.cuda.device().cuda_stream();
            let count: usize = taken.iter().sum();
            // SAFETY: the numbers are read once they have been written, on the same stream.
            let mut all = unsafe { stream.alloc::<f32>(count.max(1)) }.map_err(failed)?;
            let own = own.contiguous()?;
            let (storage, layout) = own.storage_and_layout();
            let Storage::Cuda(storage) = &*storage else {
                return Err(Error::device("nccl", "expected numbers on a GPU"));
            };
            let (numbers, start) = (storage.as_cuda_slice::<f32>()?, layout.start_offset());
            // All at once: neither side waits for the other to begin.
            group_start().map_err(refused)?;
            let mut place = 0;
            for (peer, (sent, taken)) in sent.iter().zip(taken).enumerate() {
                if !sent.is_empty() {
                    let part = numbers.slice(start + sent.start..start + sent.end);
                    self.comm.send(&part, peer as i32).map_err(refused)?;
                }
                if *taken > 0 {
                    let mut part = all.slice_mut(place..place + taken);
                    self.comm.recv(&mut part, peer as i32).map_err(refused)?;
                }
                place += taken;
            }
            group_end().map_err(refused)?;
            let storage = CudaStorage::wrap_cuda_slice(all, self.cuda.device().clone());
            let all = Value::from_storage(
                Storage::Cuda(storage),
                count.max(1),
                BackpropOp::none(),
                false,
            );
            Ok(all.narrow(0, 0, count)?)
        }
    }
}
