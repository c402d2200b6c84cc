//! Tests of statistics that parts of a batch share: against the whole batch, with each part on a thread of its own.

use std::sync::{Barrier, Mutex};

use super::*;
use crate::error::Result;
use crate::grad;
use crate::gradcheck::ramp;
use crate::tensor::Tensor;
use std::sync::Arc;

/// What the threads leave for each other.
struct Meeting {
    told: Mutex<Vec<Vec<f64>>>,
    all_are_here: Barrier,
}

struct Seat(usize, Arc<Meeting>);

impl Parts for Seat {
    fn gather(&self, own: Vec<f64>) -> Result<Arc<Vec<Vec<f64>>>> {
        let Self(number, meeting) = self;
        meeting.told.lock().unwrap()[*number] = own;
        meeting.all_are_here.wait();
        let all = Arc::new(meeting.told.lock().unwrap().clone());
        meeting.all_are_here.wait();
        Ok(all)
    }
}

/// Results and gradients of x, weight, bias and residual, on images `rows` of a batch of five.
fn pass(rows: (usize, usize), relu: bool, residual: bool) -> Result<Vec<Tensor>> {
    let part = |t: Tensor| t.narrow(0, rows.0, rows.1);
    let leaf = |t: Tensor| Tensor::leaf(t.into_value());
    let dims = [5, 2, 3, 2];
    let x = leaf(part(ramp(&dims, 0.37))?);
    let other = leaf(part(ramp(&dims, 0.8))?);
    let weight = leaf(ramp(&[2], 0.9).affine(0.3, 1.0)?);
    let bias = leaf(ramp(&[2], 0.2));
    let running = Tensor::full(0.5, &[2], x.dtype(), x.device())?;
    let config = BatchNormConfig {
        mode: BatchNormMode::Train,
        eps: 1e-2,
        after: if relu { After::RELU } else { After::NOTHING },
    };
    let residual = residual.then_some(&other);
    let made = batch_norm(&x, &weight, &bias, &running, &running, &config, residual)?;
    let loss = made.y.mul(&part(ramp(&dims, 1.7))?)?.sum_all()?;
    let mut inputs = vec![&x, &weight, &bias];
    inputs.extend(residual);
    let grads = grad(&loss, &inputs, false)?.into_iter().flatten();
    let [mean, var] = [made.mean, made.var].map(|s| s.expect("statistics"));
    Ok([made.y, mean, var].into_iter().chain(grads).collect())
}

#[test]
fn parts_that_share_statistics_are_the_batch() {
    for flags in 0..4 {
        let (relu, residual) = (flags % 2 == 1, flags / 2 == 1);
        let whole = pass((0, 5), relu, residual).unwrap();
        let parts = [(0, 2), (2, 1), (3, 2)];
        let meeting = Arc::new(Meeting {
            told: Mutex::new(vec![Vec::new(); parts.len()]),
            all_are_here: Barrier::new(parts.len()),
        });
        let made: Vec<Vec<Tensor>> = std::thread::scope(|scope| {
            let threads: Vec<_> = parts
                .iter()
                .enumerate()
                .map(|(number, rows)| {
                    let meeting = meeting.clone();
                    scope.spawn(move || {
                        let _sharing = share_statistics(Arc::new(Seat(number, meeting)));
                        pass(*rows, relu, residual).unwrap()
                    })
                })
                .collect();
            let done = threads.into_iter();
            done.map(|thread| thread.join().unwrap()).collect()
        });
        for (i, expected) in whole.iter().enumerate() {
            let expected = expected.to_f64_vec().unwrap();
            let of_part = |part: &Vec<Tensor>| part[i].to_f64_vec().unwrap();
            let got: Vec<f64> = match i {
                // Statistics: each part has those of all.
                1 | 2 => of_part(&made[2]),
                // Weight and bias: their gradients add up.
                4 | 5 => {
                    let each: Vec<Vec<f64>> = made.iter().map(of_part).collect();
                    (0..2).map(|c| each.iter().map(|g| g[c]).sum()).collect()
                }
                _ => made.iter().flat_map(of_part).collect(),
            };
            assert_eq!(got.len(), expected.len());
            for (got, expected) in got.iter().zip(&expected) {
                let apart = (got - expected).abs();
                assert!(
                    apart < 1e-12,
                    "{relu} {residual} output {i}: {got} {expected}"
                );
            }
        }
    }
}

#[test]
fn a_batch_of_one_part_is_as_it_was() {
    let alone = Arc::new(Meeting {
        told: Mutex::new(vec![Vec::new()]),
        all_are_here: Barrier::new(1),
    });
    let plain = pass((0, 5), true, true).unwrap();
    let shared = {
        let _sharing = share_statistics(Arc::new(Seat(0, alone)));
        pass((0, 5), true, true).unwrap()
    };
    for (i, (plain, shared)) in plain.iter().zip(&shared).enumerate() {
        let of = |t: &Tensor| t.to_f64_vec().unwrap();
        for (a, b) in of(plain).iter().zip(of(shared)) {
            assert!((a - b).abs() < 1e-13, "output {i}: {a} {b}");
        }
    }
}

#[test]
fn shared_statistics_have_no_second_derivative() {
    let alone = Arc::new(Meeting {
        told: Mutex::new(vec![Vec::new()]),
        all_are_here: Barrier::new(1),
    });
    let _sharing = share_statistics(Arc::new(Seat(0, alone)));
    let x = Tensor::leaf(ramp(&[2, 2, 2, 2], 0.3).into_value());
    let one = Tensor::full(1., &[2], x.dtype(), x.device()).unwrap();
    let config = BatchNormConfig {
        mode: BatchNormMode::Train,
        eps: 1e-2,
        after: After::NOTHING,
    };
    let made = batch_norm(&x, &one, &one, &one, &one, &config, None).unwrap();
    let loss = made.y.sqr().unwrap().sum_all().unwrap();
    let text = grad(&loss, &[&x], true).unwrap_err().to_string();
    assert!(text.contains("first order"), "{text}");
}
