//! Relabeler "__NAME__": smoothed class labels, without a teacher (Szegedy et al., CVPR 2016). An example; replace it with your own.

use plugin_api::prelude::*;

/// Probability `1 - smoothing + smoothing / classes` for an image's class and `smoothing / classes` for each other one; a view
/// that is mixed has the mean of both images' distributions, by their shares.
///
/// A relabeler is its own options: each field is a key of `params` in an experiment file, and its documentation is what
/// `alambic plugin show __NAME__` prints. This one stores nothing; a relabeler that stores teachers' outputs creates records in `encode`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct __TYPE__ {
    /// Fraction of the label spread over all classes, above 0 and at most 1
    #[serde(default = "tenth")]
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    smoothing: f64,
}

fn tenth() -> f64 {
    0.1
}

impl Relabeler for __TYPE__ {
    fn layout(&self, _set: &SetInfo) -> Result<LabelLayout> {
        let smoothing = self.smoothing;
        ensure!(smoothing > 0. && smoothing <= 1., "smoothing: expected more than 0 and at most 1, got {smoothing}");
        Ok(LabelLayout { passes: 0, index: RecordIndex::None, stores_views: false })
    }

    fn encode(&self, _set: &SetInfo, _views: &[View], _teachers: &[Tensor], _ctx: &Ctx) -> Result<Records> {
        Ok(Records::new())
    }

    fn decode(&self, set: &SetInfo, batch: &LabelBatch<'_>, ctx: &Ctx) -> Result<Targets> {
        let classes = set.classes as usize;
        let labels = batch.labels.to_vec_u32()?;
        let partners = batch.partner_labels.to_vec_u32()?;
        let mut probs = vec![self.smoothing / classes as f64; batch.views.len() * classes];
        for (i, view) in batch.views.iter().enumerate() {
            let lambda = view.lambda(set.resolution);
            for (label, share) in [(labels[i], lambda), (partners[i], 1. - lambda)] {
                ensure!(label < set.classes, "label {label} in a set of {classes} classes");
                probs[i * classes + label as usize] += (1. - self.smoothing) * share;
            }
        }
        let log_probs = ctx.tensor(&probs, &[batch.views.len(), classes])?.log()?;
        Ok(Targets::Soft(SoftTargets::new(log_probs, None)))
    }
}

export_plugin! { relabeler "__NAME__": __TYPE__ = __DESCRIPTION__ }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{
        serde_json::json,
        testing,
        view::{BeforeRule, ColorRule, CropRule, MixRule},
    };

    #[test]
    fn keeps_the_contract() {
        testing::check_relabeler::<__TYPE__>("__NAME__", json!({})).unwrap();
    }

    #[test]
    fn a_mixed_view_has_two_smoothed_labels() {
        let crop = CropRule::None;
        let (color_jitter, before) = (ColorRule::NONE, BeforeRule::NONE);
        let views = ViewRule { crop, flip: 0., mix: MixRule::None, batch_size: 1, color_jitter, before };
        let set = SetInfo { images: 2, classes: 4, resolution: 8, seed: 0, epochs: 1, views };
        let ctx = testing::ctx("validate");
        let (labels, partner_labels) = (ctx.indices(&[1], &[1]).unwrap(), ctx.indices(&[3], &[1]).unwrap());
        // three quarters of the view's own image
        let mix = Mix::MixUp { partner: Crop::whole(1, 8), weight: 65_536 * 3 / 4 };
        let batch = LabelBatch {
            views: &[View::new(Crop::whole(0, 8), mix)],
            labels: &labels,
            partner_labels: &partner_labels,
            records: &[],
            partner_records: &[],
        };
        let targets = __TYPE__ { smoothing: 0.4 }.decode(&set, &batch, &ctx).unwrap().soft().unwrap();
        let probs = targets.log_probs.exp().unwrap().to_vec_f64().unwrap();
        for (got, expected) in probs.iter().zip([0.1, 0.55, 0.1, 0.25]) {
            assert!((got - expected).abs() < 1e-12, "{probs:?}");
        }
    }
}
