//! Choices worked out in numpy, and the contract.

use super::*;
use plugin_api::{serde_json::json, testing};

/// Three crops of each of four images, as logits of two classes: the loss of class 1 falls with the second.
const MARGINS: [f64; 12] = [0.1, 0.5, 0.2, 2., 1., 3., -1., -2., -3., 0.6, 0.7, 0.65];
const IMAGES: [u32; 12] = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3];

fn chosen(selector: &dyn Selector, count: usize) -> Result<Vec<u32>> {
    let ctx = testing::ctx("recover");
    let logits: Vec<f64> = MARGINS.iter().flat_map(|&z| [0., z]).collect();
    // Lengths must not matter.
    let angles = (1..=12).map(|i| (10. * f64::from(i) + 0.3 * f64::from(i * i)).to_radians());
    let features: Vec<f64> = angles.flat_map(|a| [3. * a.cos(), 3. * a.sin()]).collect();
    selector.select(&SelectorInput {
        class: 1,
        count,
        logits: &ctx.tensor(&logits, &[12, 2])?,
        features: &[("embedding".to_owned(), ctx.tensor(&features, &[12, 2])?)],
        images: &IMAGES,
        ctx: &ctx,
    })
}

#[test]
fn the_best_crops_of_the_best_images_come_first() {
    assert_eq!(chosen(&Confident {}, 3).unwrap(), [5, 10, 1]);
    assert_eq!(chosen(&Patches {}, 4).unwrap(), [5, 10, 1, 6]);
}

#[test]
fn medium_goes_outwards_from_the_middle() {
    // Rising probability: 6, 1, 10, 5; the middle of four is the third.
    assert_eq!(chosen(&Medium {}, 4).unwrap(), [10, 5, 1, 6]);
    // DELT's `math.ceil(n / 2)`: of five the fourth.
    let ctx = testing::ctx("recover");
    let logits = ctx.tensor(&[1., 0., 2., 0., 3., 0., 4., 0., 5., 0.], &[5, 2]);
    let five = SelectorInput {
        class: 0,
        count: 4,
        logits: &logits.unwrap(),
        features: &[],
        images: &[0, 1, 2, 3, 4],
        ctx: &ctx,
    };
    assert_eq!(Medium {}.select(&five).unwrap(), [3, 4, 2, 1]);
}

// import numpy as np
// i = np.arange(1, 13); t = np.radians(10 * i + .3 * i * i); h = np.stack([np.cos(t), np.sin(t)], 1)
// mu = h.mean(0); w = mu.copy(); s = []
// for k in range(4):
//     z = h @ w; z[s] = -9; j = z.argmax(); s.append(j); w = w + mu - h[j]
// s
#[test]
fn herding_keeps_the_mean() {
    let herding = Herding {
        feature: embedding(),
    };
    assert_eq!(chosen(&herding, 4).unwrap(), [6, 5, 9, 0]);
    let missing = Herding {
        feature: "layer9".to_owned(),
    };
    assert!(
        chosen(&missing, 1)
            .unwrap_err()
            .to_string()
            .contains("layer9")
    );
}

#[test]
fn random_takes_different_images() {
    let first = chosen(&Random {}, 4).unwrap();
    let mut images: Vec<u32> = first.iter().map(|&i| IMAGES[i as usize]).collect();
    images.sort_unstable();
    assert_eq!(images, [0, 1, 2, 3]);
    assert_eq!(first, chosen(&Random {}, 4).unwrap());
}

#[test]
fn too_few_images_are_told() {
    let error = chosen(&Confident {}, 5).unwrap_err().to_string();
    assert!(error.contains("there are 4 to choose from"), "{error}");
}

#[test]
fn all_keep_the_contract() {
    testing::check_selector::<Random>("random", json!({})).unwrap();
    testing::check_selector::<Confident>("confident", json!({})).unwrap();
    testing::check_selector::<Medium>("medium", json!({})).unwrap();
    testing::check_selector::<Herding>("herding", json!({})).unwrap();
    testing::check_selector::<Patches>("patches", json!({})).unwrap();
}
