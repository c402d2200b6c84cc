//! CPU kernels on candle values, without any graph, one file a subject.
//!
//! A kernel splits its work by the shape alone and adds partial sums in a fixed order, so its bytes do not depend on
//! the number of threads.

pub(crate) mod affine;
#[cfg(target_arch = "x86_64")]
mod amx;
pub(crate) mod attention;
pub(crate) mod batch_norm;
pub(crate) mod conv;
pub(crate) mod elementary;
pub(crate) mod elementwise;
mod fetch;
pub(crate) mod gemm;
pub(crate) mod group_norm;
pub(crate) mod group_norm_twice;
pub(crate) mod groups;
pub(crate) mod im2col;
pub mod isa;
pub(crate) mod joined;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod layout;
pub(crate) mod lockstep;
pub(crate) mod matrix;
pub(crate) mod output;
pub(crate) mod over;
pub(crate) mod pool;
pub(crate) mod product;
pub(crate) mod reduce;
pub(crate) mod resample;
mod row_norm;
pub(crate) mod scratch;
pub(crate) mod separable;
pub(crate) mod softmax;
pub(crate) mod strided;
pub(crate) mod sums;
pub(crate) mod tasks;
pub(crate) mod unary;

use std::marker::PhantomData;
use std::ops::{Add, Deref, Div, Mul, Neg, Range, Sub};

use candle_core::{CpuStorage, Storage, StorageRef, WithDType};
use pulp::NullaryFnOnce;

use super::error::{Error, Result};
use super::value::Value;
use conv::{Direction, Images};
use im2col::ConvShape;
use isa::{Isa, isa};
use matrix::Matrix;
use product::{Factors, Product, Start};

/// The floating-point types that the kernels compute in.
pub trait Scalar:
    WithDType
    + Default
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Square root.
    fn square_root(self) -> Self;
    /// The larger of two numbers.
    fn larger(self, other: Self) -> Self;
    /// The entries of a storage of this type.
    fn entries(storage: &mut CpuStorage) -> Option<&mut [Self]>;
    /// A convolution in blocks of channels, if this type has one for the shape.
    fn blocked_conv(
        _: Direction,
        _: &ConvShape,
        _: Factors,
        _: Images<'_, Self>,
        _: &[Self],
    ) -> Option<Vec<Self>> {
        None
    }
    /// Computes a product of matrices, if this type has a kernel of ours for it, and says whether it did.
    ///
    /// # Safety
    /// The factors and the start hold all entries; the result takes all rows, and nobody else reads or writes them.
    unsafe fn product(
        _: &Product,
        _: Matrix<'_, Self>,
        _: Matrix<'_, Self>,
        _: Start<'_, Self>,
        _: *mut Self,
    ) -> bool {
        false
    }
}

macro_rules! scalar {
    ($type:ty, $storage:ident $(, $blocked:path, $product:path)?) => {
        impl Scalar for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            fn square_root(self) -> Self {
                self.sqrt()
            }
            fn larger(self, other: Self) -> Self {
                if self > other { self } else { other }
            }
            fn entries(storage: &mut CpuStorage) -> Option<&mut [Self]> {
                match storage {
                    CpuStorage::$storage(entries) => Some(entries),
                    _ => None,
                }
            }
            $(
                fn blocked_conv(
                    direction: Direction,
                    shape: &ConvShape,
                    factors: Factors,
                    a: Images<'_, Self>,
                    b: &[Self],
                ) -> Option<Vec<Self>> {
                    $blocked(direction, shape, factors, a, b)
                }
                unsafe fn product(
                    size: &Product,
                    a: Matrix<'_, Self>,
                    b: Matrix<'_, Self>,
                    start: Start<'_, Self>,
                    out: *mut Self,
                ) -> bool {
                    // SAFETY: the caller's promise.
                    unsafe { $product(size, a, b, start, out) }
                }
            )?
        }
    };
}
scalar!(f32, F32, conv::blocked, product::product);
scalar!(f64, F64);

