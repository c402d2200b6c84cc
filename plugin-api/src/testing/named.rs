//! Values derived only from a tensor's name: PyTorch and a plugin's test get the same weights without a file.
//!
//! `u = uniform_by_name(name, ..)` is what the host's `tests/reference/make_reference.py` calls `uniform`: entry `i` is
//! `splitmix64(fnv1a64(name) + i)`, its upper 24 bits as a number in [-1, 1), exact in f32 and f64.

use crate::{
    Result, Tensor, bail,
    nn::ModuleSpec,
    rng::{fnv1a64, splitmix64},
};

/// `count` numbers in [-1, 1) that a name stands for.
pub fn uniform_by_name(name: &str, count: usize) -> Vec<f64> {
    let start = fnv1a64(&[name]);
    let draw = |i: usize| {
        let bits = splitmix64(start.wrapping_add(i as u64)) >> 40;
        bits as f64 / f64::from(1 << 24) * 2. - 1.
    };
    (0..count).map(draw).collect()
}

/// Values of a tensor by its name and shape, row-major:
///
/// | name | values |
/// |---|---|
/// | `input` | `1.5 u` |
/// | `*.weight` of one dimension (a norm's scale) | `1 + 0.1 u` |
/// | any other `*.weight` | `gain u sqrt(3 / fan_in)`, `fan_in` the product of all dimensions but the first |
/// | `*.bias`, `*.running_mean` | `0.1 u` |
/// | `*.running_var` | `1 + 0.5 u` |
/// | `cls_token`, `pos_embed` | `0.02 u` |
///
/// # Errors
/// When the name is none of these.
pub fn values_by_name(name: &str, dims: &[usize], gain: f64) -> Result<Vec<f64>> {
    let (scale, shift) = match name.rsplit('.').next().unwrap_or(name) {
        "weight" if dims.len() == 1 => (0.1, 1.),
        "weight" => {
            let fan_in: usize = dims[1..].iter().product();
            (gain * (3. / fan_in as f64).sqrt(), 0.)
        }
        "bias" | "running_mean" => (0.1, 0.),
        "running_var" => (0.5, 1.),
        "cls_token" | "pos_embed" => (0.02, 0.),
        "input" => (1.5, 0.),
        _ => bail!(
            "no values for the name \"{name}\", expected \"input\", \"cls_token\", \"pos_embed\" or one that ends in \
             .weight, .bias, .running_mean or .running_var"
        ),
    };
    let uniform = uniform_by_name(name, dims.iter().product());
    Ok(uniform.into_iter().map(|u| scale * u + shift).collect())
}

/// [`values_by_name`] of all parameters and buffers that a network declared, in their order, on the device and in the element type
/// of `device`.
///
/// # Errors
/// When a name has no values.
pub fn params_by_name(device: &Tensor, spec: &ModuleSpec, gain: f64) -> Result<Vec<Tensor>> {
    let params = spec.params.iter().map(|p| {
        let values = values_by_name(&p.name, &p.shape, gain)?;
        device.new_like(&values, &p.shape)
    });
    params.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        nn::{Init, ParamBuilder},
        testing::device,
    };

    // make_reference.uniform("input", 3), make_reference.uniform("layer1.0.conv1.weight", 3)
    const INPUT: [f64; 3] = [-0.8043633699417114, -0.705042839050293, 0.14816880226135254];
    const WEIGHT: [f64; 3] = [0.6828863620758057, 0.9897744655609131, -0.37924933433532715];

    #[test]
    fn numbers_are_those_of_the_script() {
        assert_eq!(uniform_by_name("input", 3), INPUT);
        assert_eq!(uniform_by_name("layer1.0.conv1.weight", 3), WEIGHT);
    }

    #[test]
    fn each_kind_of_tensor_has_its_range() {
        let first = |name, dims: &[usize]| values_by_name(name, dims, 2.).unwrap()[0];
        assert_eq!(first("input", &[1, 3]), 1.5 * INPUT[0]);
        assert_eq!(first("layer1.0.conv1.weight", &[3]), 1. + 0.1 * WEIGHT[0]);
        let of_fan_in_12 = 2. * 0.5 * WEIGHT[0];
        assert_eq!(first("layer1.0.conv1.weight", &[5, 3, 2, 2]), of_fan_in_12);
        assert!(
            values_by_name("bn1.running_var", &[64], 2.).unwrap()[..64]
                .iter()
                .all(|v| (0.5..1.5).contains(v))
        );
        let error = values_by_name("alpha", &[1], 1.).unwrap_err().to_string();
        assert!(
            error.starts_with("no values for the name \"alpha\""),
            "{error}"
        );
    }

    #[test]
    fn a_networks_tensors_come_in_the_order_of_their_declaration() {
        let builder = ParamBuilder::new();
        let one = Init::Constant { value: 1. };
        builder.pp("fc").param("weight", &[2, 3], one).unwrap();
        builder.pp("fc").param("bias", &[2], one).unwrap();
        let params = params_by_name(&device(), &builder.spec(), 1.).unwrap();
        assert_eq!(params[0].shape(), [2, 3]);
        let expected = values_by_name("fc.bias", &[2], 1.).unwrap();
        assert_eq!(params[1].to_vec_f64().unwrap(), expected);
    }
}
