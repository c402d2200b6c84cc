//! What changes an image before its crop: RandAugment's operations, then a shuffle of tiles. On the CPU, on bytes.
//!
//! The order is that of the methods' code: RandAugment takes the decoded image (EDC, DELT), RDED's shuffle comes right before the
//! crop.

use anyhow::{Result, ensure};
use plugin_api::view::{Before, Tiles};

use super::rand_augment::apply;

/// The bytes of an image with its changes, [3, R, R].
///
/// # Errors
/// When the tiles do not divide its side.
pub(super) fn changed(image: &[u8], side: usize, before: &Before) -> Result<Vec<u8>> {
    let mut pixels = image.to_vec();
    for operation in before.operations.iter().flatten() {
        apply(&mut pixels, side, *operation);
    }
    match &before.tiles {
        Some(tiles) => shuffled(&pixels, side, tiles),
        None => Ok(pixels),
    }
}

/// Columns of tiles in another order, and rows (RDED, `ShufflePatches`).
fn shuffled(image: &[u8], side: usize, tiles: &Tiles) -> Result<Vec<u8>> {
    let count = usize::from(tiles.count).max(1);
    ensure!(
        side.is_multiple_of(count),
        "{count} tiles of a side do not divide its {side} pixels"
    );
    let tile = side / count;
    let from = |order: &[u8], place: usize| usize::from(order[place]) * tile;
    let mut out = Vec::with_capacity(image.len());
    for plane in image.chunks_exact(side * side) {
        for y in 0..side {
            let row = from(&tiles.rows, y / tile) + y % tile;
            for place in 0..count {
                let start = row * side + from(&tiles.columns, place);
                out.extend_from_slice(&plane[start..start + tile]);
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use plugin_api::view::{Operation, OperationKind};

    use super::*;

    const TILES: Tiles = Tiles {
        count: 3,
        columns: [2, 0, 1, 0],
        rows: [1, 2, 0, 0],
    };

    fn image(side: usize) -> Vec<u8> {
        (0..3 * side * side).map(|i| (i * 7 % 256) as u8).collect()
    }

    // x = np.arange(3).repeat(36) * 36 * 7 ..: as `image(6)`, [3, 6, 6]
    // columns = np.split(x, 3, 2); x = np.concatenate([columns[i] for i in (2, 0, 1)], 2)
    // rows = np.split(x, 3, 1); x = np.concatenate([rows[i] for i in (1, 2, 0)], 1)
    // x[0].tolist(), x[2, 5].tolist()
    #[test]
    fn columns_and_rows_of_tiles_change_places() {
        let got = shuffled(&image(6), 6, &TILES).unwrap();
        let first = [
            112, 119, 84, 91, 98, 105, 154, 161, 126, 133, 140, 147, 196, 203, 168, 175, 182, 189,
            238, 245, 210, 217, 224, 231, 28, 35, 0, 7, 14, 21, 70, 77, 42, 49, 56, 63,
        ];
        assert_eq!(got[..36], first);
        assert_eq!(got[102..], [62, 69, 34, 41, 48, 55]);
        let error = shuffled(&image(8), 8, &TILES).unwrap_err().to_string();
        assert_eq!(error, "3 tiles of a side do not divide its 8 pixels");
    }

    #[test]
    fn operations_come_in_their_order_and_before_the_tiles() {
        let [shift, flat] = [
            (OperationKind::TranslateX, 30),
            (OperationKind::Contrast, -30),
        ]
        .map(|(kind, magnitude)| Operation { kind, magnitude });
        let before = Before {
            operations: [Some(shift), Some(flat), None, None],
            tiles: Some(TILES),
        };
        let mut expected = image(6);
        apply(&mut expected, 6, shift);
        apply(&mut expected, 6, flat);
        let operated = expected.clone();
        let expected = shuffled(&expected, 6, &TILES).unwrap();
        assert_eq!(changed(&image(6), 6, &before).unwrap(), expected);
        assert_ne!(expected, operated);
        let other = Before {
            operations: [Some(flat), Some(shift), None, None],
            ..before
        };
        assert_ne!(changed(&image(6), 6, &other).unwrap(), expected);
        let mut late = shuffled(&image(6), 6, &TILES).unwrap();
        apply(&mut late, 6, shift);
        apply(&mut late, 6, flat);
        assert_ne!(late, expected);
    }
}
