//! ZCA whitening of whole images: pixels that are neither correlated nor of different scale over the training images, in a picture
//! that still looks like the image. MTT and TESLA are published with it.
//!
//! As kornia's `ZCAWhitening(eps)` computes it, on normalised images: with the unbiased covariance `C = U diag(s) Uᵀ` of all pixels of all
//! channels, `x ↦ (x - mean) U diag(1 / sqrt(s + ε)) Uᵀ`.

use candle_core::Device;
use faer::{Mat, Side};

use super::{config::WhiteningConfig, dataset::Dataset, normalization::Normalization};
use crate::engine::{
    Tensor, Value,
    precision::{Precision, compute_in},
};

/// Images whose products are summed at once.
const CHUNK: usize = 512;

/// Matrices of f64 that are there at once when the eigenvectors are found.
const FIT_MATRICES: u64 = 6;

/// The transform of one training set, and its inverse.
pub struct Whitening {
    config: WhiteningConfig,
    /// [1, D]
    mean: Value,
    /// [D, D], applied from the right.
    forward: Value,
    /// [D, D]
    backward: Value,
}

impl Whitening {
    /// The transform of the training images.
    ///
    /// # Errors
    /// When an image cannot be decoded, or the eigenvalues are not found.
    pub fn fit(
        config: &WhiteningConfig,
        train: &Dataset,
        normalization: &Normalization,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let plane = train.resolution() * train.resolution();
        let image = |index: usize| {
            let mut values = vec![0f32; 3 * plane];
            normalization.normalize(&train.decode(index)?, plane, &mut values);
            anyhow::Ok(values)
        };
        Self::of_images(train.len(), 3 * plane, &image, config, device)
    }

    fn of_images(
        count: usize,
        size: usize,
        image: &dyn Fn(usize) -> anyhow::Result<Vec<f32>>,
        config: &WhiteningConfig,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let epsilon = config.epsilon();
        let mut mean = vec![0f64; size];
        for i in 0..count {
            for (sum, value) in mean.iter_mut().zip(image(i)?) {
                *sum += f64::from(value) / count as f64;
            }
        }
        let mut covariance = vec![0f64; size * size];
        let unbiased = (count as f64 - 1.).max(1.);
        let numbers: Vec<usize> = (0..count).collect();
        for chunk in numbers.chunks(CHUNK) {
            let mut centred = Vec::with_capacity(chunk.len() * size);
            for &i in chunk {
                let values = image(i)?.into_iter().zip(&mean);
                centred.extend(values.map(|(value, mean)| (f64::from(value) - mean) as f32));
            }
            let x = Tensor::from_vec(centred, &[chunk.len(), size], &Device::Cpu)?;
            let products = x.transpose(0, 1)?.matmul(&x)?;
            let products = products.value().flatten_all()?.to_vec1::<f32>()?;
            for (sum, product) in covariance.iter_mut().zip(products) {
                *sum += f64::from(product) / unbiased;
            }
        }
        let covariance = Mat::from_fn(size, size, |i, j| covariance[i * size + j]);
        let found = covariance.self_adjoint_eigen(Side::Lower);
        let found = found.map_err(|e| anyhow::anyhow!("eigenvectors of the pixels: {e:?}"))?;
        let (vectors, values) = (found.U(), found.S().column_vector());
        let of = |scale: &dyn Fn(f64) -> f64| {
            let scaled = Mat::from_fn(size, size, |i, j| vectors[(i, j)] * scale(values[j]));
            let product = scaled * vectors.transpose();
            let rows = (0..size).flat_map(|i| (0..size).map(move |j| (i, j)));
            let flat: Vec<f32> = rows.map(|at| product[at] as f32).collect();
            Value::from_vec(flat, (size, size), device)
        };
        let mean: Vec<f32> = mean.into_iter().map(|v| v as f32).collect();
        Ok(Self {
            config: config.clone(),
            mean: Value::from_vec(mean, (1, size), device)?,
            forward: of(&|s| 1. / (s.max(0.) + epsilon).sqrt())?,
            backward: of(&|s| (s.max(0.) + epsilon).sqrt())?,
        })
    }

