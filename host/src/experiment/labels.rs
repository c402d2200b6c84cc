//! A dry run of labels and losses: what a relabeler stores must be what the loss reads, and that shows only in a call.

use plugin_api::{
    Ctx, Error, Result,
    loss::{Loss, LossInput},
    relabeler::{LabelBatch, RecordIndex, Relabeler},
    view::View,
};

use crate::{
    artifact::Stage,
    engine::{Tensor, Value},
    plugins::{Registry, export},
    stages::{ComponentConfig, feeds::targets::with_classes, relabel},
};

/// Images of the made-up set: with one batch of them, every kind of view occurs.
const IMAGES: u32 = 4;

/// Labels a made-up set of a few images and hands the labels to the loss.
///
/// # Errors
/// What either of them says.
pub fn try_labels(
    registry: &Registry,
    config: &relabel::Config,
    loss: &ComponentConfig,
    classes: usize,
    resolution: usize,
) -> Result<()> {
    let relabeler = &config.relabeler;
    let relabeler = registry.create_relabeler(&relabeler.plugin, &relabeler.params())?;
    let loss = registry.create_loss(&loss.plugin, &loss.params())?;
    let set = config.set_info(0, [IMAGES as usize, classes, resolution]);
    let device = candle_core::Device::Cpu;
    let constant =
        |value: candle_core::Result<Value>| Ok::<_, Error>(export(Tensor::constant(value?)));
    let anchor = constant(Value::new(0f32, &device))?;
    let ctx = Ctx::new(Stage::Relabel.name(), 0, &anchor).at(0, 1);
    let logits = constant(Value::zeros(
        (IMAGES as usize, classes),
        candle_core::DType::F32,
        &device,
    ))?;
    let layout = relabeler.layout(&set)?;
    let plan = if layout.passes > 0 {
        relabeler.plan(&set, 0)?
    } else {
        Vec::new()
    };
    let records = match plan.len() {
        0 => Vec::new(),
        n if n == IMAGES as usize => {
            relabeler.encode(&set, &plan, std::slice::from_ref(&logits), &ctx)?
        }
        n => {
            return Err(Error::msg(format!(
                "the plan has {n} views, expected one for each of {IMAGES} images"
            )));
        }
    };
    let stored = (layout.index == RecordIndex::View).then_some(plan.as_slice());
    let views: Vec<View> = relabeler.train_views(&set, 0, stored)?;
    let labels = ctx.indices(&vec![0; views.len()], &[views.len()])?;
    let batch = LabelBatch {
        views: &views,
        labels: &labels,
        partner_labels: &labels,
        records: &records,
        partner_records: if layout.index == RecordIndex::Image {
            &records
        } else {
            &[]
        },
    };
    let targets = relabeler.decode(&set, &batch, &ctx)?;
    let whole = (&[0; IMAGES as usize][..], resolution);
    let targets = with_classes(targets, &views, whole, &ctx, &device)
        .map_err(|e| Error::msg(e.to_string()))?;
    loss.forward(&LossInput {
        logits: &logits,
        targets: &targets,
        features: &[],
        ctx: &ctx,
    })
    .map(drop)
}
