//! Tests of the elementwise functions: finite differences to the second order, kinks, types.

use super::*;
use crate::grad;
use crate::gradcheck::{check, check_first, device, ramp};
use candle_core::Device;

#[test]
fn smooth_functions_agree_with_finite_differences_to_the_second_order() {
    type Unary = fn(&Tensor) -> Result<Tensor>;
    let functions: [(&str, Unary); 15] = [
        ("neg", Tensor::neg),
        ("exp", Tensor::exp),
        ("sqr", Tensor::sqr),
        ("tanh", Tensor::tanh),
        ("sigmoid", Tensor::sigmoid),
        ("erf", Tensor::erf),
        ("gelu", Tensor::gelu),
        ("sin", Tensor::sin),
        ("cos", Tensor::cos),
        ("affine", |x| x.affine(-1.5, 0.3)),
        ("abs", Tensor::abs),
        ("relu", Tensor::relu),
        ("recip", |x| x.affine(1.0, 3.0)?.recip()),
        ("log and sqrt", |x| x.affine(1.0, 3.0)?.sqrt()?.log()),
        ("powf", |x| x.affine(1.0, 3.0)?.powf(-0.7)),
    ];
    for (name, function) in functions {
        check(name, &[ramp(&[3, 5], 0.37)], |x| function(&x[0]));
    }
    check("recip_or_zero", &[ramp(&[7], 0.9)], |x| {
        x[0].recip_or_zero()
    });
    check_first("clamp", &[ramp(&[9], 0.37)], |x| x[0].clamp(-0.4, 0.5));
    let mask = Tensor::constant(Value::new(&[1u8, 0, 1, 1, 0], &device()).unwrap());
    check("zero_unless", &[ramp(&[3, 5], 0.37)], |x| {
        x[0].sqr()?.zero_unless(&mask)
    });
    check("clamp twice", &[ramp(&[9], 0.37)], |x| {
        x[0].sqr()?.clamp(0.1, 0.8)
    });
}

#[test]
fn kinks_have_the_documented_derivatives() {
    let functions: [fn(&Tensor) -> Result<Tensor>; 5] = [
        Tensor::relu,
        Tensor::abs,
        Tensor::sqrt,
        Tensor::recip_or_zero,
        |x| x.clamp(0.0, 1.0),
    ];
    for (function, expected) in functions.iter().zip([0.0, 0.0, 0.0, 0.0, 1.0]) {
        let x = Tensor::leaf(Value::zeros(1, DType::F64, &Device::Cpu).unwrap());
        let y = function(&x).unwrap().sum_all().unwrap();
        let g = grad(&y, &[&x], true).unwrap().remove(0).unwrap();
        assert_eq!(g.to_f64_vec().unwrap(), [expected]);
    }
}

#[test]
fn steps_let_no_gradient_through() {
    let x = Tensor::leaf(Value::new(&[-1.5f64, 0.0, 2.5], &Device::Cpu).unwrap());
    assert_eq!(x.sign().unwrap().to_f64_vec().unwrap(), [-1.0, 0.0, 1.0]);
    assert_eq!(x.round().unwrap().to_f64_vec().unwrap(), [-2.0, 0.0, 3.0]);
    assert_eq!(x.floor().unwrap().to_f64_vec().unwrap(), [-2.0, 0.0, 2.0]);
    assert_eq!(x.ceil().unwrap().to_f64_vec().unwrap(), [-1.0, 0.0, 3.0]);
    assert!(!x.floor().unwrap().is_tracked());
    assert!(x.clamp(1.0, 0.0).is_err());
}

#[test]
fn a_change_of_type_and_back_keeps_the_gradient() {
    let x = Tensor::leaf(Value::new(&[1.0f64, 2.0], &Device::Cpu).unwrap());
    let y = x
        .to_dtype(DType::F32)
        .unwrap()
        .sqr()
        .unwrap()
        .sum_all()
        .unwrap();
    let g = grad(&y, &[&x], false).unwrap().remove(0).unwrap();
    assert_eq!(
        (g.dtype(), g.to_f64_vec().unwrap()),
        (DType::F64, vec![2.0, 4.0])
    );
}