    /// The most memory that [`Whitening::fit`] needs for images of this side, bytes.
    pub fn fit_bytes(side: usize) -> u64 {
        let size = 3 * side as u64 * side as u64;
        FIT_MATRICES * 8 * size * size
    }

    /// A transform that changes nothing, as large as that of images with this side.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn identity(
        config: &WhiteningConfig,
        side: usize,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let size = 3 * side * side;
        let one = || {
            let ones = (0..size * size).map(|i| f32::from(u8::from(i % (size + 1) == 0)));
            Value::from_vec(ones.collect::<Vec<_>>(), (size, size), device)
        };
        Ok(Self {
            config: config.clone(),
            mean: Value::zeros((1, size), candle_core::DType::F32, device)?,
            forward: one()?,
            backward: one()?,
        })
    }

    /// How it was made.
    pub fn config(&self) -> &WhiteningConfig {
        &self.config
    }

    /// Whitens normalised images, [N, 3, R, R].
    ///
    /// # Errors
    /// When the images have another size.
    pub fn apply(&self, images: &Value) -> anyhow::Result<Value> {
        let flat = images.reshape(((), self.mean.elem_count()))?;
        let centred = Tensor::constant(flat.broadcast_sub(&self.mean)?);
        let _exact = compute_in(Precision::F32);
        let white = centred.matmul(&Tensor::constant(self.forward.clone()))?;
        Ok(white.value().reshape(images.shape())?)
    }

    /// Normalised images from whitened ones, [N, 3, R, R].
    ///
    /// # Errors
    /// When the images have another size.
    pub fn undo(&self, images: &Value) -> anyhow::Result<Value> {
        let flat = Tensor::constant(images.reshape(((), self.mean.elem_count()))?);
        let _exact = compute_in(Precision::F32);
        let coloured = flat.matmul(&Tensor::constant(self.backward.clone()))?;
        let coloured = coloured.value().broadcast_add(&self.mean)?;
        Ok(coloured.reshape(images.shape())?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::ZcaConfig;
    use super::*;

    fn zca(epsilon: f64) -> WhiteningConfig {
        WhiteningConfig::Zca(ZcaConfig { epsilon })
    }

    // import torch
    // x = torch.tensor([[(i * 7 + j * j * 3 + i * i * j) % 11 / 11 for j in range(3)] for i in range(6)], dtype=torch.float64)
    // c = x - x.mean(0)
    // u, s, _ = torch.linalg.svd(c.T @ c / 5)
    // print(c @ (u @ torch.diag((s + 0.1) ** -0.5) @ u.T))
    #[test]
    fn whitening_is_kornias() {
        let image = |i: usize| {
            let value = |j: usize| ((i * 7 + j * j * 3 + i * i * j) % 11) as f32 / 11.;
            Ok((0..3).map(value).collect())
        };
        let whitening = Whitening::of_images(6, 3, &image, &zca(0.1), &Device::Cpu).unwrap();
        let all: Vec<f32> = (0..6).flat_map(|i| image(i).unwrap()).collect();
        let all = Value::from_vec(all, (6, 3, 1, 1), &Device::Cpu).unwrap();
        let white = whitening.apply(&all).unwrap();
        assert_eq!(white.dims(), [6, 3, 1, 1]);
        let values = white.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (i, (got, expected)) in values.iter().zip(EXPECTED).enumerate() {
            assert!((got - expected).abs() < 1e-5, "{i}: {got} {expected}");
        }
        let back = whitening.undo(&white).unwrap();
        let off = (back - all).unwrap().abs().unwrap().max_all().unwrap();
        assert!(off.to_scalar::<f32>().unwrap() < 1e-6);
    }

    const EXPECTED: [f32; 18] = [
        -0.906148, -0.431329, -0.831764, 0.251795, -0.631522, 0.739246, -0.034772, 1.039773,
        -0.788857, 0.967759, -0.583306, 0.060768, 0.241939, -0.145826, 0.015192, -0.520573,
        0.752211, 0.805414,
    ];
}
