//! Results that are written over an operand which nobody else holds.

use std::cell::Cell;
use std::marker::PhantomData;

use candle_core::{CpuStorage, InplaceOp1, Layout};

use super::Scalar;
use crate::error::{Error, Result};
use crate::value::Value;

/// Work on the entries of a value, and its result.
struct Over<T, F, R> {
    op: &'static str,
    work: Cell<Option<F>>,
    result: Cell<Option<R>>,
    entries: PhantomData<T>,
}

impl<T: Scalar, R, F: FnOnce(&mut [T]) -> R> InplaceOp1 for Over<T, F, R> {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        if let (Some((start, end)), Some(entries)) =
            (layout.contiguous_offsets(), T::entries(storage))
            && let Some(work) = self.work.take()
        {
            self.result.set(Some(work(&mut entries[start..end])));
        }
        Ok(())
    }
}

/// Lets `work` write over the entries of a value on the CPU. All that holds the value sees it: nobody else should.
pub(crate) fn over<T: Scalar, R>(
    op: &'static str,
    value: &Value,
    work: impl FnOnce(&mut [T]) -> R,
) -> Result<R> {
    let over = Over {
        op,
        work: Cell::new(Some(work)),
        result: Cell::new(None),
        entries: PhantomData,
    };
    value.inplace_op1(&over)?;
    let result = over.result.take();
    result.ok_or_else(|| Error::argument(op, "expected contiguous entries of one type"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn entries_are_written_where_they_lie() {
        let value = Value::from_vec(vec![1.0f32, 2.0, 3.0], 3, &Device::Cpu).unwrap();
        let part = value.narrow(0, 1, 2).unwrap();
        let sum = over("test", &part, |entries: &mut [f32]| {
            entries[0] = 5.0;
            entries.iter().sum::<f32>()
        });
        assert_eq!(sum.unwrap(), 8.0);
        assert_eq!(value.to_vec1::<f32>().unwrap(), [1.0, 5.0, 3.0]);
        let wrong = over("test", &value, |_: &mut [f64]| ());
        assert!(
            wrong
                .unwrap_err()
                .to_string()
                .contains("contiguous entries")
        );
    }
}
