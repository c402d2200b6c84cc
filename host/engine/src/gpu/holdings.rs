//! Who holds the device's memory: values that graphs keep, by the operation that made them, and whatever else says so. For the message
//! of a device that is full.
//!
//! Counted are values on a GPU alone. A value that several nodes keep counts once. What is used within one operation (gradients on
//! their way, results that nobody keeps) is not counted.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::TensorId;

use super::Gpu;
use crate::autograd::Edge;
use crate::tensor::Value;

/// What a holder has in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The operation that made the values, or what they are for.
    pub what: &'static str,
    /// How many values.
    pub values: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Parameters, images and other values that no recorded operation made.
const INPUTS: &str = "parameters and inputs";

#[derive(Default)]
struct Ledger {
    held: Vec<Held>,
    /// Values by identity, and how many keep them.
    kept: HashMap<TensorId, usize>,
    bytes: u64,
    peak_bytes: u64,
    /// Who held what at the peak; taken when the peak is left.
    at_peak: Vec<Held>,
    rising: bool,
}

static LEDGER: Mutex<Option<Ledger>> = Mutex::new(None);

fn ledger() -> MutexGuard<'static, Option<Ledger>> {
    LEDGER.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    fn add(&mut self, what: &'static str, bytes: u64) {
        match self.held.iter_mut().find(|held| held.what == what) {
            Some(held) => (held.values, held.bytes) = (held.values + 1, held.bytes + bytes),
            None => self.held.push(Held {
                what,
                values: 1,
                bytes,
            }),
        }
        self.bytes += bytes;
        if self.bytes > self.peak_bytes {
            (self.peak_bytes, self.rising) = (self.bytes, true);
        }
    }

    fn remove(&mut self, what: &'static str, bytes: u64) {
        if self.rising {
            (self.at_peak, self.rising) = (self.held.clone(), false);
        }
        if let Some(held) = self.held.iter_mut().find(|held| held.what == what) {
            (held.values, held.bytes) = (held.values - 1, held.bytes - bytes);
        }
        self.bytes -= bytes;
    }
}

/// A share of the device's memory, counted while it lives.
#[derive(Debug)]
pub struct Holding {
    what: &'static str,
    bytes: u64,
    value: Option<TensorId>,
}

impl Holding {
    /// Memory of some bytes for something.
    pub fn of_bytes(what: &'static str, bytes: usize) -> Self {
        let bytes = bytes as u64;
        ledger().get_or_insert_default().add(what, bytes);
        Self {
            what,
            bytes,
            value: None,
        }
    }

    /// A value that something keeps; none where it does not lie on a GPU.
    pub fn of(what: &'static str, value: &Value) -> Option<Self> {
        Gpu::at(value.device())?;
        let bytes = (value.elem_count() * value.dtype().size_in_bytes()) as u64;
        let mut ledger = ledger();
        let ledger = ledger.get_or_insert_default();
        let keepers = ledger.kept.entry(value.id()).or_default();
        *keepers += 1;
        if *keepers == 1 {
            ledger.add(what, bytes);
        }
        Some(Self {
            what,
            bytes,
            value: Some(value.id()),
        })
    }

    /// A value that a node keeps, under the name of the operation that made it.
    pub(crate) fn of_input(edge: &Edge, value: &Value) -> Option<Self> {
        let maker = edge.as_ref().and_then(|(node, _)| node.operation().ok()?);
        Self::of(maker.map_or(INPUTS, |operation| operation.name()), value)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let mut ledger = ledger();
        let Some(ledger) = ledger.as_mut() else {
            return;
        };
        if let Some(id) = self.value {
            let Some(keepers) = ledger.kept.get_mut(&id) else {
                return;
            };
            *keepers -= 1;
            if *keepers > 0 {
                return;
            }
            ledger.kept.remove(&id);
        }
        ledger.remove(self.what, self.bytes);
    }
}

/// Bytes that are held now.
pub fn bytes() -> u64 {
    ledger().as_ref().map_or(0, |ledger| ledger.bytes)
}

/// Who held most when most was held since the start or [`forget_peak`], the largest first.
pub fn largest(count: usize) -> Vec<Held> {
    let ledger = ledger();
    let Some(ledger) = ledger.as_ref() else {
        return Vec::new();
    };
    let mut held = match ledger.rising {
        true => ledger.held.clone(),
        false => ledger.at_peak.clone(),
    };
    held.retain(|held| held.bytes > 0);
    held.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.what.cmp(b.what)));
    held.truncate(count);
    held
}

/// Lets the peak begin anew from what is held now.
pub fn forget_peak() {
    if let Some(ledger) = ledger().as_mut() {
        (ledger.peak_bytes, ledger.rising) = (ledger.bytes, true);
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
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
}