/// Runs an expression with the type parameter bound to the floating-point type of a tensor.
macro_rules! dispatch {
    ($op:expr, $dtype:expr, $type:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $type = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $type = f64;
                $body
            }
            other => Err($crate::error::Error::argument(
                $op,
                format!("expected f32 or f64 entries, got {other:?}"),
            )),
        }
    };
}
pub(crate) use dispatch;

/// A contiguous view of a CPU value; holds the storage's read lock.
pub(crate) struct Host<'a, T> {
    storage: StorageRef<'a>,
    range: Range<usize>,
    entries: PhantomData<T>,
}

impl<'a, T: WithDType> Host<'a, T> {
    /// Opens a value; it has to lie on the CPU, be contiguous and have entries of type `T`.
    pub(crate) fn open(op: &'static str, value: &'a Value) -> Result<Self> {
        let Some((start, end)) = value.layout().contiguous_offsets() else {
            return Err(Error::argument(op, "expected a contiguous tensor"));
        };
        let mut host = Self::starting(op, value, start)?;
        host.range.end = end;
        Ok(host)
    }

    /// As [`Host::open`], all entries of the storage from `start` on.
    fn starting(op: &'static str, value: &'a Value, start: usize) -> Result<Self> {
        let (storage, _) = value.storage_and_layout();
        let end = match &*storage {
            Storage::Cpu(cpu) => cpu.as_slice::<T>()?.len(),
            _ => {
                return Err(Error::argument(
                    op,
                    "no kernel for this device, only for the cpu",
                ));
            }
        };
        Ok(Self {
            storage,
            range: start..end,
            entries: PhantomData,
        })
    }
}

impl<T: WithDType> Deref for Host<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        let Storage::Cpu(cpu) = &*self.storage else {
            unreachable!("checked when opened")
        };
        &cpu.as_slice::<T>().expect("checked when opened")[self.range.clone()]
    }
}

/// A CPU value from a kernel's result.
pub(crate) fn to_value<T: WithDType>(data: Vec<T>, dims: &[usize], like: &Value) -> Result<Value> {
    Ok(Value::from_vec(data, dims, like.device())?)
}

/// A slice that parallel tasks write disjoint parts of.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: the pointer comes from a unique borrow, and `part` obliges its caller to keep concurrent parts disjoint.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}
// SAFETY: as above; sending the borrow to another thread is sound for entries that are Send.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            slice: PhantomData,
        }
    }

    /// One part, checked against the bounds of the slice.
    ///
    /// # Safety
    /// No two parts that live at the same time may overlap.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start + len <= self.len, "a part lies inside its slice");
        // SAFETY: in bounds by the assertion; unique by the caller's promise; the borrow outlives `self`.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

/// Runs `f` compiled for the widest vectors of this processor. Only the width differs: no operation is fused or reordered, so
/// the bytes are the same on all of them.
///
/// What `f` calls must be inlined to profit, and so must `f`: it has to be a closure marked `#[inline(always)]`. It moves what it
/// captures, so that slices are known to the loops and not read again after each write.
#[inline(always)]
pub(crate) fn vectorised<R>(f: impl FnMut() -> R) -> R {
    let f = Inlined(f);
    match isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Amx => match pulp::x86::V4::try_new() {
            Some(simd) => simd.vectorize(f),
            None => f.call(),
        },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => match pulp::x86::V3::try_new() {
            Some(simd) => simd.vectorize(f),
            None => f.call(),
        },
        _ => f.call(),
    }
}

/// A closure called by its own kind, `FnMut`. As an `FnOnce` it would be called through a shim that is too large to be inlined.
pub(crate) struct Inlined<F>(pub(crate) F);

impl<R, F: FnMut() -> R> NullaryFnOnce for Inlined<F> {
    type Output = R;

    #[inline(always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_needs_contiguous_entries_of_its_type() {
        let value =
            Value::zeros((2, 3), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        assert_eq!(Host::<f32>::open("test", &value).unwrap().len(), 6);
        assert!(Host::<f64>::open("test", &value).is_err());
        assert!(Host::<f32>::open("test", &value.t().unwrap()).is_err());
    }
}
