//! Targets that a relabeler decodes: labels in range, shares between 0 and 1, probabilities that sum to 1.

use std::iter::once;

use super::finite;
use crate::{Context as _, Result, bail, ensure, loss::Targets, tensor::DType};

/// Checks the targets of `n` views.
///
/// # Errors
/// With what is wrong with them.
pub(super) fn check_targets(targets: &Targets, n: usize, classes: usize) -> Result<()> {
    match targets {
        Targets::Hard(hard) => {
            for labels in once(&hard.labels).chain(&hard.labels_b) {
                let typed = labels.dtype() == DType::U32 && labels.shape() == [n];
                ensure!(
                    typed,
                    "expected labels u32 of shape [{n}], got shape {:?}",
                    labels.shape()
                );
                let mut classes_of = labels.to_vec_u32()?.into_iter();
                if let Some(label) = classes_of.find(|&l| l as usize >= classes) {
                    bail!("label {label} of {classes} classes");
                }
            }
            ensure!(
                hard.labels_b.is_some() == hard.lambda.is_some(),
                "labels_b and lambda must be given together"
            );
            if let Some(lambda) = &hard.lambda {
                ensure!(
                    lambda.shape() == [n],
                    "expected lambda of shape [{n}], got {:?}",
                    lambda.shape()
                );
                let mut shares = lambda.to_vec_f64()?.into_iter();
                if let Some(share) = shares.find(|l| !(0. ..=1.).contains(l)) {
                    bail!("lambda is {share}, expected 0 to 1");
                }
            }
        }
        Targets::Soft(soft) => {
            for tensor in once(&soft.log_probs).chain(&soft.logits) {
                ensure!(
                    tensor.shape() == [n, classes],
                    "expected soft labels of shape [{n}, {classes}], got {:?}",
                    tensor.shape()
                );
            }
            if let Some(logits) = &soft.logits {
                finite(logits).context("logits")?;
            }
            for (i, row) in soft.log_probs.to_vec_f64()?.chunks(classes).enumerate() {
                let sum: f64 = row.iter().map(|l| l.exp()).sum();
                // 1e-3: labels may be stored with 8 or 16 bits.
                let whole = (sum - 1.).abs() <= 1e-3;
                ensure!(
                    whole,
                    "the probabilities of view {i} sum to {sum:.6}, expected 1"
                );
            }
        }
    }
    Ok(())
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::{
        Tensor,
        loss::{HardTargets, SoftTargets},
        testing::device,
    };

    fn error(targets: Targets) -> String {
        check_targets(&targets, 2, 3)
            .err()
            .map_or_else(String::new, |e| e.to_string())
    }

    fn hard(labels: &[u32], lambda: Option<&[f64]>) -> Targets {
        let labels = device().new_u32(labels, &[labels.len()]).unwrap();
        let lambda = lambda.map(|l| device().new_f64(l, &[l.len()]).unwrap());
        Targets::Hard(HardTargets {
            labels_b: lambda.as_ref().map(|_| labels.clone()),
            labels,
            lambda,
        })
    }

    fn soft(probabilities: &[f64], logits: Option<Tensor>) -> Targets {
        let log_probs = device()
            .new_f64(probabilities, &[probabilities.len() / 3, 3])
            .unwrap()
            .log()
            .unwrap();
        Targets::Soft(SoftTargets::new(log_probs, logits))
    }

    #[test]
    fn good_targets_pass() {
        assert_eq!(error(hard(&[0, 2], None)), "");
        assert_eq!(error(hard(&[0, 2], Some(&[0., 1.]))), "");
        assert_eq!(error(soft(&[0.5, 0.25, 0.25, 1., 0., 0.], None)), "");
    }

    #[test]
    fn wrong_targets_are_told() {
        let told = |targets: Targets, part: &str| {
            let text = error(targets);
            assert!(text.contains(part), "{text}");
        };
        told(hard(&[0, 3], None), "label 3 of 3 classes");
        told(
            hard(&[0], None),
            "expected labels u32 of shape [2], got shape [1]",
        );
        told(
            hard(&[0, 1], Some(&[0.5, 1.5])),
            "lambda is 1.5, expected 0 to 1",
        );
        told(
            hard(&[0, 1], Some(&[f64::NAN, 1.])),
            "lambda is NaN, expected 0 to 1",
        );
        told(
            soft(&[0.5, 0.5, 0.], None),
            "expected soft labels of shape [2, 3], got [1, 3]",
        );
        told(
            soft(&[0.5, 0.5, 0., 0.5, 0.25, 0.], None),
            "view 1 sum to 0.75",
        );
        told(
            soft(&[0.5, 0.5, 0., f64::NAN, 0., 1.], None),
            "view 1 sum to NaN",
        );
        let logits = device().new_f64(&[f64::INFINITY; 6], &[2, 3]).unwrap();
        told(
            soft(&[1., 0., 0., 1., 0., 0.], Some(logits)),
            "logits: element 0 of shape [2, 3] is inf",
        );
    }
}
