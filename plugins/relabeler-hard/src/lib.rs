//! Training on class labels: no teacher answers anything, nothing is stored. The control that soft labels are measured against.

use plugin_api::prelude::*;

/// The class of each view's image; under cutmix and mixup also its partner's, with `lambda` the share of the view's own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Hard {}

impl Relabeler for Hard {
    fn layout(&self, _set: &SetInfo) -> Result<LabelLayout> {
        Ok(LabelLayout {
            passes: 0,
            index: RecordIndex::None,
            stores_views: false,
        })
    }

    fn encode(
        &self,
        _set: &SetInfo,
        _views: &[View],
        _teachers: &[Tensor],
        _ctx: &Ctx,
    ) -> Result<Records> {
        Ok(Records::new())
    }

    fn decode(&self, set: &SetInfo, batch: &LabelBatch<'_>, ctx: &Ctx) -> Result<Targets> {
        let labels = batch.labels.clone();
        if batch.views.iter().all(|view| view.mix == Mix::None) {
            return Ok(Targets::labels(labels));
        }
        let lambdas: Vec<f64> = batch
            .views
            .iter()
            .map(|view| view.lambda(set.resolution))
            .collect();
        let lambda = ctx.tensor(&lambdas, &[lambdas.len()])?;
        Ok(Targets::Hard(HardTargets {
            labels,
            labels_b: Some(batch.partner_labels.clone()),
            lambda: Some(lambda),
        }))
    }
}

export_plugin! { relabeler "hard": Hard = "class labels; nothing is stored" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{
        serde_json::json,
        testing,
        view::{BeforeRule, ColorRule, CropRule, MixRule},
    };

    const SET: SetInfo = SetInfo {
        images: 4,
        classes: 3,
        resolution: 8,
        seed: 1,
        epochs: 2,
        views: ViewRule {
            crop: CropRule::None,
            flip: 0.,
            mix: MixRule::None,
            batch_size: 4,
            color_jitter: ColorRule::NONE,
            before: BeforeRule::NONE,
        },
    };

    fn decode(views: &[View]) -> HardTargets {
        let ctx = testing::ctx("validate");
        let labels = ctx.indices(&[2, 0], &[2]).unwrap();
        let partner_labels = ctx.indices(&[1, 0], &[2]).unwrap();
        let batch = LabelBatch {
            views,
            labels: &labels,
            partner_labels: &partner_labels,
            records: &[],
            partner_records: &[],
        };
        Hard {}.decode(&SET, &batch, &ctx).unwrap().hard().unwrap()
    }

    #[test]
    fn views_that_are_not_mixed_have_one_label() {
        let targets = decode(&[View::whole(0, 8), View::whole(1, 8)]);
        assert_eq!(targets.labels.to_vec_u32().unwrap(), [2, 0]);
        assert!(targets.labels_b.is_none() && targets.lambda.is_none());
    }

    #[test]
    fn mixed_views_have_two() {
        // the box covers 3 * 4 of 64 pixels
        let mix = Mix::CutMix {
            partner: Crop::whole(3, 8),
            top: 0,
            left: 2,
            bottom: 3,
            right: 6,
        };
        let targets = decode(&[View::new(Crop::whole(0, 8), mix), View::whole(1, 8)]);
        assert_eq!(targets.labels.to_vec_u32().unwrap(), [2, 0]);
        assert_eq!(targets.labels_b.unwrap().to_vec_u32().unwrap(), [1, 0]);
        assert_eq!(targets.lambda.unwrap().to_vec_f64().unwrap(), [0.8125, 1.]);
    }

    #[test]
    fn students_see_the_views_that_the_rule_draws() {
        assert_eq!(
            Hard {}.train_views(&SET, 1, None).unwrap(),
            SET.draw_views(1)
        );
    }

    #[test]
    fn keeps_the_contract() {
        testing::check_relabeler::<Hard>("hard", json!({})).unwrap();
    }
}
