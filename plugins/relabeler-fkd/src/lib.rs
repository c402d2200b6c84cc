//! Fast knowledge distillation (Shen and Xing, ECCV 2022), SRe2L's relabel stage (Yin et al., NeurIPS 2023, section 3.3;
//! `SRe2L/relabel/generate_soft_label.py`): the teachers label every view that a student will ever see, and the student replays
//! them. Three ways to keep the labels:
//!
//! - `fkd`: views and logits as they are;
//! - `fkd-pruned`: those of a fraction of the epochs or batches, reused (Xiao and He, "Are Large-scale Soft Labels Necessary for
//!   Large-scale Dataset Distillation?", NeurIPS 2024);
//! - `fkd-compact`: views drawn again instead of stored, logits in few bits, and pruned as well if wished.

mod compact;
mod prune;
mod store;

use plugin_api::prelude::*;

use compact::Options;
use prune::{Prune, Unit};
use store::{StoredType, mean, record};

/// The logits of every view of every epoch, `epochs * images * classes` numbers.
///
/// Several teachers give the mean of their logits. The temperature belongs to the student's loss, as in the original code. Where that code replays a shuffled order from its seed, here the views are stored beside their logits.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fkd {
    /// Element type of the stored logits
    #[serde(default)]
    dtype: StoredType,
}

/// As `fkd`, for a fraction of the views of all epochs. The student sees them repeatedly: its epoch `e` replays the stored
/// pass `e mod passes`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pruned {
    /// Element type of the stored logits
    #[serde(default)]
    dtype: StoredType,
    /// Fraction of all epochs' views whose labels are kept, rounded up to a whole number of epochs; 1 keeps all
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    keep: f64,
    /// Keep whole epochs, or the same number of batches chosen from all epochs
    #[serde(default)]
    of: Unit,
}

impl Pruned {
    fn prune(&self) -> Prune {
        Prune {
            keep: self.keep,
            of: self.of,
        }
    }
}

/// Labels of some fifty bytes a view: nothing of the view, which is drawn again from the counter-based generator, and of the
/// logits the largest ones, in 4 or 8 bits each, and one value that all others share.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "Options")]
struct Compact(Options);

impl Relabeler for Fkd {
    fn layout(&self, set: &SetInfo) -> Result<LabelLayout> {
        Ok(layout(set.epochs, true))
    }

    fn plan(&self, set: &SetInfo, pass: u32) -> Result<Vec<View>> {
        Ok(set.draw_views(pass))
    }

    fn encode(&self, _: &SetInfo, _: &[View], teachers: &[Tensor], _: &Ctx) -> Result<Records> {
        store::encode(self.dtype, teachers)
    }

    fn decode(&self, _: &SetInfo, batch: &LabelBatch<'_>, ctx: &Ctx) -> Result<Targets> {
        store::decode(batch, ctx)
    }
}

impl Relabeler for Pruned {
    fn layout(&self, set: &SetInfo) -> Result<LabelLayout> {
        Ok(layout(self.prune().passes(set)?, true))
    }

    fn plan(&self, set: &SetInfo, pass: u32) -> Result<Vec<View>> {
        Ok(self.prune().views(set, pass))
    }

    fn encode(&self, _: &SetInfo, _: &[View], teachers: &[Tensor], _: &Ctx) -> Result<Records> {
        store::encode(self.dtype, teachers)
    }

    fn decode(&self, _: &SetInfo, batch: &LabelBatch<'_>, ctx: &Ctx) -> Result<Targets> {
        store::decode(batch, ctx)
    }
}

impl Relabeler for Compact {
    fn layout(&self, set: &SetInfo) -> Result<LabelLayout> {
        Ok(layout(self.0.prune().passes(set)?, false))
    }

    fn plan(&self, set: &SetInfo, pass: u32) -> Result<Vec<View>> {
        Ok(self.0.prune().views(set, pass))
    }

    fn encode(&self, _: &SetInfo, _: &[View], teachers: &[Tensor], _: &Ctx) -> Result<Records> {
        self.0.encode(&mean(teachers)?)
    }

    fn decode(&self, set: &SetInfo, batch: &LabelBatch<'_>, ctx: &Ctx) -> Result<Targets> {
        let packed = record(batch, compact::PACKED)?;
        let logits = self.0.decode(packed, set.classes as usize, ctx)?;
        store::soft(logits)
    }
}

fn layout(passes: u32, stores_views: bool) -> LabelLayout {
    LabelLayout {
        passes,
        index: RecordIndex::View,
        stores_views,
    }
}

export_plugin! {
    relabeler "fkd": Fkd = "the teachers' logits of every view of every epoch",
    relabeler "fkd-pruned": Pruned = "the teachers' logits of a fraction of the views, reused",
    relabeler "fkd-compact": Compact = "the teachers' largest logits in few bits; views are redrawn",
}

#[cfg(test)]
mod tests {
    use super::store::LOGITS;
    use super::*;
    use plugin_api::{
        component::parse_options,
        serde_json::json,
        testing,
        view::{BeforeRule, ColorRule, CropRule, MixRule},
    };

