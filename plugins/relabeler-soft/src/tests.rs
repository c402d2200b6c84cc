//! Probabilities of soft labels against numpy's, alone, of several teachers and mixed.

use super::*;
use plugin_api::{
    component::parse_options,
    serde_json::json,
    testing,
    view::{BeforeRule, ColorRule, CropRule, MixRule},
};

const SET: SetInfo = SetInfo {
    images: 2,
    classes: 3,
    resolution: 8,
    seed: 1,
    epochs: 2,
    views: ViewRule {
        crop: CropRule::None,
        flip: 0.,
        mix: MixRule::None,
        batch_size: 2,
        color_jitter: ColorRule::NONE,
        before: BeforeRule::NONE,
    },
};
const Z: [[f64; 6]; 2] = [[2., 1., 0., 0.5, 3., -1.], [0., 1., 1.5, -2., 0.25, 0.75]];

/// Labels of images 0 and 1 for some views, each with the other image as partner.
fn labels(options: &str, teachers: usize, views: &[View]) -> Result<SoftTargets> {
    let ctx = testing::ctx("relabel");
    let soft: Soft = parse_options(options)?;
    let logits = Z[..teachers]
        .iter()
        .map(|z| ctx.tensor(z, &[2, 3]))
        .collect::<Result<Vec<_>>>()?;
    let records = soft.encode(&SET, &SET.whole_images(), &logits, &ctx)?;
    let partner_records = vec![(LOGITS.to_owned(), find(&records)?.flip(0)?)];
    let (labels, partner_labels) = (ctx.indices(&[0, 1], &[2])?, ctx.indices(&[1, 0], &[2])?);
    let batch = LabelBatch {
        views,
        labels: &labels,
        partner_labels: &partner_labels,
        records: &records,
        partner_records: &partner_records,
    };
    soft.decode(&SET, &batch, &ctx)?.soft()
}

#[track_caller]
fn assert_probs(targets: &SoftTargets, expected: [f64; 6]) {
    let got = targets.log_probs.exp().unwrap().to_vec_f64().unwrap();
    // What is stored is rounded to f32.
    let tolerance = f64::from(f32::EPSILON);
    assert!(
        got.iter()
            .zip(expected)
            .all(|(g, e)| (g - e).abs() < tolerance),
        "got {got:?}, expected {expected:?}"
    );
}

// sm = lambda z, T=1: np.exp(z / T) / np.exp(z / T).sum(1, keepdims=True)
// a = np.array([[2, 1, 0], [0.5, 3, -1]]); b = np.array([[0, 1, 1.5], [-2, 0.25, 0.75]])
#[test]
fn several_teachers_give_the_mean_of_their_probabilities() {
    let whole = SET.whole_images();
    let options = r#"{"temperature": 2, "dtype": "f32"}"#;
    let targets = labels(options, 2, &whole).unwrap();
    let expected = [
        0.3581561085358094,
        0.32657504027043405,
        0.31526885119375647, // ((sm(a, 2) + sm(b, 2)) / 2)
        0.16297689398315127,
        0.5433249601502812,
        0.2936981458665676,
    ];
    assert_probs(&targets, expected);
    // The logits that are stored give the same probabilities at the same temperature.
    let again = (targets.logits.unwrap() / 2.)
        .unwrap()
        .log_softmax(1)
        .unwrap();
    assert_probs(&SoftTargets::new(again, None), expected);
}

#[test]
fn one_teacher_keeps_its_logits() {
    let targets = labels(r#"{"dtype": "f32"}"#, 1, &SET.whole_images()).unwrap();
    assert_eq!(targets.logits.unwrap().to_vec_f64().unwrap(), Z[0]);
}

#[test]
fn mixed_views_mix_probabilities() {
    let mix = Mix::MixUp {
        partner: Crop::whole(1, 8),
        weight: 49_152,
    };
    let views = [View::new(Crop::whole(0, 8), mix), View::whole(1, 8)];
    let targets = labels(r#"{"dtype": "f32"}"#, 1, &views).unwrap();
    let expected = [
        0.5175796061141701,
        0.41073633435572654,
        0.07168405953010344, // 0.75 * sm(a)[0] + 0.25 * sm(a)[1]
        0.07459555713221443,
        0.9087599242585132,
        0.016644518609272352, // sm(a)[1]
    ];
    assert_probs(&targets, expected);
    assert!(targets.logits.is_none());
}

#[test]
fn what_is_missing_is_named() {
    let error = labels("{}", 0, &[]).err().unwrap().to_string();
    assert!(error.contains("need a teacher"), "{error}");
    let error = find(&[]).err().unwrap().to_string();
    assert!(
        error.starts_with("no record \"logits\" among the labels"),
        "{error}"
    );
    let error = labels(r#"{"temperature": -1}"#, 1, &[])
        .err()
        .unwrap()
        .to_string();
    assert_eq!(error, "temperature: expected a number above 0, got -1");
}

#[test]
fn keeps_the_contract() {
    testing::check_relabeler::<Soft>("soft", json!({})).unwrap();
    testing::check_relabeler::<Soft>("soft", json!({"temperature": 4.0, "dtype": "f32"})).unwrap();
}
