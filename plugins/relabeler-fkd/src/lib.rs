//! Fast knowledge distillation (Shen and Xing, ECCV 2022), SRe2L's relabel stage (Yin et al., NeurIPS 2023, section 3.3;
//! `SRe2L/relabel/generate_soft_label.py`): the teachers label every view that a student will ever see, and the student replays
//! them.

use plugin_api::prelude::*;

/// Name of the stored tensor, [N, classes].
const LOGITS: &str = "logits";

/// How logits are stored.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum StoredType {
    /// 16-bit floats, as the original code
    #[default]
    F16,
    /// 32-bit floats
    F32,
}

/// The logits of every view of every epoch, `epochs * images * classes` numbers.
///
/// Several teachers give the mean of their logits. A temperature is the business of the student's loss, as in the original
/// code. Where that code replays a shuffled order from its seed, here the views are stored beside their logits.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fkd {
    /// Element type of the stored logits
    #[serde(default)]
    dtype: StoredType,
}

impl Relabeler for Fkd {
    fn layout(&self, set: &SetInfo) -> Result<LabelLayout> {
        Ok(LabelLayout {
            passes: set.epochs,
            index: RecordIndex::View,
            stores_views: true,
        })
    }

    fn plan(&self, set: &SetInfo, pass: u32) -> Result<Vec<View>> {
        Ok(set.draw_views(pass))
    }

    fn encode(
        &self,
        _set: &SetInfo,
        _views: &[View],
        teachers: &[Tensor],
        _ctx: &Ctx,
    ) -> Result<Records> {
        let [first, others @ ..] = teachers else {
            bail!("fkd needs a teacher, and there is none; expected at least 1")
        };
        let sum = others
            .iter()
            .try_fold(first.clone(), |sum, logits| sum + logits)?;
        let dtype = match self.dtype {
            StoredType::F16 => DType::F16,
            StoredType::F32 => DType::F32,
        };
        let mean = (sum / teachers.len() as f64)?;
        Ok(vec![(LOGITS.to_owned(), mean.to_dtype(dtype)?)])
    }

    fn decode(&self, _set: &SetInfo, batch: &LabelBatch<'_>, ctx: &Ctx) -> Result<Targets> {
        let Some((_, stored)) = batch.records.iter().find(|(name, _)| name == LOGITS) else {
            let have: Vec<&str> = batch
                .records
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            bail!(
                "no record \"{LOGITS}\" among the labels (have: {}); label the set again",
                have.join(", ")
            )
        };
        let (got, expected) = (
            stored.shape().first().copied().unwrap_or(0),
            batch.views.len(),
        );
        ensure!(
            got == expected,
            "record \"{LOGITS}\" has {got} rows for {expected} views"
        );
        // Losses see f32 (f64 in parity runs), and a softmax in f16 would lose half of the digits.
        let logits = stored.to_dtype(ctx.dtype())?;
        Ok(Targets::Soft(SoftTargets {
            log_probs: logits.log_softmax(1)?,
            logits: Some(logits),
        }))
    }
}

export_plugin! { relabeler "fkd": Fkd = "the teachers' logits of every view of every epoch" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{
        component::parse_options,
        serde_json::json,
        testing,
        view::{CropRule, MixRule},
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
        },
    };

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
            "no record \"logits\" among the labels (have: indices); label the set again"
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
