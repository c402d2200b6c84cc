//! What to do when a GPU has no room: said in place of the driver's own words.

use anyhow::Error;

use super::Experiment;
use crate::engine::gpu::device;

/// What the driver and its libraries say when there is no room.
const SIGNS: [&str; 3] = [
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
];

/// The error of a stage, with sizes and the knob to turn where a GPU has run out of memory.
pub(super) fn explained(error: Error, experiment: &Experiment, stage: &str) -> Error {
    let message = format!("{error:#}");
    if !SIGNS.iter().any(|sign| message.contains(sign)) {
        return error;
    }
    let gib = |bytes: usize| bytes as f64 / f64::from(1u32 << 30);
    let room = device::memory().map_or(String::new(), |[free, all]| {
        format!(", {:.1} of {:.1} GiB free", gib(free), gib(all))
    });
    let advice = match batch_size(experiment, stage) {
        Some(size @ 2..) => format!(
            "a step holds {stage}.batch_size = {size} images and all activations of theirs, which is most of it; halve it: \
             --set {stage}.batch_size={} --from {stage} (finished stages stay)",
            size / 2
        ),
        _ => "a smaller network or resolution needs less".to_owned(),
    };
    error.context(format!("out of memory on the GPU{room}; {advice}"))
}

/// Images that the stage computes with at once.
fn batch_size(experiment: &Experiment, stage: &str) -> Option<u32> {
    match stage {
        "squeeze" => experiment.squeeze.as_ref().map(|c| c.batch_size),
        "recover" => experiment.recover.as_ref().map(|c| c.batch_size),
        "relabel" => experiment.relabel.as_ref().map(|c| c.batch_size),
        "validate" => experiment.validate.as_ref().map(|c| c.batch_size),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experiment() -> Experiment {
        let text = include_str!("../../../experiments/quickstart.toml");
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_knob_is_named_for_a_full_gpu_alone() {
        let experiment = experiment();
        let size = experiment.recover.as_ref().unwrap().batch_size;
        let full = Error::msg("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
        let text = format!("{:#}", explained(full, &experiment, "recover"));
        let expected = [
            format!("recover.batch_size = {size}"),
            format!("--set recover.batch_size={} --from recover", size / 2),
            "CUDA_ERROR_OUT_OF_MEMORY".to_owned(),
        ];
        assert!(expected.iter().all(|part| text.contains(part)), "{text}");
        let other = explained(Error::msg("disk full"), &experiment, "recover");
        assert_eq!(other.to_string(), "disk full");
    }
}
