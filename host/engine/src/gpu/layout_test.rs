//! Tests of channels-last images: both layouts give the same values and gradients, and nothing is copied on the way.

use super::*;
use crate::gpu::emulated;
use crate::grad;
use crate::gradcheck::{device, ramp};
use crate::ops::arrange::arranged;
use crate::ops::conv::{Conv2dParams, conv2d};
use crate::ops::norm::{After, BatchNormConfig, BatchNormMode, batch_norm};
use crate::tensor::Tensor;

fn images(dims: [usize; 4], phase: f64, entries: DType) -> Value {
    let x = ramp(&dims, phase).to_dtype(entries).unwrap();
    x.into_value()
}

fn last(x: &Value) -> Value {
    arranged(Order::Last, x).unwrap()
}

fn numbers(x: &Value) -> Vec<f64> {
    Tensor::constant(x.clone()).to_f64_vec().unwrap()
}

/// `‖a - b‖ / ‖b‖`.
fn distance(a: &Value, b: &Value) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (numbers(a), numbers(b));
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let off = norm(&mut a.iter().zip(&b).map(|(a, b)| a - b));
    off / norm(&mut b.iter().copied()).max(1e-30)
}

#[test]
fn images_are_turned_and_back() {
    emulated(|| {
        for dims in [[2, 3, 5, 7], [1, 40, 9, 11], [3, 33, 1, 2], [2, 64, 4, 8]] {
            for entries in [DType::F32, DType::F64, DType::BF16, DType::U8] {
                let x = match entries {
                    DType::U8 => images(dims, 0.3, DType::F32).ge(0.0).unwrap(),
                    _ => images(dims, 0.3, entries),
                };
                let turned = last(&x);
                assert!(is_last(&turned) && !is_last(&x) && turned.dims() == dims);
                let by_candle = x.permute((0, 2, 3, 1)).unwrap();
                let stored = turned.permute((0, 2, 3, 1)).unwrap();
                assert_eq!(numbers(&stored), numbers(&by_candle));
                let back = arranged(Order::First, &turned).unwrap();
                assert!(back.is_contiguous());
                assert_eq!(numbers(&back), numbers(&x));
                // A part of a batch lies at an offset.
                let part = turned.narrow(0, dims[0] - 1, 1).unwrap();
                let back = arranged(Order::First, &part).unwrap();
                let expected = x.narrow(0, dims[0] - 1, 1).unwrap();
                assert_eq!(numbers(&back), numbers(&expected));
            }
        }
    });
}

#[test]
fn what_lies_in_both_orders_counts_as_row_major_and_is_not_copied() {
    emulated(|| {
        for dims in [[2, 5, 1, 1], [2, 1, 3, 4]] {
            let x = images(dims, 0.3, DType::F32);
            assert_eq!(Order::of(&x), Order::First);
            assert!(last(&x).is_contiguous());
        }
    });
}

#[test]
fn the_rule_takes_bf16_by_eights_and_can_be_overruled() {
    let shape = |channels: [usize; 2], groups| ConvShape {
        batch: 2,
        in_channels: channels[0],
        out_channels: channels[1],
        groups,
        input: [4, 4],
        output: [4, 4],
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
    };
    assert_eq!(rule(DType::BF16, &shape([8, 16], 1)), Order::Last);
    assert_eq!(rule(DType::BF16, &shape([3, 16], 1)), Order::First);
    assert_eq!(rule(DType::BF16, &shape([8, 10], 1)), Order::First);
    assert_eq!(rule(DType::BF16, &shape([8, 16], 2)), Order::First);
    assert_eq!(rule(DType::F32, &shape([8, 16], 1)), Order::First);
    assert_eq!(requested_order(None), Ok(None));
    assert_eq!(requested_order(Some("nchw")), Ok(Some(Order::First)));
    assert_eq!(requested_order(Some("nhwc")), Ok(Some(Order::Last)));
    let text = requested_order(Some("chwn")).unwrap_err();
    assert!(text.contains("chwn") && text.contains("nhwc"), "{text}");
}

