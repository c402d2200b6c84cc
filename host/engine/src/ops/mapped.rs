//! Linear maps of image planes along rows and columns: what averages over windows and bilinear crops are.

use std::sync::{Arc, OnceLock};

use super::arrange::arranged;
use super::on_device;
use crate::error::Result;
use crate::gpu;
use crate::gpu::layout::Order;
use crate::gpu::separable::Tables;
use crate::kernel::separable::{Map, apply};
use crate::kernel::{Host, to_value};
use crate::tensor::Tensor;
use crate::value::Value;

/// The maps of all images, or one for the batch, and their transposes.
pub(super) struct Maps {
    forward: Vec<Map>,
    transposed: Vec<Map>,
    /// Both on the device, once they were needed there.
    tables: [OnceLock<Tables>; 2],
}

impl Maps {
    pub(super) fn new(forward: Vec<Map>) -> Arc<Self> {
        let transposed = forward.iter().map(Map::transposed).collect();
        Arc::new(Self {
            forward,
            transposed,
            tables: Default::default(),
        })
    }

    /// The maps, or their transposes, on the device of `like`.
    fn tables(&self, transposed: bool, like: &Value) -> Result<&Tables> {
        let (maps, place) = match transposed {
            true => (&self.transposed, &self.tables[1]),
            false => (&self.forward, &self.tables[0]),
        };
        if let Some(tables) = place.get() {
            return Ok(tables);
        }
        let tables = Tables::new(maps, like.device())?;
        Ok(place.get_or_init(|| tables))
    }
}

/// Applies the maps to images, or their transposes to gradients; each is the other's backward. Channels-last images stay so.
///
/// # Shapes
/// x (N, C, H, W) and 1 or N maps give (N, C, OH, OW).
pub(super) fn mapped(
    op: &'static str,
    x: &Tensor,
    maps: &Arc<Maps>,
    transposed: bool,
) -> Result<Tensor> {
    in_order(op, x, Order::of(x.value()), maps, transposed)
}

fn in_order(
    op: &'static str,
    x: &Tensor,
    order: Order,
    maps: &Arc<Maps>,
    transposed: bool,
) -> Result<Tensor> {
    let [batch, channels, ..] = x.dims_n::<4>(op)?;
    let used = if transposed {
        &maps.transposed
    } else {
        &maps.forward
    };
    let [height, width] = used.first().map_or([0, 0], Map::output);
    let images = arranged(order, x.value())?;
    let dims = [batch, channels, height, width];
    let value = on_device!(op, &images,
        gpu => {
            let tables = maps.tables(transposed, &images)?;
            gpu::separable::mapped(&gpu, op, (order, &images), tables, &dims)
        },
        T => {
            let mapped = apply(&Host::<T>::open(op, &images)?, used, channels.max(1));
            to_value(mapped, &dims, &images)
        }
    )?;
    let maps = maps.clone();
    x.moved(op, Ok(value), move |_, g| {
        Ok(in_order(op, g, order, &maps, !transposed)?.made())
    })
}
