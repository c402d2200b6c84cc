use super::*;
use plugin_api::{
    serde_json::json,
    testing::{TestLab, check_matcher, check_matcher_gradients, device},
};

#[test]
fn it_keeps_the_contract() {
    for options in [
        json!({ "real_per_class": 4 }),
        json!({ "features": ["hidden", "embedding"], "moments": 2, "real_per_class": 4 }),
    ] {
        check_matcher::<Distribution>("distribution", options.clone()).unwrap();
        check_matcher_gradients::<Distribution>("distribution", options).unwrap();
    }
}

fn loss(matcher: &Distribution, images: &Tensor, classes: Vec<u32>) -> Result<f64> {
    let device = device();
    let synthetic = Synthetic {
        images: images.leaf()?,
        classes,
        labels: None,
        learning_rate: None,
    };
    let matched = matcher.forward(&MatchInput {
        synthetic: &synthetic,
        lab: &TestLab::new(&device),
        ctx: &Ctx::new("match", 0, &device),
    })?;
    matched.loss.to_scalar()
}

#[test]
fn the_real_images_themselves_are_at_no_distance() {
    let matcher = Distribution {
        moments: 2,
        real_per_class: 5,
        ..Distribution::default()
    };
    let lab = TestLab::new(&device());
    let real = |class| lab.real(class, 5, 0).unwrap();
    let own = loss(&matcher, &real(1), vec![1; 5]).unwrap();
    let other = loss(&matcher, &real(2), vec![1; 5]).unwrap();
    assert!(own.abs() < 1e-20 && other > 1e-3, "{own} and {other}");
}

#[test]
fn an_unknown_feature_is_told() {
    let matcher = Distribution {
        features: vec!["logits".to_owned()],
        ..Distribution::default()
    };
    let lab = TestLab::new(&device());
    let error = loss(&matcher, &lab.images(1, 0).unwrap(), vec![0]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("taps no feature \"logits\" (have: hidden, embedding)"),
        "{error}"
    );
}
