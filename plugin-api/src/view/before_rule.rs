//! How what changes an image before its crop is drawn: torchvision's `RandAugment`, and RDED's shuffle of tiles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::before::{
    Before, MOST_MAGNITUDE, MOST_OPERATIONS, MOST_TILES, Operation, OperationKind, Tiles,
};
use crate::rng::Rng;

/// torchvision's `RandAugment` with 31 magnitudes (Cubuk et al., 2020).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandAugment {
    /// Operations on an image, one after the other
    #[schemars(range(min = 1, max = 4))]
    pub ops: u32,
    /// How much of each, in thirtieths of the most; for most operations the sign is drawn
    #[schemars(range(max = 30))]
    pub magnitude: u32,
}

impl Default for RandAugment {
    fn default() -> Self {
        Self {
            ops: 2,
            magnitude: 9,
        }
    }
}

impl RandAugment {
    /// The operations on one image: of each first the kind, then the sign if it has one.
    pub fn draw(&self, rng: &mut Rng) -> [Option<Operation>; MOST_OPERATIONS] {
        let mut operations = [None; MOST_OPERATIONS];
        for operation in operations.iter_mut().take(self.ops as usize) {
            let kind = OperationKind::ALL[rng.below(OperationKind::ALL.len() as u32) as usize];
            let range = kind.magnitudes();
            let most = (self.magnitude.min(MOST_MAGNITUDE as u32) as i8).min(*range.end());
            let is_negative = *range.start() < 0 && rng.below(2) == 1;
            *operation = Some(Operation {
                kind,
                magnitude: if is_negative { -most } else { most },
            });
        }
        operations
    }
}

/// How what changes images before their crops is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BeforeRule {
    /// Operations, which come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugment>,
    /// Tiles of a side whose columns and rows are shuffled; 1 for none.
    #[serde(skip_serializing_if = "is_one_tile")]
    pub tiles: u32,
}

/// Whether so many tiles of a side leave nothing to shuffle.
pub fn is_one_tile(tiles: &u32) -> bool {
    *tiles <= 1
}

impl Default for BeforeRule {
    fn default() -> Self {
        Self::NONE
    }
}

impl BeforeRule {
    /// Nothing changes before a crop.
    pub const NONE: Self = Self {
        rand_augment: None,
        tiles: 1,
    };

    /// Whether nothing changes before a crop.
    pub fn is_none(&self) -> bool {
        self.rand_augment.is_none() && is_one_tile(&self.tiles)
    }

    /// What changes one image: operations and tiles, each from the stream of its own name; of tiles first the columns.
    pub fn draw(&self, stream: impl Fn(&str) -> Rng) -> Option<Before> {
        let operations = self
            .rand_augment
            .map(|r| r.draw(&mut stream("rand-augment")));
        let tiles = (!is_one_tile(&self.tiles)).then(|| {
            let (mut rng, count) = (stream("tiles"), (self.tiles as usize).min(MOST_TILES));
            let mut order = || {
                let mut places = [0; MOST_TILES];
                for (place, from) in places.iter_mut().zip(rng.permutation(count)) {
                    *place = from as u8;
                }
                places
            };
            let (columns, rows) = (order(), order());
            Tiles {
                count: count as u8,
                columns,
                rows,
            }
        });
        (!self.is_none()).then(|| Before {
            operations: operations.unwrap_or_default(),
            tiles,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rng::StreamId;

    pub(in crate::view) const RULE: BeforeRule = BeforeRule {
        rand_augment: Some(RandAugment {
            ops: 3,
            magnitude: 9,
        }),
        tiles: 3,
    };

    fn drawn(rule: BeforeRule) -> Vec<Before> {
        let image = |item| {
            let id = StreamId {
                item,
                ..StreamId::default()
            };
            let before = rule.draw(|purpose| Rng::new(0, "test", purpose, id));
            before.expect("a rule that changes something")
        };
        (0..1_000).map(image).collect()
    }

    #[test]
    fn every_operation_sign_and_order_of_tiles_is_drawn() {
        let drawn = drawn(RULE);
        assert!(drawn.iter().all(|before| before.fault().is_none()));
        let operations = drawn.iter().flat_map(|before| before.operations);
        let of: Vec<Operation> = operations.flatten().collect();
        assert_eq!(of.len(), 3_000);
        for kind in OperationKind::ALL {
            let own = of.iter().filter(|o| o.kind == kind);
            let magnitudes: BTreeSet<i8> = own.clone().map(|o| o.magnitude).collect();
            let range = kind.magnitudes();
            let expected = [-9, 0, 9].into_iter().filter(|m| match range.end() {
                0 => *m == 0,
                _ => *m != 0 && range.contains(m),
            });
            assert_eq!(magnitudes, expected.collect(), "{kind:?}");
            // 3000 / 14 = 214 with a standard deviation of 14.
            assert!((150..280).contains(&own.count()), "{kind:?}");
        }
        let orders = |of: &dyn Fn(&Tiles) -> [u8; MOST_TILES]| {
            let tiles = drawn.iter().filter_map(|before| before.tiles);
            tiles.map(|tiles| of(&tiles)).collect::<BTreeSet<_>>().len()
        };
        assert_eq!([orders(&|t| t.columns), orders(&|t| t.rows)], [6, 6]);
        let same = |before: &Before| before.tiles.is_some_and(|t| t.columns == t.rows);
        assert!(drawn.iter().filter(|before| same(before)).count() < 300);
    }

    #[test]
    fn each_key_moves_no_draw_of_the_other() {
        let (both, one) = (drawn(RULE), drawn(BeforeRule { tiles: 1, ..RULE }));
        let other = drawn(BeforeRule {
            rand_augment: None,
            ..RULE
        });
        for ((both, one), other) in both.iter().zip(&one).zip(&other) {
            assert_eq!((both.operations, None), (one.operations, one.tiles));
            assert_eq!((both.tiles, [None; 4]), (other.tiles, other.operations));
        }
    }

    #[test]
    fn a_rule_says_what_is_set_and_nothing_else() {
        let text = |rule: &BeforeRule| serde_json::to_string(rule).unwrap();
        assert_eq!(text(&BeforeRule::NONE), "{}");
        let whole = r#"{"rand_augment":{"ops":3,"magnitude":9},"tiles":3}"#;
        assert_eq!(text(&RULE), whole);
        assert_eq!(serde_json::from_str::<BeforeRule>(whole).unwrap(), RULE);
        let short = r#"{"rand_augment":{}}"#;
        let rule: BeforeRule = serde_json::from_str(short).unwrap();
        assert_eq!(rule.rand_augment, Some(RandAugment::default()));
        assert_eq!(rule.tiles, 1);
    }
}
