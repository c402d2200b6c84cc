//! The content of a run's `summary.json`: every figure of a run that a report or a comparison needs.
//!
//! Accuracies are percent (0 to 100), times are seconds, sizes are bytes. [`summary_schema`] prints the JSON schema.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::continual::row::ContinualRow;
pub use super::cost::{StageCost, StageStatus};
pub use super::results::{ResultRow, SeedScore, mean_std};

/// The version of the format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// A run, finished or partial, in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Version of this format, [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The experiment's name.
    pub name: String,
    /// The experiment's seed.
    pub seed: u64,
    /// The device that the run computed on, such as `cpu` or `cuda:0`.
    pub device: String,
    /// Version of the program that wrote the summary.
    pub alambic_version: String,
    /// When the run was first started, RFC 3339.
    #[serde(default)]
    pub started: Option<String>,
    /// When the last stage finished, RFC 3339; absent while stages are outstanding.
    #[serde(default)]
    pub finished: Option<String>,
    /// The real data set.
    pub data: Data,
    /// What each stage cost, in the order of the pipeline.
    #[serde(default)]
    pub stages: Vec<StageCost>,
    /// The squeezed network.
    #[serde(default)]
    pub teacher: Option<Teacher>,
    /// What recover did.
    #[serde(default)]
    pub recover: Option<Recover>,
    /// One row for each set, kind of label and validation network.
    #[serde(default)]
    pub results: Vec<ResultRow>,
    /// The same for continual learning: classes arrive step by step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub continual: Vec<ContinualRow>,
    /// Size of the distilled set.
    #[serde(default)]
    pub bytes: Bytes,
    /// What to know before trusting a figure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The real data set, after the experiment's class selection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Data {
    /// Number of training images.
    pub train_images: u64,
    /// Number of test images.
    pub test_images: u64,
    /// Number of classes.
    pub classes: u64,
    /// Names of the classes by label; may repeat and contain any character.
    #[serde(default)]
    pub class_names: Vec<String>,
    /// Height and width of an image in pixels.
    pub resolution: u64,
}

/// The squeezed network, which guides recover and labels the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Teacher {
    /// Name of the architecture.
    pub architecture: String,
    /// Accuracy on the test set after the last epoch, percent.
    pub top1: f64,
    /// Top-5 accuracy on the test set after the last epoch, percent; absent below 20 classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// Epochs of training; absent for imported weights.
    #[serde(default)]
    pub epochs: Option<u64>,
    /// Number of trained parameters.
    #[serde(default)]
    pub parameters: Option<u64>,
}

/// What recover did, and how well the images meet its objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recover {
    /// Number of distilled images.
    pub images: u64,
    /// Distilled images per class.
    pub images_per_class: u64,
    /// Optimisation steps for each image.
    pub iterations: u64,
    /// The teacher's accuracy on the finished distilled images, percent.
    pub teacher_accuracy_on_distilled: f64,
    /// BatchNorm-statistics loss at the first iteration, mean over batches; absent without such a regularizer.
    #[serde(default)]
    pub bn_statistics_loss_first: Option<f64>,
    /// BatchNorm-statistics loss at the last iteration, mean over batches.
    #[serde(default)]
    pub bn_statistics_loss_last: Option<f64>,
    /// Each term of the objective at the last iteration, mean over batches; null where it was not finite.
    #[serde(default, deserialize_with = "null_as_nan")]
    #[schemars(with = "BTreeMap<String, Option<f64>>")]
    pub loss_terms_last: BTreeMap<String, f64>,
    /// Seconds per image, over all iterations.
    pub seconds_per_image: f64,
}

/// Bytes of the distilled set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bytes {
    /// Bytes of the image files.
    pub images: u64,
    /// Bytes of the stored labels.
    pub labels: u64,
}

impl Summary {
    /// Reads a summary from JSON.
    ///
    /// # Errors
    /// Fails on JSON that is not a summary, and on a format newer than [`FORMAT_VERSION`].
    pub fn from_json(json: &str) -> Result<Self> {
        // The version comes first: a newer format may lack fields that this one requires.
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let Version { format_version } = serde_json::from_str(json).context("run summary")?;
        if format_version == 0 || format_version > FORMAT_VERSION {
            bail!(
                "run summary: format version {format_version}, expected at most {FORMAT_VERSION} (read it with a newer alambic)"
            );
        }
        serde_json::from_str(json).context("run summary")
    }
}

/// The JSON schema of [`Summary`], indented.
pub fn summary_schema() -> String {
    let schema = schemars::schema_for!(Summary);
    serde_json::to_string_pretty(&schema).expect("a JSON value serialises")
}

