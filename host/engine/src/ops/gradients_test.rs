//! Gradients of which no graph is recorded, by the ways that they take.

use super::*;
use crate::gradcheck::{check, ramp};
use crate::ops::{
    After, BatchNormConfig, BatchNormMode, Conv2dParams, batch_norm, conv2d, layer_norm,
};
use crate::{Result, backward_each, grad};

#[test]
fn slices_lie_apart_overlap_and_meet_other_gradients() {
    let x = [ramp(&[3, 7, 2], 0.37)];
    let parts = |x: &Tensor, places: &[[usize; 2]]| -> Result<Tensor> {
        let parts = places.iter().enumerate().map(|(i, [start, len])| {
            let part = x.narrow(1, *start, *len)?;
            part.sqr()?.affine(i as f64 + 0.3, 0.0)?.sum_all()
        });
        let parts: Vec<Tensor> = parts.collect::<Result<_>>()?;
        Tensor::stack(&parts.iter().collect::<Vec<_>>(), 0)
    };
    for places in [
        &[[0, 4], [4, 3]][..],
        &[[5, 1], [1, 2]],
        &[[0, 4], [2, 5], [6, 1]],
        &[[0, 7]],
        &[[2, 0], [3, 2]],
    ] {
        check("slices", &x, |x| parts(&x[0].sqr()?, places));
        check("slices of the input itself", &x, |x| parts(&x[0], places));
    }
    check("slices and the whole", &x, |x| {
        let x = x[0].sqr()?;
        let along = x.narrow(0, 1, 2)?.exp()?.sum_all()?;
        Tensor::stack(
            &[
                &x.exp()?.sum_all()?,
                &parts(&x, &[[0, 2], [3, 3]])?.sum_all()?,
                &along,
            ],
            0,
        )
    });
}

#[test]
fn gates_and_their_gradients_agree_with_finite_differences() {
    for gate in [
        &[2, 3, 1, 1][..],
        &[2, 1, 1, 1],
        &[3, 1, 1],
        &[2, 3, 4, 5],
        &[1],
        &[2, 3, 4, 1],
    ] {
        let inputs = [ramp(&[2, 3, 4, 5], 0.37), ramp(gate, 0.53)];
        check("gate", &inputs, |x| x[0].sqr()?.mul(&x[1].exp()?));
    }
}

/// A block with a residual: what comes in is read by a convolution, a normalisation and a sum.
fn block(x: &[Tensor], stride: usize, residual: bool) -> Result<Tensor> {
    let h = x[0].sqr()?;
    let params = Conv2dParams {
        stride: [stride, stride],
        ..Default::default()
    };
    let channels = x[1].dims()[0];
    let (mean, var) = (ramp(&[channels], 0.1), ramp(&[channels], 0.2).sqr()?);
    let config = BatchNormConfig {
        mode: BatchNormMode::Train,
        eps: 1e-2,
        after: After::RELU,
    };
    let y = conv2d(&h, &x[1], &params)?;
    let by = residual.then_some(&h);
    let made = batch_norm(&y, &x[2], &x[3], &mean, &var, &config, by)?.y;
    // A second reader of h, and one of the normalised images.
    let other = conv2d(&h, &x[1].sqr()?, &params)?;
    let narrow = conv2d(&made, &x[1], &Conv2dParams::default())?;
    narrow.add(&other)
}

#[test]
fn blocks_agree_with_finite_differences() {
    for (dims, stride) in [([2, 3, 3, 2], 1), ([1, 3, 12, 11], 1), ([2, 3, 5, 4], 2)] {
        let inputs = [
            ramp(&dims, 0.37),
            ramp(&[3, 3, 1, 1], 0.53),
            ramp(&[3], 0.3).sqr().unwrap(),
            ramp(&[3], 0.7),
        ];
        for residual in [false, true].into_iter().filter(|&by| !by || stride == 1) {
            check("block", &inputs, |x| block(x, stride, residual));
        }
    }
}

#[test]
fn a_layer_norm_beside_a_residual_agrees_with_finite_differences() {
    let inputs = [
        ramp(&[6, 4], 0.37),
        ramp(&[4, 4], 0.53),
        ramp(&[4], 0.3),
        ramp(&[4], 0.7),
    ];
    check("layer norm", &inputs, |x| {
        let h = x[0].sqr()?;
        let y = layer_norm(&h, &x[2], &x[3], 1e-2)?;
        h.add(&y.linear(&x[1], None)?)
    });
    check("layer norm and slices", &inputs, |x| {
        let h = x[0].sqr()?;
        let y = layer_norm(&h, &x[2], &x[3], 1e-2)?.linear(&x[1], None)?;
        let slices = [0, 2].map(|start| h.narrow(1, start, 2)?.exp());
        let [low, high] = slices;
        y.add(&Tensor::cat(&[&high?, &low?], 1)?)
    });
}

#[test]
fn a_gradient_that_is_handed_out_is_not_written_over() {
    // The middle's gradient is asked for, and flows on through slices and a residual.
    let x = Tensor::leaf(ramp(&[2, 4, 12, 11], 0.37).into_value());
    let weight = ramp(&[4, 4, 1, 1], 0.53);
    let h = x.sqr().unwrap();
    let y = conv2d(&h, &weight, &Conv2dParams::default()).unwrap();
    let halves = [0, 2].map(|start| y.narrow(1, start, 2).unwrap().exp().unwrap());
    let [low, high] = halves.each_ref().map(|half| half.sum_all().unwrap());
    let loss = low.add(&high).unwrap().add(&h.sum_all().unwrap()).unwrap();
    let apart: Vec<Vec<f64>> = [&y, &h, &x]
        .map(|t| grad(&loss, &[t], false).unwrap().remove(0).unwrap())
        .map(|g| g.to_f64_vec().unwrap())
        .into();
    let together = grad(&loss, &[&y, &h, &x], false).unwrap();
    for (apart, together) in apart.iter().zip(together) {
        assert_eq!(*apart, together.unwrap().to_f64_vec().unwrap());
    }
    // Values alone are held, and a normalisation, which writes over its result's gradient, stands below the slices.
    let [ones, zeros] = [1.0, 0.0].map(|n| Tensor::full(n, &[4], h.dtype(), h.device()).unwrap());
    let config = BatchNormConfig {
        mode: BatchNormMode::Train,
        eps: 1e-2,
        after: After::NOTHING,
    };
    let normalised = || batch_norm(&h, &ones, &zeros, &zeros, &ones, &config, None);
    let loss = |y: &Tensor| {
        let halves = [0, 2].map(|start| y.narrow(1, start, 2)?.exp()?.sum_all());
        let [low, high] = halves;
        low?.add(&high?)
    };
    let y = normalised().unwrap().y;
    let expected = grad(&loss(&y).unwrap(), &[&y], false).unwrap().remove(0);
    let expected = expected.unwrap().to_f64_vec().unwrap();
    let (scalar, mut kept) = (loss(&y).unwrap(), Vec::new());
    let take = |i, g: Tensor| {
        kept.push((i, g.into_value()));
        Ok(())
    };
    backward_each(scalar, vec![y, x], take).unwrap();
    let (_, value) = kept.into_iter().find(|(i, _)| *i == 0).unwrap();
    assert_eq!(Tensor::constant(value).to_f64_vec().unwrap(), expected);
}
