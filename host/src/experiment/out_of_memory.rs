//! What to do when a GPU runs out of memory, instead of the driver's message.

use anyhow::Error;

use super::Experiment;
use crate::{
    artifact::Stage,
    engine::{
        error::is_out_of_memory,
        gpu::{
            device,
            holdings::{Held, largest},
        },
    },
    report::units::human_bytes,
    stages::{Table, relabel::TeacherMode},
};

/// Holders that the message names.
const NAMED: usize = 4;

/// The error of a stage, with sizes, who holds most and the knob to turn where a GPU has run out of memory.
pub(super) fn explained(error: Error, experiment: &Experiment, stage: Stage) -> Error {
    if !is_out_of_memory(error.as_ref()) {
        return error;
    }
    let room = device::memory().map_or(String::new(), |[free, all]| {
        let [free, all] = [free, all].map(|bytes| human_bytes(bytes as u64));
        format!(", {free} of {all} free")
    });
    let largest = largest(NAMED).into_iter().map(|held| {
        let Held {
            what,
            values,
            bytes,
        } = held;
        format!("{what} {} in {values}", human_bytes(bytes))
    });
    let largest: Vec<String> = largest.collect();
    let consumers = match largest.as_slice() {
        [] => String::new(),
        all => format!("; the largest allocations: {}", all.join(", ")),
    };
    let advice = advice(experiment, stage);
    error.context(format!(
        "out of memory on the GPU{room}{consumers}; {advice}"
    ))
}

/// How to resume with less memory.
fn advice(experiment: &Experiment, stage: Stage) -> String {
    let relabel = experiment
        .relabel
        .as_ref()
        .filter(|_| stage == Stage::Relabel);
    if let Some(config) = relabel.filter(|c| c.teacher_mode == TeacherMode::Eval)
        && let size @ 2.. = config.teacher_batch_size.unwrap_or(config.batch_size)
    {
        return format!(
            "the teacher evaluates {size} views at once; a smaller number changes labels only by rounding: --set \
             relabel.teacher_batch_size={} (existing labels are kept)",
            size / 2
        );
    }
    let (size, how, stays) = match relabel {
        Some(config) => (
            Some(config.batch_size),
            "--from relabel",
            "finished stages are kept",
        ),
        None => (
            experiment.table(stage).and_then(Table::batch_size),
            "--keep-state",
            "resumes from the saved state",
        ),
    };
    match size {
        Some(size @ 2..) => format!(
            "a step holds {stage}.batch_size = {size} images and all their activations; halve it: --set {stage}.batch_size={} \
             {how} ({stays})",
            size / 2
        ),
        _ => "use a smaller network or resolution".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::networks::plugin_error;
    use plugin_api::ErrorKind;

    fn experiment() -> Experiment {
        let text = include_str!("../../../experiments/quickstart.toml");
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_knob_is_named_for_a_full_gpu_alone() {
        let mut experiment = experiment();
        let size = experiment.recover.as_ref().unwrap().batch_size;
        let words = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
        // As candle says it, beneath what the stage was at.
        let full = Error::new(candle_core::Error::Msg(words.to_owned())).context("step 3");
        let text = format!("{:#}", explained(full, &experiment, Stage::Recover));
        let expected = [
            format!("recover.batch_size = {size}"),
            format!("--set recover.batch_size={} --keep-state", size / 2),
            "CUDA_ERROR_OUT_OF_MEMORY".to_owned(),
        ];
        assert!(expected.iter().all(|part| text.contains(part)), "{text}");
        // As a plugin hands on what the host told it.
        let words = "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED";
        let told = || plugin_api::Error::new(ErrorKind::OUT_OF_MEMORY, words);
        let full = || plugin_error(told().context("conv2d")).context("pass 1");
        let text = format!("{:#}", explained(full(), &experiment, Stage::Relabel));
        let size = experiment.relabel.as_ref().unwrap().batch_size;
        let expected = format!("--set relabel.teacher_batch_size={} (", size / 2);
        assert!(text.contains(&expected), "{text}");
        experiment.relabel.as_mut().unwrap().teacher_mode = TeacherMode::TrainStatistics;
        let text = format!("{:#}", explained(full(), &experiment, Stage::Relabel));
        let expected = format!("--set relabel.batch_size={} --from relabel", size / 2);
        assert!(text.contains(&expected), "{text}");
        // The words alone are nothing: a label may be called so.
        for other in ["disk full", words] {
            let same = explained(Error::msg(other), &experiment, Stage::Recover);
            assert_eq!(same.to_string(), other);
        }
    }
}
