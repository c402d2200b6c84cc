//! Values that nobody makes before somebody reads them.

use std::any::Any;
use std::sync::OnceLock;

use super::error::Result;
use super::kernel::batch_norm::ChannelMap;
use super::kernel::conv::Images;
use super::kernel::elementary::Elementary;
use super::kernel::{Host, to_value};
use super::value::Value;

/// Images of which each entry is still to go through the map of its channel. Whoever reads each entry once can do so on the way, and spares
/// writing and reading them.
pub(crate) struct Pending {
    x: Value,
    /// A [`ChannelMap`] of the type of the entries.
    map: Box<dyn Any + Send + Sync>,
    make: fn(&Self) -> Result<Value>,
    made: OnceLock<Value>,
}

impl Pending {
    /// `x` (N, C, H, W) lies on the CPU in row-major order, its entries are of type `T`.
    pub(crate) fn new<T: Elementary>(x: Value, map: ChannelMap<T>) -> Self {
        Self {
            x,
            map: Box::new(map),
            make: Self::make::<T>,
            made: OnceLock::new(),
        }
    }

    /// What the map is applied to.
    pub(crate) fn x(&self) -> &Value {
        &self.x
    }

    /// The map, if entries are of type `T`.
    pub(crate) fn map<T: Elementary>(&self) -> Option<&ChannelMap<T>> {
        self.map.downcast_ref()
    }

    /// The value, made now if it has not been.
    pub(crate) fn value(&self) -> &Value {
        let make = || (self.make)(self).expect("contiguous images of this type on the CPU");
        self.made.get_or_init(make)
    }

    fn make<T: Elementary>(&self) -> Result<Value> {
        let dims = self.x.dims();
        let entries = Host::<T>::open("batch_norm", &self.x)?;
        let images = Images::plain(&*entries);
        let map = self.map().expect("of the type that it was made with");
        let data = images.mapped(map, dims[1], dims[2] * dims[3]);
        to_value(data, dims, &self.x)
    }
}
