//! `manifest.json`: what produced a run, and which stages are finished for which configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::{
    Stage,
    sums::{Sum, Sums, hex},
};

/// The version of the run folder's layout. The first one had no checksums.
pub const FORMAT_VERSION: u32 = 2;

/// What made a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The checksum of the manifest itself ([`super::seal`]).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seal: String,
    /// The experiment's name.
    pub name: String,
    /// The program's version.
    pub alambic_version: String,
    /// The seed.
    pub seed: u64,
    /// The device of the last session.
    pub device: String,
    /// When the run was first started, RFC 3339.
    pub started: String,
    /// When its last stage ended; absent while stages are outstanding.
    pub finished: Option<String>,
    /// The processes of the last session that had several: MPI's library, ranks, nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<String>,
    /// Plugins that took part.
    pub plugins: Vec<PluginRecord>,
    /// Stages by name.
    pub stages: BTreeMap<String, StageRecord>,
    /// Files that belong to no stage: the experiment, the report.
    #[serde(default, skip_serializing_if = "Sums::is_empty")]
    pub files: Sums,
}

impl Manifest {
    /// How far a stage is, if it has begun.
    pub fn record(&self, stage: Stage) -> Option<&StageRecord> {
        self.stages.get(stage.name())
    }

    /// All files of the run with their sums: those of stages in their order, then those of none.
    pub fn all_files(&self) -> impl Iterator<Item = (&String, &Sum)> {
        let stages = Stage::ALL
            .into_iter()
            .filter_map(|stage| self.record(stage));
        stages.flat_map(|record| &record.files).chain(&self.files)
    }
}

/// A plugin that took part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PluginRecord {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its file.
    pub sha256: String,
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Begun.
    Started,
    /// Done.
    Finished,
}

/// The batches of a stage that can go on with a `batch_size` of another number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Hash of the stage's configuration and inputs but for `batch_size`.
    pub hash_but_size: String,
    /// Images per batch.
    pub size: u32,
}

/// One stage of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Hash of its configuration and inputs.
    pub hash: String,
    /// Hash of what may grow without making it stale: sets, seeds.
    pub extent: String,
    /// How far it is.
    pub status: Status,
    /// Seconds of work, interruptions not counted.
    pub seconds: f64,
    /// Peak resident memory of the process while it ran.
    pub peak_bytes: Option<u64>,
    /// Its batch size, if it can resume with another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// What `batch_size` was before, where the stage went on from its saved state with another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_batch_sizes: Vec<u32>,
    /// The folder of the run whose finished stage it is, where it was taken from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
    /// Its files when it was last finished; none if a version without checksums finished it.
    #[serde(default, skip_serializing_if = "Sums::is_empty")]
    pub files: Sums,
}

/// SHA-256 of a JSON value, whatever the order of its keys.
pub fn hash_json(value: &Json) -> String {
    let mut hasher = Sha256::new();
    feed(&mut hasher, value);
    hex(&hasher.finalize())
}

fn feed(hasher: &mut Sha256, value: &Json) {
    match value {
        Json::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            hasher.update(b"{");
            for (key, value) in sorted {
                hasher.update(Json::from(key.as_str()).to_string());
                hasher.update(b":");
                feed(hasher, value);
                hasher.update(b",");
            }
            hasher.update(b"}");
        }
        Json::Array(items) => {
            hasher.update(b"[");
            for item in items {
                feed(hasher, item);
                hasher.update(b",");
            }
            hasher.update(b"]");
        }
        plain => hasher.update(plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_hash_follows_values_and_not_key_order() {
        let a: Json = serde_json::from_str(r#"{"x": [1, 2], "y": {"b": 1, "a": 2}}"#).unwrap();
        let b: Json = serde_json::from_str(r#"{"y": {"a": 2, "b": 1}, "x": [1, 2]}"#).unwrap();
        assert_eq!(hash_json(&a), hash_json(&b));
        assert_ne!(
            hash_json(&a),
            hash_json(&json!({"x": [2, 1], "y": {"a": 2, "b": 1}}))
        );
        assert_eq!(hash_json(&json!(1)), hex(&Sha256::digest(b"1")));
    }
}
