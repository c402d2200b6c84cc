use super::*;
use plugin_api::{
    serde_json::json,
    testing::{LAB_CLASSES, TestLab, check_matcher, check_matcher_gradients, device, random},
};

#[test]
fn it_keeps_the_contract() {
    for method in ["mtt", "tesla", "tesla-exact"] {
        let options = json!({
            "method": method, "steps": 3, "expert_epochs": 2, "max_start_epoch": 4, "batch_size": 4
        });
        check_matcher::<Trajectory>("trajectory", options.clone()).unwrap();
        if method != "tesla" {
            check_matcher_gradients::<Trajectory>("trajectory", options).unwrap();
        }
    }
}

/// Loss and gradients of one iteration: by images, labels and learning rate.
fn matched(method: Method, steps: usize) -> Vec<Vec<f64>> {
    let device = device();
    let lab = TestLab::new(&device);
    let matcher = Trajectory {
        method,
        steps,
        batch_size: Some(4),
        ..Trajectory::default()
    };
    let synthetic = Synthetic {
        images: lab.images(6, 1).unwrap().leaf().unwrap(),
        classes: vec![0, 1, 2, 0, 1, 2],
        labels: Some(random(&[6, LAB_CLASSES], 2).leaf().unwrap()),
        learning_rate: Some(device.new_f64(&[0.1], &[]).unwrap().leaf().unwrap()),
    };
    let input = MatchInput {
        synthetic: &synthetic,
        lab: &lab,
        ctx: &Ctx::new("match", 0, &device),
    };
    let Matched { loss, gradients } = matcher.forward(&input).unwrap();
    let gradients = gradients.into_iter().map(|g| g.unwrap());
    std::iter::once(loss)
        .chain(gradients)
        .map(|t| t.to_vec_f64().unwrap())
        .collect()
}

/// ||a - b|| / ||b||.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    let norm = |v: Vec<f64>| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let apart = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(apart) / norm(b.to_vec())
}

#[test]
fn all_methods_have_one_loss_and_the_exact_one_the_gradient_too() {
    for steps in [1, 2, 7] {
        let mtt = matched(Method::Mtt, steps);
        let (tesla, exact) = (
            matched(Method::Tesla, steps),
            matched(Method::TeslaExact, steps),
        );
        for (part, mtt) in mtt.iter().enumerate() {
            let apart = [&tesla, &exact].map(|other| difference(&other[part], mtt));
            assert!(apart[1] < 1e-12, "{steps} steps, part {part}: {apart:?}");
            let same = part == 0 || steps == 1;
            assert_eq!(
                apart[0] < 1e-12,
                same,
                "{steps} steps, part {part}: {apart:?}"
            );
        }
    }
}

#[test]
fn a_set_without_a_learning_rate_is_refused() {
    let device = device();
    let lab = TestLab::new(&device);
    let synthetic = Synthetic {
        images: lab.images(1, 1).unwrap().leaf().unwrap(),
        classes: vec![0],
        labels: None,
        learning_rate: None,
    };
    let input = MatchInput {
        synthetic: &synthetic,
        lab: &lab,
        ctx: &Ctx::new("match", 0, &device),
    };
    let error = Trajectory::default().forward(&input).err().unwrap();
    assert!(
        error.to_string().contains("needs a learned learning rate"),
        "{error}"
    );
}
