//! Relabelers to try the checks on: a good one for each index, and one for each way to break the contract.

use serde::de::DeserializeOwned;
use serde_json::json;

use super::check_relabeler;
use crate::{loss, prelude::*};

fn layout(passes: u32, index: RecordIndex) -> Result<LabelLayout> {
    Ok(LabelLayout {
        passes,
        index,
        stores_views: index == RecordIndex::View,
    })
}

fn logits(teachers: &[Tensor]) -> Result<Records> {
    Ok(vec![("logits".to_owned(), teachers[0].clone())])
}

fn soft(log_probs: Tensor) -> Result<loss::Targets> {
    Ok(loss::Targets::Soft(loss::SoftTargets::new(log_probs, None)))
}

fn by_view(batch: &LabelBatch<'_>) -> Result<loss::Targets> {
    soft(batch.records[0].1.log_softmax(1)?)
}

macro_rules! relabeler {
    ($(#[$doc:meta])* $name:ident { $($methods:item)* }) => {
        $(#[$doc])*
        #[derive(Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        struct $name {}

        impl Relabeler for $name {
            $($methods)*
        }
    };
}

/// A relabeler of views whose plan, records or targets are given.
macro_rules! of_views {
    ($(#[$doc:meta])* $name:ident, plan: $plan:expr, encode: $encode:expr, decode: $decode:expr, $($more:item)*) => {
        relabeler! {
            $(#[$doc])*
            $name {
                fn layout(&self, set: &SetInfo) -> Result<LabelLayout> {
                    layout(set.epochs, RecordIndex::View)
                }

                fn plan(&self, set: &SetInfo, pass: u32) -> Result<Vec<View>> {
                    let plan: fn(&SetInfo, u32) -> Vec<View> = $plan;
                    Ok(plan(set, pass))
                }

                fn encode(&self, _: &SetInfo, _: &[View], teachers: &[Tensor], _: &Ctx) -> Result<Records> {
                    let encode: fn(&[Tensor]) -> Result<Records> = $encode;
                    encode(teachers)
                }

                fn decode(&self, _: &SetInfo, batch: &LabelBatch<'_>, _: &Ctx) -> Result<loss::Targets> {
                    let decode: fn(&LabelBatch<'_>) -> Result<loss::Targets> = $decode;
                    decode(batch)
                }

                $($more)*
            }
        }
    };
}

relabeler! {
    /// Class labels, no records.
    Hard {
        fn layout(&self, _: &SetInfo) -> Result<LabelLayout> {
            layout(0, RecordIndex::None)
        }

        fn encode(&self, _: &SetInfo, _: &[View], _: &[Tensor], _: &Ctx) -> Result<Records> {
            Ok(Vec::new())
        }

        fn decode(&self, set: &SetInfo, batch: &LabelBatch<'_>, ctx: &Ctx) -> Result<loss::Targets> {
            let lambda: Vec<f64> = batch.views.iter().map(|v| v.lambda(set.resolution)).collect();
            Ok(loss::Targets::Hard(HardTargets {
                labels: batch.labels.clone(),
                labels_b: Some(batch.partner_labels.clone()),
                lambda: Some(ctx.tensor(&lambda, &[lambda.len()])?),
            }))
        }
    }
}

relabeler! {
    /// One record an image, mixed as the view.
    ByImage {
        fn layout(&self, _: &SetInfo) -> Result<LabelLayout> {
            layout(1, RecordIndex::Image)
        }

        fn encode(&self, _: &SetInfo, _: &[View], teachers: &[Tensor], _: &Ctx) -> Result<Records> {
            logits(teachers)
        }

        fn decode(&self, set: &SetInfo, batch: &LabelBatch<'_>, ctx: &Ctx) -> Result<loss::Targets> {
            let lambda: Vec<f64> = batch.views.iter().map(|v| v.lambda(set.resolution)).collect();
            let lambda = ctx.tensor(&lambda, &[lambda.len(), 1])?;
            let (own, partner) = (batch.records[0].1.softmax(1)?, batch.partner_records[0].1.softmax(1)?);
            soft((&partner + (&own - &partner)? * lambda)?.log()?)
        }
    }
}

of_views! {
    /// One record a view.
    ByView, plan: |set, pass| set.draw_views(pass), encode: logits, decode: by_view,
}

of_views! {
    /// Plans an image that is not there.
    Outside, plan: |set, _| vec![View::whole(set.images, set.resolution)], encode: logits, decode: by_view,
}

of_views! {
    /// Gives probabilities that sum to 2.
    Unnormalised, plan: |set, pass| set.draw_views(pass), encode: logits,
    decode: |batch| soft((batch.records[0].1.log_softmax(1)? + 2f64.ln())?),
}

of_views! {
    /// Subtracts the mean of the batch.
    Gossip, plan: |set, pass| set.draw_views(pass),
    encode: |teachers| logits(&[(&teachers[0] - teachers[0].mean_keepdim(&[0])?)?]), decode: by_view,
}

of_views! {
    /// Trains on views that were not labelled.
    OtherViews, plan: |set, pass| set.draw_views(pass), encode: logits, decode: by_view,
    fn train_views(&self, set: &SetInfo, epoch: u32, _: Option<&[View]>) -> Result<Vec<View>> {
        Ok(set.draw_views(epoch + 100))
    }
}

of_views! {
    /// Trains on the first half of the images.
    Few, plan: |set, _| set.whole_images(), encode: logits, decode: by_view,
    fn train_views(&self, set: &SetInfo, _: u32, _: Option<&[View]>) -> Result<Vec<View>> {
        Ok(set.whole_images().into_iter().take(6).collect())
    }
}

of_views! {
    /// Keeps one number for all views.
    Summed, plan: |set, pass| set.draw_views(pass),
    encode: |teachers| Ok(vec![("sum".to_owned(), teachers[0].sum_all()?)]), decode: by_view,
}

relabeler! {
    /// Takes no set.
    Refusing {
        fn layout(&self, _: &SetInfo) -> Result<LabelLayout> {
            bail!("not this one")
        }

        fn encode(&self, _: &SetInfo, _: &[View], _: &[Tensor], _: &Ctx) -> Result<Records> {
            Ok(Vec::new())
        }

        fn decode(&self, _: &SetInfo, batch: &LabelBatch<'_>, _: &Ctx) -> Result<loss::Targets> {
            Ok(loss::Targets::labels(batch.labels.clone()))
        }
    }
}

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
        "record \"logits\" differs between batches of 5 and 12 views",
    );
    told(error::<OtherViews>(), "not among the stored views");
    told(error::<Few>(), "never sees the images [6, 7, 8, 9, 10, 11]");
    told(
        error::<Summed>(),
        "expected its first dimension to run over 12 views",
    );
    told(
        error::<Refusing>(),
        "all sets are rejected (without mixes: not this one",
    );
}