#[test]
fn elementwise_functions_keep_the_layout() {
    emulated(|| {
        let dims = [2, 5, 3, 4];
        for entries in [DType::F32, DType::BF16] {
            let [a, b] = [0.3, 0.7].map(|phase| images(dims, phase, entries));
            let [la, lb] = [&a, &b].map(last);
            let [a, b, la, lb] = [a, b, la, lb].map(Tensor::constant);
            let channel = ramp(&[1, 5, 1, 1], 0.2).to_dtype(entries).unwrap();
            let mask = images(dims, 0.9, DType::F32).ge(0.0).unwrap();
            let (lmask, mask) = (Tensor::constant(last(&mask)), Tensor::constant(mask));
            let pairs = [
                (la.add(&lb), a.add(&b)),
                (la.relu(), a.relu()),
                (la.mul(&channel), a.mul(&channel)),
                (channel.sub(&la), channel.sub(&a)),
                (la.gate(lb.value()), a.gate(b.value())),
                (lmask.where_cond(&la, &lb), mask.where_cond(&a, &b)),
                (la.zero_unless(&lmask), a.zero_unless(&mask)),
            ];
            for (i, (got, expected)) in pairs.into_iter().enumerate() {
                let (got, expected) = (got.unwrap(), expected.unwrap());
                assert!(is_last(got.value()), "{i}");
                assert_eq!(numbers(got.value()), numbers(expected.value()), "{i}");
            }
            // Operands that lie differently give row-major entries.
            let mixed = la.add(&b).unwrap();
            assert!(mixed.value().is_contiguous());
            assert_eq!(numbers(mixed.value()), numbers(a.add(&b).unwrap().value()));
        }
    });
}

/// Inputs of a batch normalisation.
struct Norm {
    dims: [usize; 4],
    mode: BatchNormMode,
    relu: bool,
    residual: bool,
    /// Whether weight and bias are learnt: else the ReLU's mask is kept behind a residual.
    learnt: bool,
    /// Whether the loss reads the result, or the statistics alone.
    result: bool,
}

impl Norm {
    /// Results and gradients, with images arranged by a function.
    fn run(&self, entries: DType, arranged: &dyn Fn(&Value) -> Value) -> Vec<Value> {
        let channels = [self.dims[1]];
        let vector = |phase, scale, shift| {
            let v = ramp(&channels, phase).affine(scale, shift).unwrap();
            v.to_dtype(crate::gpu::computed(entries)).unwrap()
        };
        let leaf = |v: Value| Tensor::leaf(v);
        let of = |phase| leaf(arranged(&images(self.dims, phase, entries)));
        let (x, residual) = (of(0.37), of(0.8));
        let [weight, bias] = [vector(0.9, 0.3, 1.0), vector(0.2, 1.0, 0.0)];
        let [weight, bias] = match self.learnt {
            true => [weight, bias].map(|t| leaf(t.into_value())),
            false => [weight, bias],
        };
        let config = BatchNormConfig {
            mode: self.mode,
            eps: 1e-5,
            after: if self.relu {
                After::RELU
            } else {
                After::NOTHING
            },
        };
        let running = [vector(0.1, 0.2, 0.0), vector(0.4, 0.3, 1.0)];
        let [mean, var] = &running;
        let beside = self.residual.then_some(&residual);
        let out = batch_norm(&x, &weight, &bias, mean, var, &config, beside).unwrap();
        let mut values = vec![out.y.value().clone()];
        let mut loss = Tensor::full(0.0, &[], crate::gpu::computed(entries), x.device()).unwrap();
        let mut read = |t: &Tensor, phase| {
            let t = t.to_dtype(loss.dtype()).unwrap();
            let by = ramp(t.dims(), phase).to_dtype(t.dtype()).unwrap();
            loss = loss.add(&t.mul(&by).unwrap().sum_all().unwrap()).unwrap();
        };
        if self.result {
            read(&out.y, 1.3);
        }
        for (i, statistic) in [&out.mean, &out.var].into_iter().flatten().enumerate() {
            values.push(statistic.value().clone());
            read(statistic, 2.1 + i as f64);
        }
        let mut inputs = vec![&x];
        if self.learnt {
            inputs.extend([&weight, &bias]);
        }
        inputs.extend(beside);
        let grads = grad(&loss, &inputs, false).unwrap();
        values.extend(grads.into_iter().flatten().map(Tensor::into_value));
        values
    }
}

