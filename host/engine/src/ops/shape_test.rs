//! Tests of the operations that move entries.

use super::*;
use crate::gradcheck::{check, ramp};

#[test]
fn moves_agree_with_finite_differences() {
    let x = [ramp(&[3, 5, 2], 0.37)];
    check("reshape", &x, |x| x[0].sqr()?.reshape(&[6, 5]));
    check("flatten_from", &x, |x| x[0].sqr()?.flatten_from(1));
    check("permute", &x, |x| x[0].sqr()?.permute(&[2, 0, 1]));
    check("transpose", &x, |x| x[0].sqr()?.transpose(0, 1));
    check("t", &x, |x| x[0].sqr()?.t());
    check("slice", &x, |x| x[0].sqr()?.slice(1, 1, 3, 2));
    check("narrow", &x, |x| x[0].sqr()?.narrow(1, 2, 3));
    check("embed", &x, |x| x[0].sqr()?.embed(1, 1, 2, 11));
    check("pad", &x, |x| x[0].sqr()?.pad(2, 1, 2, -0.7));
    check("roll", &x, |x| x[0].sqr()?.roll(-3, 1));
    check("flip", &x, |x| x[0].sqr()?.flip(1));
    check("unsqueeze", &x, |x| x[0].sqr()?.unsqueeze(1));
    check("squeeze", &[ramp(&[3, 1, 2], 0.3)], |x| {
        x[0].sqr()?.squeeze(1)
    });
    check("kept", &[ramp(&[3, 1, 2], 0.3)], |x| {
        x[0].sqr()?.kept(1, false)
    });
    check("broadcast", &[ramp(&[3, 1], 0.3)], |x| {
        x[0].sqr()?.broadcast_as(&[2, 3, 4])
    });
    let two = [ramp(&[3, 2], 0.37), ramp(&[3, 4], 0.53)];
    check("cat", &two, |x| {
        Tensor::cat(&[&x[0].sqr()?, &x[1].exp()?], 1)
    });
    let two = [ramp(&[3, 2], 0.37), ramp(&[3, 2], 0.53)];
    check("stack", &two, |x| {
        Tensor::stack(&[&x[0].sqr()?, &x[1].exp()?], 1)
    });
}

#[test]
fn entries_land_where_they_should() {
    let x = ramp(&[4], 1.0);
    let v = x.to_f64_vec().unwrap();
    let flat = |t: Result<Tensor>| t.unwrap().to_f64_vec().unwrap();
    assert_eq!(flat(x.roll(1, 0)), [v[3], v[0], v[1], v[2]]);
    assert_eq!(flat(x.flip(0)), [v[3], v[2], v[1], v[0]]);
    assert_eq!(flat(x.slice(0, 0, 3, 2)), [v[0], v[3]]);
    assert_eq!(
        flat(x.narrow(0, 1, 2).unwrap().pad(0, 1, 0, 9.0)),
        [9.0, v[1], v[2]]
    );
}

#[test]
fn ranges_outside_the_tensor_are_told() {
    let x = ramp(&[2, 3], 1.0);
    assert!(
        x.narrow(1, 2, 2)
            .unwrap_err()
            .to_string()
            .contains("[2, 3]")
    );
    assert!(x.permute(&[0, 0]).is_err());
    assert!(x.reshape(&[5]).is_err());
    assert!(x.squeeze(0).is_err());
    assert!(x.roll(1, 2).is_err());
    assert!(Tensor::cat(&[], 0).is_err());
}