/// JSON has no NaN or infinity: serde_json writes null for both, and null is read back as NaN.
fn null_as_nan<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let terms = BTreeMap::<String, Option<f64>>::deserialize(from)?;
    Ok(terms
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or(f64::NAN)))
        .collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row with the given scores on seeds 0, 1, ...
    pub(crate) fn row(set: &str, labels: &str, network: &str, top1_last: &[f64]) -> ResultRow {
        let scores: Vec<SeedScore> = (0..)
            .zip(top1_last)
            .map(|(seed, &top1)| SeedScore {
                seed,
                top1_last: top1,
                top1_best: top1 + 0.5,
                top5_last: None,
            })
            .collect();
        let row = ResultRow {
            set: set.into(),
            labels: labels.into(),
            network: network.into(),
            images: 100,
            images_per_class: Some(10),
            image_bytes: 46_080,
            label_bytes: 614_400,
            epochs: 300,
            ..ResultRow::default()
        };
        row.with_scores(&scores).expect("scores were given")
    }

    /// A run of all four stages on ten classes.
    pub(crate) fn summary() -> Summary {
        let cost = |stage: &str, seconds, peak_mib: u64| StageCost {
            earlier_batch_sizes: Vec::new(),
            taken_from: None,
            stage: stage.into(),
            seconds,
            peak_bytes: Some(peak_mib << 20),
            status: StageStatus::Done,
            profile: None,
        };
        Summary {
            format_version: FORMAT_VERSION,
            name: "sre2l_digits_convnet_ipc10".into(),
            seed: 0,
            device: "cpu".into(),
            alambic_version: "0.1.0".into(),
            started: Some("2025-01-31T09:00:00Z".into()),
            finished: Some("2025-01-31T09:12:04Z".into()),
            data: Data {
                train_images: 1438,
                test_images: 359,
                classes: 10,
                class_names: (0..10).map(|digit| digit.to_string()).collect(),
                resolution: 8,
            },
            stages: vec![
                cost("squeeze", 41.2, 212),
                cost("recover", 187.5, 340),
                cost("relabel", 9.81, 96),
                cost("validate", 485.0, 188),
            ],
            teacher: Some(Teacher {
                architecture: "convnet".into(),
                top1: 98.33,
                top5: None,
                epochs: Some(30),
                parameters: Some(113_098),
            }),
            recover: Some(Recover {
                images: 100,
                images_per_class: 10,
                iterations: 1000,
                teacher_accuracy_on_distilled: 100.,
                bn_statistics_loss_first: Some(52.4),
                bn_statistics_loss_last: Some(3.17),
                loss_terms_last: [("cross-entropy".into(), 0.0021), ("bn-stats".into(), 3.17)]
                    .into(),
                seconds_per_image: 1.875,
            }),
            results: vec![
                row("distilled", "soft", "convnet", &[92.1, 92.8, 91.9]),
                row("random-real", "soft", "convnet", &[88.4, 89.1, 87.9]),
                row("init-only", "soft", "convnet", &[31.2, 28.9, 33.4]),
                row("full-data", "hard", "convnet", &[98.3]),
            ],
            continual: Vec::new(),
            bytes: Bytes {
                images: 46_080,
                labels: 614_400,
            },
            warnings: Vec::new(),
        }
    }

    #[test]
    fn survives_json_even_with_a_loss_that_is_not_finite() {
        let mut written = summary();
        let json = serde_json::to_string(&written).unwrap();
        assert_eq!(Summary::from_json(&json).unwrap(), written);

        let terms =
            |s: &mut Summary| std::mem::take(&mut s.recover.as_mut().unwrap().loss_terms_last);
        written
            .recover
            .as_mut()
            .unwrap()
            .loss_terms_last
            .insert("tv".into(), f64::INFINITY);
        let mut read = Summary::from_json(&serde_json::to_string(&written).unwrap()).unwrap();
        assert!(terms(&mut read)["tv"].is_nan());
    }

    #[test]
    fn refuses_a_newer_format_before_its_fields() {
        let error = Summary::from_json(r#"{"format_version": 7}"#)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("format version 7, expected at most 1"),
            "{error}"
        );
        assert!(Summary::from_json("[]").is_err());
    }

    #[test]
    fn the_schema_documents_every_field_and_accepts_a_summary() {
        let schema: serde_json::Value = serde_json::from_str(&summary_schema()).unwrap();
        assert_eq!(
            schema["properties"]["name"]["description"],
            "The experiment's name."
        );
        let validator = jsonschema::validator_for(&schema).unwrap();
        let mut value = serde_json::to_value(summary()).unwrap();
        assert!(validator.is_valid(&value));
        value["results"][0]["mean_last"] = "high".into();
        assert!(!validator.is_valid(&value));
    }
}
