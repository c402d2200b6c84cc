//! Tests of who holds the memory of a device.

use super::*;
use crate::gpu::{emulated, emulator::switched};
use crate::gradcheck::device;
use crate::{Tensor, grad};
use candle_core::{DType, Device};

fn named(what: &'static str) -> Option<Held> {
    largest(usize::MAX).into_iter().find(|h| h.what == what)
}

#[test]
fn the_largest_at_the_peak_are_told_after_it() {
    const BYTES: usize = 1 << 50; // more than other tests of this process hold
    let first = Holding::of_bytes("a test's first", BYTES);
    let second = Holding::of_bytes("a test's second", 2 * BYTES);
    drop(first);
    drop(second);
    drop(Holding::of_bytes("a test's third", BYTES));
    let told = largest(2);
    let expected = [("a test's second", 2), ("a test's first", 1)];
    let expected = expected.map(|(what, times)| Held {
        what,
        values: 1,
        bytes: (times * BYTES) as u64,
    });
    assert_eq!(told, expected);
    forget_peak();
    assert_eq!(named("a test's second"), None);
}

#[test]
fn values_on_the_device_count_once_and_by_their_maker() {
    let zeros = |device: &Device| Value::zeros((7, 11), DType::F32, device).unwrap();
    let on_cpu = || Holding::of("on the CPU", &zeros(&Device::Cpu));
    assert!(switched(false, on_cpu).is_none());
    let x = Tensor::leaf(zeros(&device()));
    emulated(|| {
        let value = zeros(&device());
        let holders = [0, 1].map(|_| Holding::of("kept twice", &value));
        let count = || ledger().as_ref().unwrap().kept[&value.id()];
        assert_eq!(count(), 2);
        let [one, other] = holders;
        drop(one);
        assert_eq!(count(), 1);
        drop(other);
        let known = |id| ledger().as_ref().unwrap().kept.contains_key(&id);
        assert!(!known(value.id()));
        // exp keeps its result, mul both factors: the first of them by the name of its maker.
        let y = x.exp().unwrap();
        let z = y.mul(&y).unwrap().sum_all().unwrap();
        assert!(known(y.value().id()));
        grad(&z, &[&x], false).unwrap();
        let id = y.value().id();
        drop((y, z));
        assert!(!known(id));
    });
}
