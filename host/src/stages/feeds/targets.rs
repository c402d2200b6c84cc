//! Class labels as targets of a loss.

use anyhow::Result;
use candle_core::Device;
use plugin_api::{Ctx, loss::Targets, view::View};

use crate::{
    engine::{Tensor, Value},
    plugins::ops::export,
    stages::networks::plugin_error,
};

/// Class labels of views, two of them under mixes, as a plugin sees them.
///
/// # Errors
/// When a tensor cannot be made.
pub fn class_labels(
    views: &[View],
    labels: &[u32],
    device: &Device,
) -> Result<[plugin_api::Tensor; 2]> {
    let class = |image: u32| labels[image as usize];
    let own: Vec<u32> = views.iter().map(|v| class(v.crop.image)).collect();
    let partners: Vec<u32> = views
        .iter()
        .map(|v| class(v.partner().unwrap_or(v.crop).image))
        .collect();
    let tensor = |values: Vec<u32>| -> Result<plugin_api::Tensor> {
        let n = values.len();
        Ok(export(Tensor::constant(Value::from_vec(
            values, n, device,
        )?)))
    };
    Ok([tensor(own)?, tensor(partners)?])
}

/// Hard targets of views of images with these labels: classes, and with a mix the partner's classes and the share of the first.
///
/// # Errors
/// When a tensor cannot be made.
pub fn hard_targets(
    views: &[View],
    (labels, resolution): (&[u32], usize),
    ctx: &Ctx,
    device: &Device,
) -> Result<Targets> {
    let [labels, partners] = class_labels(views, labels, device)?;
    if views.iter().all(|v| v.partner().is_none()) {
        return Ok(Targets::labels(labels));
    }
    let lambda: Vec<f64> = views.iter().map(|v| v.lambda(resolution as u32)).collect();
    let lambda = ctx.tensor(&lambda, &[lambda.len()]).map_err(plugin_error)?;
    Ok(Targets::Hard(plugin_api::loss::HardTargets {
        labels,
        labels_b: Some(partners),
        lambda: Some(lambda),
    }))
}

/// Soft targets with the classes of their views beside them, which losses may ask for; others as they are.
///
/// # Errors
/// When a tensor cannot be made.
pub fn with_classes(
    mut targets: Targets,
    views: &[View],
    set: (&[u32], usize),
    ctx: &Ctx,
    device: &Device,
) -> Result<Targets> {
    if let Targets::Soft(soft) = &mut targets
        && soft.classes.is_none()
    {
        soft.classes = hard_targets(views, set, ctx, device)?.hard().ok();
    }
    Ok(targets)
}
