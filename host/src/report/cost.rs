//! What a stage cost: a row of the summary; and what `--profile` measured of it, as `profile/<stage>.json` in the run folder,
//! in the summary and as a table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::profile::OperationTime;

use super::units::{human_bytes, human_count, human_duration};

/// Operations that the table shows.
const SHOWN_OPERATIONS: usize = 12;

/// Progress of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageStatus {
    /// Finished.
    Done,
    /// Started, and stopped at a checkpoint.
    Partial,
    /// Not started.
    Pending,
    /// Finished, but its configuration or inputs have changed since.
    Stale,
}

/// What a stage cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageCost {
    /// Name of the stage: squeeze, recover, match, relabel, validate or continual.
    pub stage: String,
    /// Seconds of work, summed over all sessions.
    pub seconds: f64,
    /// Peak memory in bytes, of the device if the run used one, otherwise of the process; absent when not measured.
    #[serde(default)]
    pub peak_bytes: Option<u64>,
    /// Progress of the stage.
    pub status: StageStatus,
    /// Its previous `batch_size` values, if it was resumed with another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_batch_sizes: Vec<u32>,
    /// The folder of the run that did the work, if the stage was taken from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
    /// What `--profile` measured; absent if the stage ran without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<StageProfile>,
}

/// The cost of a stage in one session: seconds, memory, and the time of each operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageProfile {
    /// Wall-clock seconds. A resumed stage counts from where it was resumed.
    pub wall_secs: f64,
    /// CPU seconds over all cores, including system time.
    pub cpu_secs: f64,
    /// Peak heap bytes of the program since its start: data, caches, networks, activations. Code, stacks, plugins' own memory and
    /// what the C library keeps in reserve are not counted.
    pub peak_heap_bytes: u64,
    /// Bytes allocated when the stage started: opened data, caches.
    pub heap_bytes_before: u64,
    /// Operations of the engine, the longest first.
    pub operations: Vec<OperationTime>,
}

impl StageProfile {
    /// Seconds that belong to no operation: files, decoding, plugins, evaluation between steps.
    pub fn other_secs(&self) -> f64 {
        let of_operations: f64 = self.operations.iter().map(OperationTime::secs).sum();
        (self.wall_secs - of_operations).max(0.)
    }

    /// The profile as a table under one line of totals; `stage` is the stage's name.
    pub fn table(&self, stage: &str) -> String {
        let mut text = format!(
            "profile of {stage}: peak heap {}, wall time {}, CPU time {}\n",
            human_bytes(self.peak_heap_bytes),
            human_duration(self.wall_secs),
            human_duration(self.cpu_secs),
        );
        let mut line = |name: &str, cells: [String; 5]| {
            let [share, forward, backward, calls, bytes] = cells;
            let row = format!(
                "  {name:<20} {share:>7} {forward:>11} {backward:>11} {calls:>10} {bytes:>10}"
            );
            text += row.trim_end();
            text.push('\n');
        };
        let words = ["share", "forward s", "backward s", "calls", "new/call"];
        line("operation", words.map(str::to_owned));
        let share = |secs: f64| format!("{:.1} %", 100. * secs / self.wall_secs.max(1e-9));
        for operation in self.operations.iter().take(SHOWN_OPERATIONS) {
            let calls = operation.forward_calls + operation.backward_calls;
            let cells = [
                share(operation.secs()),
                format!("{:.2}", operation.forward_secs),
                format!("{:.2}", operation.backward_secs),
                human_count(operation.forward_calls.max(operation.backward_calls)),
                human_bytes(operation.allocated_bytes / calls.max(1)),
            ];
            line(&operation.name, cells);
        }
        let rest = self.operations.iter().skip(SHOWN_OPERATIONS);
        let rest: f64 = rest.map(OperationTime::secs).sum();
        for (name, secs) in [
            ("other operations", rest),
            ("no operation", self.other_secs()),
        ] {
            let mut cells = [""; 5].map(str::to_owned);
            cells[0] = share(secs);
            line(name, cells);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(name: &str, secs: f64) -> OperationTime {
        OperationTime {
            name: name.into(),
            forward_calls: 1200,
            forward_secs: secs / 4.,
            backward_calls: 1200,
            backward_secs: secs * 3. / 4.,
            allocated_bytes: 2400 * (2 << 20),
        }
    }

    #[test]
    fn the_table_has_shares_and_what_is_left() {
        let profile = StageProfile {
            wall_secs: 10.,
            cpu_secs: 18.,
            peak_heap_bytes: 340 << 20,
            heap_bytes_before: 0,
            operations: (0..14)
                .map(|i| operation(&format!("op{i}"), if i == 0 { 5. } else { 0.25 }))
                .collect(),
        };
        assert!((profile.other_secs() - 1.75).abs() < 1e-9);
        let table = profile.table("recover");
        let line = |begin: &str| table.lines().find(|l| l.trim_start().starts_with(begin));
        assert!(table.starts_with("profile of recover: peak heap 340 MiB, wall time 10.0 s"));
        assert!(line("op0 ").unwrap().contains("50.0 %"), "{table}");
        assert!(
            line("op0 ")
                .unwrap()
                .contains("1.25        3.75      1,200   2.00 MiB")
        );
        assert!(line("op12 ").is_none());
        assert!(
            line("other operations").unwrap().ends_with("5.0 %"),
            "{table}"
        );
        assert!(line("no operation").unwrap().ends_with("17.5 %"), "{table}");
    }
}
