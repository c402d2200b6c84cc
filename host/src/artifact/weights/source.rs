//! A tensor of a `torch.save` file: a view of a storage by offset, shape and strides.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};

use crate::engine::Value;

/// A tensor as PyTorch describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the storage.
    pub storage: String,
    /// Type of its elements.
    pub dtype: DType,
    /// First element.
    pub offset: usize,
    /// Size of each dimension.
    pub shape: Vec<usize>,
    /// Elements from one index to the next, for each dimension.
    pub strides: Vec<usize>,
}

impl Source {
    /// How many elements it has.
    pub fn count(&self) -> Option<usize> {
        let bytes = self.dtype.size_in_bytes();
        let all = self
            .shape
            .iter()
            .try_fold(1usize, |n, &s| n.checked_mul(s))?;
        // 4 GiB: strides of zero make any size of a small storage.
        all.checked_mul(bytes)
            .filter(|b| *b <= 1 << 32)
            .map(|_| all)
    }

    /// How many elements its storage must have.
    pub fn extent(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let steps = self.shape.iter().zip(&self.strides);
        let last = steps
            .into_iter()
            .try_fold(self.offset, |at, (size, stride)| {
                at.checked_add((size - 1).checked_mul(*stride)?)
            })?;
        last.checked_add(1)
    }

    /// How many bytes its elements take.
    pub fn bytes(&self) -> Option<u64> {
        self.count()
            .map(|n| (n * self.dtype.size_in_bytes()) as u64)
    }

    /// How many bytes its storage must have.
    pub fn extent_bytes(&self) -> Option<u64> {
        let bytes = self.extent()?.checked_mul(self.dtype.size_in_bytes())?;
        u64::try_from(bytes).ok()
    }

    /// Whether its elements follow each other in row-major order.
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1usize;
        let mut pairs = self.shape.iter().zip(&self.strides).rev();
        pairs.all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected = expected.saturating_mul(size);
            fits
        })
    }
}

/// The elements that a tensor has in its storage, in row-major order.
///
/// # Errors
/// When the storage is too small for its shape and strides.
pub fn gather(storage: &[u8], source: &Source) -> Result<Value> {
    let width = source.dtype.size_in_bytes();
    let have = storage.len() / width;
    let needed = source.extent().context("shape and strides out of bounds")?;
    ensure!(
        needed <= have,
        "got {have} elements, expected {needed} for shape {:?} and strides {:?} from element {}",
        source.shape,
        source.strides,
        source.offset
    );
    let count = source.count().context("a shape out of bounds")?;
    let mut bytes = Vec::with_capacity(count * width);
    if count == 0 {
        // Its offset may lie anywhere.
    } else if source.is_contiguous() {
        bytes.extend_from_slice(&storage[source.offset * width..][..count * width]);
    } else {
        // As channels_last is stored.
        let mut index = vec![0; source.shape.len()];
        for _ in 0..count {
            let steps = index.iter().zip(&source.strides).map(|(i, s)| i * s);
            let at = source.offset + steps.sum::<usize>();
            bytes.extend_from_slice(&storage[at * width..][..width]);
            for (i, size) in index.iter_mut().zip(&source.shape).rev() {
                *i += 1;
                if *i < *size {
                    break;
                }
                *i = 0;
            }
        }
    }
    Ok(Value::from_raw_buffer(
        &bytes,
        source.dtype,
        &source.shape,
        &Device::Cpu,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(offset: usize, shape: &[usize], strides: &[usize]) -> Source {
        Source {
            storage: "0".to_owned(),
            dtype: DType::F32,
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        }
    }

    #[test]
    fn strides_and_offsets_are_followed_within_the_storage() {
        let storage: Vec<u8> = (0..7u8).flat_map(|v| f32::from(v).to_le_bytes()).collect();
        let rows = |s: &Source| gather(&storage, s).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(
            rows(&source(1, &[2, 3], &[3, 1])),
            [[1., 2., 3.], [4., 5., 6.]]
        );
        assert_eq!(
            rows(&source(0, &[2, 3], &[1, 2])),
            [[0., 2., 4.], [1., 3., 5.]]
        );
        // Expanded: one element three times.
        assert_eq!(rows(&source(6, &[1, 3], &[0, 0])), [[6., 6., 6.]]);
        for bad in [
            source(2, &[2, 3], &[3, 1]),
            source(0, &[2, 3], &[1, 3]),
            source(7, &[], &[]),
            source(usize::MAX, &[2], &[1]),
            source(0, &[usize::MAX, 3], &[usize::MAX, 1]),
            source(0, &[1 << 40, 1 << 40], &[0, 0]),
        ] {
            assert!(gather(&storage, &bad).is_err(), "{bad:?}");
        }
        let empty = gather(&storage, &source(9, &[0, 3], &[3, 1]));
        assert_eq!(empty.unwrap().dims(), [0, 3]);
    }

    #[test]
    fn row_major_order_is_seen() {
        let of = |shape: &[usize], strides: &[usize]| source(0, shape, strides);
        assert!(of(&[2, 3], &[3, 1]).is_contiguous());
        assert!(of(&[2, 1, 3], &[3, 99, 1]).is_contiguous());
        assert!(of(&[], &[]).is_contiguous());
        assert!(!of(&[2, 3], &[1, 2]).is_contiguous());
        assert_eq!(of(&[2, 3], &[1, 2]).extent(), Some(6));
        assert_eq!(of(&[2, 3], &[usize::MAX, 1]).extent(), None);
    }
}
