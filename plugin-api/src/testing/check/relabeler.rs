//! Relabelers: a plan, records, and targets that are distributions, for sets with and without mixing.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{TOLERANCE, options::Maker, scalar::refused, trial::Trial};
use crate::{
    Context as _, Result, Tensor, ensure,
    relabeler::{ForeignRelabeler, Relabeler, SetInfo, serve},
    schemars::JsonSchema,
    testing::device,
    view::{ColorRule, CropRule, Jitter, MixRule, ViewRule},
};

/// Checks a relabeler through the boundary: name, options and schema; then, for sets without mixes, with cutmix and
/// with mixup and with colour jitter (it may refuse some), plans within the set and the same at every call; records with a row for each
/// view, the same for any batch; training views that cover the set; and targets that are distributions.
///
/// # Errors
/// What breaks the contract, and how to mend it.
pub fn check_relabeler<T: Relabeler + DeserializeOwned + JsonSchema>(
    name: &str,
    options: Value,
) -> Result<()> {
    let check = || {
        let maker = Maker::<T>::check("relabeler", name, options, serve::<T>)?;
        let (first, second) = (
            ForeignRelabeler::new(maker.make()?),
            ForeignRelabeler::new(maker.make()?),
        );
        verify_relabeler(&first, &device(), TOLERANCE)?;
        let set = set_with(MixRule::None, ColorRule::NONE);
        let Ok(layout) = first.layout(&set) else {
            return Ok(());
        };
        for pass in 0..layout.passes.min(2) {
            let same = first.plan(&set, pass)? == second.plan(&set, pass)?;
            ensure!(
                same,
                "two relabelers plan different views for pass {pass} of one set; views may depend on the set alone"
            );
        }
        Ok(())
    };
    check().with_context(|| format!("relabeler \"{name}\""))
}

/// The checks of [`check_relabeler`] on a relabeler and tensors of a host; `tolerance` is how far records may
/// depend on the batch.
///
/// # Errors
/// What breaks the contract.
pub fn verify_relabeler(relabeler: &dyn Relabeler, device: &Tensor, tolerance: f64) -> Result<()> {
    let plain = ColorRule::NONE;
    let colored = ColorRule {
        brightness: Jitter::Around(0.4),
        hue: Jitter::Around(0.1),
        ..plain
    };
    let sets = [
        ("without mixes", MixRule::None, plain),
        ("with cutmix", MixRule::CutMix { alpha: 1. }, plain),
        ("with mixup", MixRule::MixUp { alpha: 0.8 }, plain),
        ("with colours", MixRule::None, colored),
    ];
    let mut refusals = Vec::new();
    for (kind, mix, color_jitter) in sets {
        let set = set_with(mix, color_jitter);
        match refused(relabeler.layout(&set)).context("layout")? {
            Ok(layout) => Trial {
                relabeler,
                device,
                set,
                layout,
                tolerance,
            }
            .run()
            .with_context(|| format!("a set {kind}"))?,
            Err(refusal) => refusals.push(format!("{kind}: {refusal}")),
        }
    }
    ensure!(
        refusals.len() < sets.len(),
        "all sets are refused ({})",
        refusals.join("; ")
    );
    Ok(())
}

fn set_with(mix: MixRule, color_jitter: ColorRule) -> SetInfo {
    let crop = CropRule::RandomResized {
        scale: [0.08, 1.],
        ratio: [3. / 4., 4. / 3.],
    };
    let views = ViewRule {
        crop,
        flip: 0.5,
        mix,
        batch_size: 4,
        color_jitter,
    };
    SetInfo {
        images: 12,
        classes: 4,
        resolution: 16,
        seed: 7,
        epochs: 3,
        views,
    }
}

#[cfg(test)]
mod tests {
    use super::super::relabeler_test::*;
    use super::*;
    use serde_json::json;

    fn error<T: Relabeler + DeserializeOwned + JsonSchema>() -> String {
        check_relabeler::<T>("under-test", json!({}))
            .err()
            .map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn good_relabelers_pass() {
        assert_eq!(error::<Hard>(), "");
        assert_eq!(error::<ByImage>(), "");
        assert_eq!(error::<ByView>(), "");
    }

    #[test]
    fn bad_relabelers_are_told() {
        let told = |text: String, part: &str| assert!(text.contains(part), "{text}");
        told(
            error::<Outside>(),
            "relabeler \"under-test\": a set without mixes: pass 0: plan: view 0: its crop is of image 12",
        );
        told(
            error::<Unnormalised>(),
            "the probabilities of view 0 sum to 2.000000, expected 1",
        );
        told(
            error::<Gossip>(),
            "record \"logits\" differs between batches of 5 and of 12 views",
        );
        told(error::<OtherViews>(), "not among the stored views");
        told(error::<Few>(), "never sees the images [6, 7, 8, 9, 10, 11]");
        told(
            error::<Summed>(),
            "expected its first dimension to run over 12 views",
        );
        told(
            error::<Refusing>(),
            "all sets are refused (without mixes: not this one",
        );
    }
}
