//! Rows and attributes as a whole.

use super::{
    operation::{Refusal, Row},
    *,
};
use crate::abi::API_VERSION;

#[test]
fn rows_have_numbers_and_names_of_their_own() {
    let rows: Vec<&Row> = Operation::rows().collect();
    for (i, row) in rows.iter().enumerate() {
        let twin = rows[..i]
            .iter()
            .find(|other| other.number == row.number || other.name == row.name);
        assert_eq!(twin, None, "{row:?}");
        assert!(row.since <= API_VERSION, "{row:?}");
    }
}

#[test]
fn attributes_cross_as_they_always_did() {
    let crosses = |operation: Operation, ints: &[i64], floats: &[f64]| {
        let written = operation.attributes();
        assert_eq!((written.ints(), written.floats()), (ints, floats));
        assert_eq!(
            Operation::read(operation.row().number, ints, floats),
            Ok(operation)
        );
    };
    let config = Conv2dConfig {
        stride: [1, 2],
        padding: [3, 4],
        dilation: [5, 6],
        groups: 7,
    };
    crosses(
        Product::Conv2d { config }.into(),
        &[1, 2, 3, 4, 5, 6, 7],
        &[],
    );
    let dims = vec![2, 3];
    crosses(Shape::Reshape { dims }.into(), &[2, 3], &[]);
    let norm = Norm::BatchNorm {
        mode: BatchNormMode::RECOVER,
        relu: true,
        eps: 0.5,
    };
    crosses(norm.into(), &[2, 1], &[0.5]);
    let boxes = [1., 5.].map(|top| CropBox {
        top,
        left: 2.,
        height: 3.,
        width: 4.,
    });
    let crops = Resample::CropResize {
        size: [8, 9],
        boxes: boxes.to_vec(),
    };
    crosses(crops.into(), &[8, 9], &[1., 2., 3., 4., 5., 2., 3., 4.]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |number, ints: &[i64], floats: &[f64]| {
        let refusal = Operation::read(number, ints, floats).unwrap_err();
        match refusal {
            Refusal::Attributes(_, message) => message,
            Refusal::Unknown => "unknown".to_owned(),
        }
    };
    assert_eq!(refused(9_999, &[], &[]), "unknown");
    assert_eq!(refused(59, &[], &[]), "integer attribute 0 is missing");
    assert_eq!(
        refused(59, &[-1], &[]),
        "-1 is not a size or index, expected 0 to 2147483647"
    );
    assert_eq!(
        refused(54, &[2, 0], &[]),
        "integer attribute 0 is 2, expected 0 or 1"
    );
    assert_eq!(refused(39, &[], &[]), "float attribute 0 is missing");
    assert_eq!(
        refused(59, &[1, 2], &[0.5]),
        "1 integer and 1 float attributes more than this version knows; the plugin needs a newer host"
    );
    assert_eq!(
        refused(104, &[1, 1], &[0.; 5]),
        "expected 4 numbers a box, got 5"
    );
}
