//! Relabelers: a plan, records, and targets that are distributions, for sets with and without mixing.

use super::{scalar::refused, trial::Trial};
use crate::{
    Context as _, Result, Tensor, ensure,
    relabeler::{Relabeler, SetInfo},
    view::{BeforeRule, ColorRule, CropRule, Jitter, MixRule, RandAugment, ViewRule},
};

/// Checks a relabeler on the tensors of a host, for sets without mixes, with cutmix, with mixup, with colour jitter and with shuffled
/// tiles after RandAugment (it may refuse some): plans within the set and the same at every call; records with a row for each view, the same for any batch; training views
/// that cover the set; and targets that are distributions. `tolerance` is how far records may depend on the batch.
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
    let cutmix = MixRule::CutMix { alpha: 1. };
    let changed = BeforeRule {
        rand_augment: Some(RandAugment::default()),
        tiles: 2,
    };
    let as_is = BeforeRule::NONE;
    let sets = [
        ("without mixes", MixRule::None, plain, as_is),
        ("with cutmix", cutmix, plain, as_is),
        ("with mixup", MixRule::MixUp { alpha: 0.8 }, plain, as_is),
        ("with colours", MixRule::None, colored, as_is),
        ("with tiles and RandAugment", cutmix, plain, changed),
    ];
    let mut refusals = Vec::new();
    for (kind, mix, color_jitter, before) in sets {
        let set = set_with(mix, color_jitter, before);
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
        "all sets are rejected ({})",
        refusals.join("; ")
    );
    Ok(())
}

/// [`verify_relabeler`], and that a second component plans the same views.
#[cfg(feature = "testing")]
pub(crate) fn verify_pair(
    first: &dyn Relabeler,
    second: &dyn Relabeler,
    device: &Tensor,
    tolerance: f64,
) -> Result<()> {
    verify_relabeler(first, device, tolerance)?;
    let set = set_with(MixRule::None, ColorRule::NONE, BeforeRule::NONE);
    let Ok(layout) = first.layout(&set) else {
        return Ok(());
    };
    for pass in 0..layout.passes.min(2) {
        let same = first.plan(&set, pass)? == second.plan(&set, pass)?;
        ensure!(
            same,
            "two relabelers plan different views for pass {pass} of one set; views may depend only on the set"
        );
    }
    Ok(())
}

fn set_with(mix: MixRule, color_jitter: ColorRule, before: BeforeRule) -> SetInfo {
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
        before,
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
