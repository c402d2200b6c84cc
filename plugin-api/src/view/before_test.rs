//! Tests of what changes images before their crops: draws, rows, faults.

use super::super::{
    BeforeRule, MixRule, ViewRule,
    before_rule::tests::RULE,
    draw::{
        draw_views,
        tests::{SOURCE, rule},
    },
};
use super::*;

fn views(before: BeforeRule, mix: MixRule) -> Vec<View> {
    let rule = ViewRule {
        before,
        ..rule(mix)
    };
    draw_views(&rule, &SOURCE, "relabel", 3)
}

#[test]
fn changes_before_the_crop_move_no_other_draw_and_go_with_their_image() {
    let mix = MixRule::CutMix { alpha: 1. };
    let (plain, changed) = (views(BeforeRule::NONE, mix), views(RULE, mix));
    assert_eq!(View::to_rows(&plain), View::to_rows(&changed));
    assert_eq!(View::to_before_rows(&plain), None);
    assert_eq!(changed, views(RULE, mix));
    for view in &changed {
        let partner = view.partner().expect("cutmix");
        let own = changed.iter().find(|v| v.crop.image == partner.image);
        assert_eq!(view.partner_before, own.expect("it has a view").before);
    }
    let distinct = |i: usize| changed[i].before != changed[i + 1].before;
    assert!((0..10).all(distinct));
}

#[test]
fn changes_before_the_crop_survive_rows() {
    for mix in [MixRule::None, MixRule::MixUp { alpha: 0.8 }] {
        let views = views(RULE, mix);
        let read = View::from_rows(&View::to_rows(&views)).unwrap();
        let rows = View::to_before_rows(&views);
        let back = View::with_before_rows(read.clone(), rows.as_deref());
        assert_eq!(back.unwrap(), views);
        assert!(View::with_before_rows(read, Some(&[0; 5])).is_err());
    }
}

/// What an own image's row of nine and of eight gives.
fn read(tiles: [i64; 9], operations: [i64; 8]) -> Result<View> {
    let row = [&tiles[..], &[0; 9], &operations, &[0; 8]].concat();
    let one = vec![View::whole(0, 8)];
    View::with_before_rows(one, Some(&row)).map(|views| views[0])
}

#[test]
fn rows_that_hold_something_else_are_told() {
    assert!(!read([0; 9], [0; 8]).unwrap().has_before());
    let tiles = [3, 2, 0, 1, 0, 0, 1, 2, 0];
    let operations = [6, -30, 11, 30, 1, 0, 14, 0];
    assert!(read(tiles, operations).unwrap().has_before());
    for (tiles, operations, part) in [
        ([5, 0, 1, 2, 3, 0, 1, 2, 3], [0; 8], "tiles: got 5"),
        ([1, 0, 0, 0, 0, 0, 0, 0, 0], [0; 8], "tiles: got 1"),
        ([2, 0, 0, 0, 0, 0, 1, 0, 0], [0; 8], "columns: got [0, 0"),
        ([2, 0, 1, 0, 0, 0, 1, 1, 0], [0; 8], "rows: got [0, 1, 1"),
        ([0; 9], [15, 0, 0, 0, 0, 0, 0, 0], "unknown operation 15"),
        ([0; 9], [0, 3, 0, 0, 0, 0, 0, 0], "unknown operation 0"),
        ([0; 9], [0, 0, 2, 3, 0, 0, 0, 0], "one stands behind"),
        (
            [0; 9],
            [2, 31, 0, 0, 0, 0, 0, 0],
            "ShearX of magnitude 31, expected -30 to 30",
        ),
        (
            [0; 9],
            [12, -1, 0, 0, 0, 0, 0, 0],
            "Solarize of magnitude -1, expected 0 to 30",
        ),
        (
            [0; 9],
            [13, 1, 0, 0, 0, 0, 0, 0],
            "AutoContrast of magnitude 1, expected 0 to 0",
        ),
    ] {
        let text = read(tiles, operations).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    }
}
