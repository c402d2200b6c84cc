use super::*;
use plugin_api::{
    serde_json::json,
    testing::{TestLab, check_matcher, check_matcher_gradients, device},
};

#[test]
fn it_keeps_the_contract() {
    for distance in ["rows", "squares", "cosine"] {
        let options = json!({
            "distance": distance, "outer": 2, "inner": 3, "batch_size": 4, "real_per_class": 4
        });
        check_matcher::<Gradient>("gradient", options.clone()).unwrap();
        check_matcher_gradients::<Gradient>("gradient", options).unwrap();
    }
}

fn tensors(values: &[(&[f64], &[usize])]) -> Vec<Option<Tensor>> {
    let device = device();
    let made = values
        .iter()
        .map(|(v, dims)| device.new_f64(v, dims).unwrap());
    made.map(Some).collect()
}

#[test]
fn distances_are_those_of_the_paper() {
    // Two rows: the same direction, and opposite ones; a bias, which `rows` leaves out.
    let real = tensors(&[(&[1., 2., 3., 4.], &[2, 2]), (&[1., 1.], &[2])]);
    let own = tensors(&[(&[2., 4., -3., -4.], &[2, 2]), (&[0., 3.], &[2])]);
    let of = |distance: Distance| distance.of(&real, &own).unwrap().to_scalar().unwrap();
    let rows = (1. - 10. / (50f64.sqrt() * 2f64.sqrt() + 1e-6)) + (1. + 25. / (25. + 1e-6));
    assert!((of(Distance::Rows) - rows).abs() < 1e-12);
    assert_eq!(of(Distance::Squares), 1. + 4. + 36. + 64. + 1. + 4.);
    let (product, norms) = (10. - 25. + 3., (32f64 * 54.).sqrt());
    assert!((of(Distance::Cosine) - (1. - product / (norms + 1e-6))).abs() < 1e-12);
    assert!(Distance::Rows.of(&real[1..], &own[1..]).is_err());
}

/// One iteration; gives the loss and what the matcher holds after it.
fn iteration(matcher: &Gradient, images: &Tensor, at: u64) -> Result<(f64, Option<Held>)> {
    let device = device();
    let synthetic = Synthetic {
        images: images.leaf()?,
        classes: vec![0, 1, 2],
        labels: None,
        learning_rate: None,
    };
    let matched = matcher.forward(&MatchInput {
        synthetic: &synthetic,
        lab: &TestLab::new(&device),
        ctx: &Ctx::new("match", 0, &device).at(at, 10),
    })?;
    Ok((matched.loss.to_scalar()?, matcher.lock()?.clone()))
}

#[test]
fn a_network_lives_for_one_round_and_trains_in_it() {
    let matcher = Gradient {
        outer: 3,
        inner: 2,
        real_per_class: 4,
        ..Gradient::default()
    };
    let images = TestLab::new(&device()).images(3, 1).unwrap();
    let first = iteration(&matcher, &images, 0).unwrap().1.unwrap();
    let second = iteration(&matcher, &images, 1).unwrap().1.unwrap();
    assert_eq!((first.round, second.round), (0, 0));
    let values = |held: &Held, i: usize| held.values[i].to_vec_f64().unwrap();
    assert_ne!(values(&first, 0), values(&second, 0));
    // The last of its parameters is a buffer.
    let buffer = first.values.len() - 1;
    assert_eq!(values(&first, buffer), values(&second, buffer));
    assert!(iteration(&matcher, &images, 2).unwrap().1.is_none());
    assert_eq!(iteration(&matcher, &images, 3).unwrap().1.unwrap().round, 1);
    let lost = iteration(&matcher, &images, 7).err().unwrap().to_string();
    assert!(
        lost.contains("the network of round 2, which was not kept"),
        "{lost}"
    );
}
