//! Parameters of a network under test: initial values as declared, moved a little so that no layer starts as a
//! constant.

use crate::{
    Result, Tensor,
    nn::{Init, ModuleSpec, ParamSpec},
    rng::{Rng, StreamId},
};

/// Tensors for all parameters and buffers, in the order of their declaration, on the device and in the element type of `device`; the
/// same for the same seed.
///
/// Trainable constants (a norm's weights) and running statistics get up to 0.1 added or taken away: a check at
/// exactly 1 or 0 would not see a weight that is never used.
///
/// # Errors
/// None that a declared module can meet.
pub(crate) fn init_on(device: &Tensor, spec: &ModuleSpec, seed: u64) -> Result<Vec<Tensor>> {
    let running = |i: usize| {
        spec.batch_norms
            .iter()
            .any(|n| n.running_mean == i || n.running_var == i)
    };
    let make = |(i, param): (usize, &ParamSpec)| {
        let id = StreamId {
            item: i as u32,
            ..StreamId::default()
        };
        let mut rng = Rng::new(seed, "testing", "params", id);
        let jitter = if param.trainable || running(i) {
            0.1
        } else {
            0.
        };
        let count: usize = param.shape.iter().product();
        let values: Vec<f64> = (0..count)
            .map(|_| draw(param.init, jitter, &mut rng))
            .collect();
        device.new_like(&values, &param.shape)
    };
    spec.params.iter().enumerate().map(make).collect()
}

fn draw(init: Init, jitter: f64, rng: &mut Rng) -> f64 {
    match init {
        Init::Constant { value } => value + rng.uniform_in(-jitter, jitter),
        Init::Uniform { bound } => rng.uniform_in(-bound, bound),
        Init::Normal { std } => std * rng.normal(),
        Init::TruncatedNormal { std } => loop {
            let value = rng.normal();
            if value.abs() <= 2. {
                return std * value;
            }
        },
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::{nn::ParamBuilder, testing::init_params};

    #[test]
    fn values_follow_the_declared_distribution() {
        let builder = ParamBuilder::new();
        builder
            .param("a", &[40], Init::Constant { value: 1. })
            .unwrap();
        builder
            .param("b", &[400], Init::Uniform { bound: 0.5 })
            .unwrap();
        builder
            .param("c", &[400], Init::TruncatedNormal { std: 0.02 })
            .unwrap();
        builder
            .buffer("d", &[3], Init::Constant { value: 7. })
            .unwrap();
        let params = init_params(&builder.spec(), 1).unwrap();
        let values: Vec<Vec<f64>> = params.iter().map(|p| p.to_vec_f64().unwrap()).collect();
        assert!(values[0].iter().all(|v| (v - 1.).abs() <= 0.1) && values[0][0] != values[0][1]);
        assert!(
            values[1].iter().all(|v| v.abs() <= 0.5) && values[1].iter().any(|v| v.abs() > 0.45)
        );
        assert!(
            values[2].iter().all(|v| v.abs() <= 0.04) && values[2].iter().any(|v| v.abs() > 0.03)
        );
        assert_eq!(values[3], [7.; 3]);
        assert_eq!(
            values[1],
            init_params(&builder.spec(), 1).unwrap()[1]
                .to_vec_f64()
                .unwrap()
        );
    }
}