fn norms(dims: [usize; 4]) -> Vec<Norm> {
    use BatchNormMode::{Eval, Recover, Train, TrainStatistics};
    let mut norms = Vec::new();
    for mode in [Train, Eval, Recover, TrainStatistics] {
        for bits in 0..16 {
            let bit = |i: usize| bits >> i & 1 == 1;
            let (relu, residual, learnt, result) = (bit(0), bit(1), bit(2), bit(3));
            if result || mode != Eval {
                norms.push(Norm {
                    dims,
                    mode,
                    relu,
                    residual,
                    learnt,
                    result,
                });
            }
        }
    }
    norms
}

#[test]
fn batch_norms_of_both_layouts_agree_and_keep_theirs() {
    emulated(|| {
        // Fewer and more channels than a block has, odd sizes, one and several pieces.
        for dims in [[3, 2, 3, 1], [3, 37, 5, 7], [2, 65, 1, 3], [5, 3, 13, 11]] {
            for norm in norms(dims) {
                let expected = norm.run(DType::F32, &Value::clone);
                let got = norm.run(DType::F32, &last);
                assert_eq!(got.len(), expected.len());
                for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    let (mode, relu) = (norm.mode, norm.relu);
                    let off = distance(got, expected);
                    assert!(off < 1e-5, "{dims:?} {mode:?} relu {relu} value {i}: {off}");
                    assert_eq!(is_last(got), got.rank() == 4, "{dims:?} value {i}");
                }
            }
        }
    });
}

#[test]
fn batch_norms_in_bf16_and_f64_agree_too() {
    emulated(|| {
        for norm in norms([3, 9, 5, 7]) {
            for (entries, tolerance) in [(DType::F64, 1e-12), (DType::BF16, 1e-2)] {
                let expected = norm.run(entries, &Value::clone);
                let got = norm.run(entries, &last);
                for (got, expected) in got.iter().zip(&expected) {
                    assert!(distance(got, expected) < tolerance);
                }
            }
        }
    });
}

#[test]
fn pooling_keeps_the_layout_and_its_values() {
    type Pool = fn(&Tensor) -> crate::error::Result<Tensor>;
    let pools: [Pool; 5] = [
        |x| x.max_pool2d([2, 2], [2, 2], [0, 0]),
        |x| x.max_pool2d([3, 2], [1, 3], [1, 1]),
        |x| x.avg_pool2d([3, 3], [2, 2], [1, 1], true),
        |x| x.adaptive_avg_pool2d(3, 2),
        |x| x.adaptive_avg_pool2d(1, 1),
    ];
    let run = |x: Value, pool: Pool| {
        let x = Tensor::leaf(x);
        let y = pool(&x).unwrap();
        let by = ramp(y.dims(), 1.3).to_dtype(y.dtype()).unwrap();
        let loss = y.mul(&by).unwrap().sum_all().unwrap();
        let g = grad(&loss, &[&x], false).unwrap().remove(0).unwrap();
        [y, g].map(Tensor::into_value)
    };
    emulated(|| {
        for (i, pool) in pools.into_iter().enumerate() {
            for entries in [DType::F32, DType::F64, DType::BF16] {
                let x = images([3, 5, 7, 6], 0.37, entries);
                let [expected, got] = [run(x.clone(), pool), run(last(&x), pool)];
                for (got, expected) in got.iter().zip(&expected) {
                    // A single place lies in both orders.
                    let place = got.dims()[2..] == [1, 1];
                    assert!(is_last(got) || place, "{i} {entries:?}");
                    assert_eq!(numbers(got), numbers(expected), "{i} {entries:?}");
                }
            }
        }
    });
}

