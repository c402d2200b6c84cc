//! Values that nobody makes before somebody reads them.

use std::any::Any;
use std::sync::OnceLock;

use super::error::Result;
use super::kernel::batch_norm::ChannelMap;
use super::kernel::conv::Images;
use super::kernel::elementary::Elementary;
use super::kernel::joined::{add_slice, placed};
use super::kernel::{Host, Scalar, to_value};
use super::value::Value;

/// A value that is still to be made, on the CPU.
pub(crate) struct Pending {
    /// A value of the same shape, type and device.
    like: Value,
    from: From,
    made: OnceLock<Value>,
}

enum From {
    Mapped(Mapped),
    Pieces(Pieces),
}

/// Images of which each entry is still to go through the map of its channel. Whoever reads each entry once can do so on the way, and spares
/// writing and reading them.
pub(crate) struct Mapped {
    x: Value,
    /// A [`ChannelMap`] of the type of the entries.
    map: Box<dyn Any + Send + Sync>,
    make: fn(&Self) -> Result<Value>,
}

/// Slices along a dimension that are still to be put in their places, with zeros where there are none. Sums of such values that do not
/// overlap are the slices of all.
#[derive(Clone)]
pub(crate) struct Pieces {
    dim: usize,
    size: usize,
    /// Where each starts, in ascending order.
    pieces: Vec<(usize, Value)>,
}

impl Pending {
    fn new(like: Value, from: From) -> Self {
        let made = OnceLock::new();
        Self { like, from, made }
    }

    /// `x` (N, C, H, W) in row-major order, with entries of type `T`, through a map.
    pub(crate) fn mapped<T: Elementary>(x: Value, map: ChannelMap<T>) -> Self {
        let mapped = Mapped {
            x: x.clone(),
            map: Box::new(map),
            make: Mapped::make::<T>,
        };
        Self::new(x, From::Mapped(mapped))
    }

    /// Slices of floating-point numbers in their places.
    pub(crate) fn pieces(pieces: Pieces) -> Result<Self> {
        let first = &pieces.pieces[0].1;
        let mut dims = first.dims().to_vec();
        dims[pieces.dim] = pieces.size;
        let like = Value::zeros((), first.dtype(), first.device())?;
        Ok(Self::new(like.broadcast_as(dims)?, From::Pieces(pieces)))
    }

    /// A value of the same shape, type and device.
    pub(crate) fn like(&self) -> &Value {
        &self.like
    }

    /// Images behind a map, if it is that.
    pub(crate) fn as_mapped(&self) -> Option<&Mapped> {
        match &self.from {
            From::Mapped(mapped) => Some(mapped),
            From::Pieces(_) => None,
        }
    }

    /// Slices, if it is that.
    pub(crate) fn as_pieces(&self) -> Option<&Pieces> {
        match &self.from {
            From::Mapped(_) => None,
            From::Pieces(pieces) => Some(pieces),
        }
    }

    /// Whether somebody has read the value.
    pub(crate) fn is_made(&self) -> bool {
        self.made.get().is_some()
    }

    /// The value, made now if it has not been.
    pub(crate) fn value(&self) -> &Value {
        let make = || match &self.from {
            From::Mapped(mapped) => (mapped.make)(mapped),
            From::Pieces(pieces) => placed(&pieces.pieces, pieces.dim, pieces.size),
        };
        let made = || make().expect("numbers on the CPU, of sizes that fit");
        self.made.get_or_init(made)
    }
}

impl Mapped {
    /// What the map is applied to.
    pub(crate) fn x(&self) -> &Value {
        &self.x
    }

    /// The map, if entries are of type `T`.
    pub(crate) fn map<T: Elementary>(&self) -> Option<&ChannelMap<T>> {
        self.map.downcast_ref()
    }

    fn make<T: Elementary>(&self) -> Result<Value> {
        let dims = self.x.dims();
        let entries = Host::<T>::open("batch_norm", &self.x)?;
        let images = Images::plain(&entries);
        let map = self.map().expect("of the type that it was made with");
        let data = images.mapped(map, dims[1], dims[2] * dims[3]);
        to_value(data, dims, &self.x)
    }
}

impl Pieces {
    /// One slice, which starts at `start` of `size` in dimension `dim`.
    pub(crate) fn one(piece: Value, dim: usize, start: usize, size: usize) -> Self {
        let pieces = vec![(start, piece)];
        Self { dim, size, pieces }
    }

    /// Adds the slices to numbers of the whole.
    pub(crate) fn added_to<T: Scalar>(&self, numbers: &mut [T]) -> Result<()> {
        let mut slices = self.pieces.iter();
        slices
            .try_for_each(|(start, slice)| add_slice(numbers, slice, [self.dim, *start, self.size]))
    }

    /// The slices of both, if none overlap.
    pub(crate) fn with(&self, other: &Self) -> Option<Self> {
        if (self.dim, self.size) != (other.dim, other.size) {
            return None;
        }
        let mut pieces = [&self.pieces[..], &other.pieces[..]].concat();
        pieces.sort_by_key(|(start, _)| *start);
        let apart = pieces.windows(2).all(|pair| {
            let [(start, piece), (next, _)] = pair else {
                return true;
            };
            start + piece.dims()[self.dim] <= *next
        });
        apart.then_some(Self { pieces, ..*self })
    }
}