    const SET: SetInfo = SetInfo {
        images: 5,
        classes: 3,
        resolution: 8,
        seed: 1,
        epochs: 7,
        views: ViewRule {
            crop: CropRule::Padded { padding: 2 },
            flip: 0.5,
            mix: MixRule::CutMix { alpha: 1. },
            batch_size: 3,
            color_jitter: ColorRule::NONE,
            before: BeforeRule::NONE,
        },
    };

    #[test]
    fn the_shipped_fractions_keep_the_contract() {
        testing::check_relabeler::<Pruned>("fkd-pruned", json!({"keep": 0.5})).unwrap();
        let batches = json!({"keep": 0.5, "of": "batches", "dtype": "f32"});
        testing::check_relabeler::<Pruned>("fkd-pruned", batches).unwrap();
        testing::check_relabeler::<Compact>("fkd-compact", json!({})).unwrap();
        let small = json!({"top_k": 2, "bits": 4, "temperature": 1, "prune": {"keep": 0.3}});
        testing::check_relabeler::<Compact>("fkd-compact", small).unwrap();
    }

    #[test]
    fn compact_labels_store_no_views_and_draw_the_same_ones() {
        let compact: Compact = parse_options("{}").unwrap();
        let layout = compact.layout(&SET).unwrap();
        assert_eq!((layout.passes, layout.stores_views), (7, false));
        assert_eq!(
            compact.plan(&SET, 4).unwrap(),
            fkd("{}").plan(&SET, 4).unwrap()
        );
    }

    fn fkd(options: &str) -> Fkd {
        parse_options(options).unwrap()
    }

    fn decode(fkd: &Fkd, views: &[View], records: &[(String, Tensor)]) -> Result<SoftTargets> {
        let ctx = testing::ctx("validate");
        let labels = ctx.indices(&vec![0; views.len()], &[views.len()])?;
        let batch = LabelBatch {
            views,
            labels: &labels,
            partner_labels: &labels,
            records,
            partner_records: &[],
        };
        fkd.decode(&SET, &batch, &ctx)?.soft()
    }

    #[test]
    fn every_epoch_is_labelled_and_replayed() {
        let fkd = fkd("{}");
        let layout = fkd.layout(&SET).unwrap();
        assert_eq!(
            layout,
            LabelLayout {
                passes: 7,
                index: RecordIndex::View,
                stores_views: true
            }
        );
        let plan = fkd.plan(&SET, 3).unwrap();
        assert_ne!(plan, fkd.plan(&SET, 4).unwrap());
        assert_eq!(fkd.train_views(&SET, 3, Some(&plan)).unwrap(), plan);
    }

    #[test]
    fn several_teachers_give_the_mean_of_their_logits() {
        let (fkd, ctx) = (fkd(r#"{"dtype": "f32"}"#), testing::ctx("relabel"));
        let views = &SET.draw_views(0)[..1];
        let teachers = [[3., 1., 0.], [1., 0., -1.]].map(|z| ctx.tensor(&z, &[1, 3]).unwrap());
        let records = fkd.encode(&SET, views, &teachers, &ctx).unwrap();
        let targets = decode(&fkd, views, &records).unwrap();
        assert_eq!(
            targets.logits.unwrap().to_vec_f64().unwrap(),
            [2., 0.5, -0.5]
        );
        // z = np.array([2, 0.5, -0.5]); np.exp(z) / np.exp(z).sum()
        let probs = targets.log_probs.exp().unwrap().to_vec_f64().unwrap();
        let expected = [0.7661572065563422, 0.17095278019779028, 0.0628900132458675];
        assert!(
            probs
                .iter()
                .zip(expected)
                .all(|(p, e)| (p - e).abs() < 1e-9),
            "{probs:?}"
        );
    }

    #[test]
    fn records_have_the_type_of_the_options() {
        let ctx = testing::ctx("relabel");
        let logits = [ctx.tensor(&[1., 2., 3.], &[1, 3]).unwrap()];
        for (options, dtype) in [("{}", DType::F16), (r#"{"dtype": "f32"}"#, DType::F32)] {
            let records = fkd(options)
                .encode(&SET, &SET.draw_views(0)[..1], &logits, &ctx)
                .unwrap();
            assert_eq!(
                (records[0].0.as_str(), records[0].1.dtype()),
                ("logits", dtype)
            );
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let (fkd, ctx, views) = (fkd("{}"), testing::ctx("relabel"), SET.draw_views(0));
        let error = fkd
            .encode(&SET, &views, &[], &ctx)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("fkd needs a teacher"), "{error}");
        let other = vec![("indices".to_owned(), ctx.tensor(&[0.; 5], &[5, 1]).unwrap())];
        let error = decode(&fkd, &views, &other).err().unwrap().to_string();
        assert_eq!(
            error,
            "no record \"logits\" among the labels (have: indices); relabel the set"
        );
        let short = vec![(LOGITS.to_owned(), ctx.tensor(&[0.; 6], &[2, 3]).unwrap())];
        let error = decode(&fkd, &views, &short).err().unwrap().to_string();
        assert_eq!(error, "record \"logits\" has 2 rows for 5 views");
    }

    #[test]
    fn keeps_the_contract() {
        testing::check_relabeler::<Fkd>("fkd", json!({})).unwrap();
        testing::check_relabeler::<Fkd>("fkd", json!({"dtype": "f32"})).unwrap();
    }
}