/// A residual block with pooling and a loss: values and gradients, and the images between its layers.
fn block(entries: DType) -> (Vec<Value>, Vec<Value>) {
    let leaf = |dims: &[usize], phase, entries| {
        Tensor::leaf(ramp(dims, phase).to_dtype(entries).unwrap().into_value())
    };
    let channels = 16;
    let x = leaf(&[3, 8, 7, 5], 0.3, entries);
    let filters = [
        leaf(&[channels, 8, 3, 3], 0.5, entries),
        leaf(&[channels, channels, 3, 3], 0.7, entries),
        leaf(&[channels, 8, 1, 1], 0.9, entries),
    ];
    let vectors = [1.1, 1.3].map(|phase| leaf(&[channels], phase, DType::F32));
    let padded = Conv2dParams {
        padding: [1, 1],
        ..Default::default()
    };
    let norm = |x: &Tensor, relu, beside: Option<&Tensor>| {
        let mode = BatchNormMode::Train;
        let config = BatchNormConfig {
            mode,
            eps: 1e-5,
            after: if relu { After::RELU } else { After::NOTHING },
        };
        let [weight, bias] = &vectors;
        let [mean, var] = [0.0, 1.0].map(|v| {
            let full = Tensor::full(v, &[channels], DType::F32, &device());
            full.unwrap()
        });
        batch_norm(x, weight, bias, &mean, &var, &config, beside)
            .unwrap()
            .y
    };
    let y1 = conv2d(&x, &filters[0], &padded).unwrap();
    let y2 = norm(&y1, true, None);
    let y3 = conv2d(&y2, &filters[1], &padded).unwrap();
    let short = conv2d(&x, &filters[2], &Conv2dParams::default()).unwrap();
    let y4 = norm(&y3, true, Some(&norm(&short, false, None)));
    // The block's result has two readers, whose gradients are added.
    let y5 = y4.add(&y2).unwrap().relu().unwrap();
    let y6 = conv2d(&y5, &filters[1], &padded).unwrap();
    let most = y6.max_pool2d([2, 2], [2, 2], [0, 0]).unwrap();
    let pooled = most.adaptive_avg_pool2d(1, 1).unwrap();
    let wide = pooled.to_dtype(DType::F32).unwrap();
    let by = ramp(wide.dims(), 3.1).to_dtype(DType::F32).unwrap();
    let loss = wide.mul(&by).unwrap().sum_all().unwrap();
    let between = [&y1, &y2, &y3, &short, &y4, &y5, &y6, &most];
    let mut inputs = between.to_vec();
    inputs.push(&x);
    inputs.extend(filters.iter().chain(&vectors));
    let grads = grad(&loss, &inputs, false).unwrap().into_iter();
    let grads: Vec<Value> = grads.map(|g| g.unwrap().into_value()).collect();
    let passing = grads[..between.len()].iter().cloned();
    let between = between.iter().map(|t| t.value().clone());
    let between = between.chain(passing).collect();
    (
        std::iter::once(loss.into_value()).chain(grads).collect(),
        between,
    )
}

#[test]
fn a_block_is_the_same_in_both_layouts_and_nothing_in_it_is_copied() {
    emulated(|| {
        for (entries, tolerance) in [(DType::F32, 1e-4), (DType::BF16, 0.05)] {
            let (expected, rows) = forced(Order::First, || block(entries));
            let (got, between) = forced(Order::Last, || block(entries));
            assert!(rows.iter().all(|v| v.is_contiguous()));
            for (i, v) in between.iter().enumerate() {
                assert!(is_last(v), "{entries:?}: image {i} has {:?}", v.stride());
            }
            for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                let off = distance(got, expected);
                assert!(off < tolerance, "{entries:?}: value {i}: {off}");
            }
        }
    });
}

#[test]
fn convolutions_in_bf16_follow_the_rule() {
    emulated(|| {
        if overruling().is_some() {
            return;
        }
        let conv = |channels, entries| {
            let x = Tensor::constant(images([2, channels, 4, 4], 0.3, entries));
            let w = Tensor::constant(images([8, channels, 3, 3], 0.5, entries));
            conv2d(&x, &w, &Conv2dParams::default()).unwrap()
        };
        assert!(is_last(conv(8, DType::BF16).value()));
        assert!(conv(3, DType::BF16).value().is_contiguous());
        assert!(conv(8, DType::F32).value().is_contiguous());
    });
}
