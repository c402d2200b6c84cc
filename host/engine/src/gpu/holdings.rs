//! The largest users of device memory: values kept by graphs, by the operation that created them, and other registered holders.
//! Used in the out-of-memory message.
//!
//! Counted are values on a GPU alone. A value that several nodes keep counts once. What is used within one operation (gradients on
//! their way, results that nobody keeps) is not counted.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::TensorId;

use super::Gpu;
use crate::value::Value;

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

/// What values that no recorded operation made are for: parameters, images and others.
pub(crate) const INPUTS: &str = "parameters and inputs";

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

/// Resets the peak to what is held now.
pub fn forget_peak() {
    if let Some(ledger) = ledger().as_mut() {
        (ledger.peak_bytes, ledger.rising) = (ledger.bytes, true);
    }
}

#[cfg(test)]
#[path = "holdings_test.rs"]
mod tests;
