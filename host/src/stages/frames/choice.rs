//! Which states of which images are kept: dense early, when most changes, and bounded in memory.

use std::path::Path;

use anyhow::Result;

use crate::{
    artifact::{Frames, Stage},
    data::Fault,
    report::units::human_bytes,
    stages::sets::Origin,
};

/// The most states: a tenth of a second each, they play for six seconds.
pub(crate) const FRAMES: u32 = 64;
/// The most images: two for each of ten classes.
const IMAGES: usize = 20;
/// The most bytes of all states: they are held in memory, and in checkpoints.
const BYTES: u64 = 32 << 20;

/// Whether no states are kept.
#[allow(clippy::trivially_copy_pass_by_ref)] // what serde calls
pub(crate) fn is_off(frames: &u32) -> bool {
    *frames == 0
}

/// The iterations behind each state, from 0 to `last`, in a geometric sequence as far as they are whole numbers; `last` alone where no
/// states are kept. There are fewer than `frames` where there are fewer iterations.
pub fn iterations(frames: u32, last: u64) -> Vec<u64> {
    let count = u64::from(frames).min(last + 1);
    if count < 2 {
        return vec![last];
    }
    let mut all = vec![0];
    for k in 1..count {
        let ideal = (last as f64).powf(k as f64 / (count - 1) as f64).round() as u64;
        let (lowest, highest) = (all[all.len() - 1] + 1, last - (count - 1 - k));
        all.push(ideal.clamp(lowest, highest));
    }
    all
}

/// Bytes of so many states of an image.
fn image_bytes(states: usize, side: usize) -> u64 {
    (states * 3 * side * side) as u64
}

/// Images whose states are kept, by their places in the set: of the first 20 classes the first image, of fewer classes more of each, so
/// that there are up to 20; fewer where they would take more than 32 MiB.
pub fn shown(origin: &Origin, classes: usize, states: usize, side: usize) -> Vec<usize> {
    let fitting = (BYTES / image_bytes(states, side).max(1)) as usize;
    let count = fitting.clamp(1, IMAGES);
    let of_classes = classes.clamp(1, count);
    let each = count / of_classes;
    let labels = origin.labels(classes).into_iter().enumerate();
    let kept = labels.filter(|(image, class)| {
        (*class as usize) < of_classes && origin.number(*image, classes) < each
    });
    kept.map(|(image, _)| image).collect()
}

/// Bytes of the states that are kept.
pub fn bytes(frames: u32, last: u64, origin: &Origin, classes: usize, side: usize) -> u64 {
    if frames == 0 {
        return 0;
    }
    let states = iterations(frames, last).len();
    image_bytes(states, side) * shown(origin, classes, states, side).len() as u64
}

/// What is wrong with a number of states.
pub fn fault(stage: Stage, frames: u32, last: u64) -> Option<Fault> {
    let message = match (frames, last) {
        (0, _) => return None,
        (_, 0) => format!("got {frames}, expected 0 where there are no iterations"),
        (1, _) => "got 1, expected 0 for none, or at least 2: the first state and the last".into(),
        _ => return None,
    };
    Some(Fault::new(format!("{stage}.frames"), message))
}

/// What to say where the states of a single image of so many pixels a side are too many.
pub fn size_fault(stage: Stage, frames: u32, last: u64, side: usize) -> Option<Fault> {
    let states = iterations(frames, last).len();
    let (needed, fitting) = (
        image_bytes(states, side),
        BYTES / image_bytes(1, side).max(1),
    );
    (frames > 0 && needed > BYTES).then(|| {
        let message = format!(
            "{states} states of an image of {side} px take {}, expected at most {}; lower it to {fitting}",
            human_bytes(needed),
            human_bytes(BYTES)
        );
        Fault::new(format!("{stage}.frames"), message)
    })
}

/// What to say of a finished stage whose file at `path` has not the states that are asked for now: they change no result, so it stays.
///
/// # Errors
/// When the file is damaged.
pub fn unkept(stage: Stage, path: &Path, frames: u32, last: u64) -> Result<Option<String>> {
    if frames == 0 {
        return Ok(None);
    }
    let kept = Frames::load(path)?.map_or_else(Vec::new, |frames| frames.iterations());
    let wanted = iterations(frames, last);
    Ok((kept != wanted).then(|| {
        format!(
            "{stage}.frames asks for {} states, and the finished stage has kept {}: --from {stage} takes them",
            wanted.len(),
            kept.len()
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        artifact::ImageFormat,
        data::Rounding,
        stages::sets::{Init, Order},
    };

    fn origin(images_per_class: u32, order: Order) -> Origin {
        Origin {
            stage: Stage::Recover,
            images_per_class,
            order,
            init: Init::default(),
            format: ImageFormat::Png,
            quantization: Rounding::default(),
        }
    }

    #[test]
    fn iterations_are_dense_early_and_never_twice() {
        let all = iterations(12, 1000);
        assert_eq!(all, [0, 2, 4, 7, 12, 23, 43, 81, 152, 285, 534, 1000]);
        assert_eq!(iterations(64, 10), (0..=10).collect::<Vec<_>>());
        assert_eq!(iterations(2, 4000), [0, 4000]);
        assert_eq!([iterations(0, 7), iterations(1, 7)], [[7], [7]]);
        for (frames, last) in [(64, 63), (64, 64), (64, 80), (24, 1_000_000_000)] {
            let all = iterations(frames, last);
            assert_eq!((all.len(), all[all.len() - 1]), (frames as usize, last));
            assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
        }
    }

    #[test]
    fn at_most_twenty_images_of_the_first_classes() {
        let places = |images, classes, order| shown(&origin(images, order), classes, 24, 16);
        assert_eq!(places(2, 10, Order::Across), (0..20).collect::<Vec<_>>());
        // Image 1 of every class stands after image 0 of all.
        assert_eq!(places(50, 9, Order::Across), (0..18).collect::<Vec<_>>());
        let by_class: Vec<usize> = (0..9).flat_map(|c| [50 * c, 50 * c + 1]).collect();
        assert_eq!(places(50, 9, Order::Class), by_class);
        assert_eq!(places(1, 1000, Order::Across), (0..20).collect::<Vec<_>>());
        assert_eq!(places(3, 2, Order::Across).len(), 6, "as many as there are");
    }

    #[test]
    fn large_images_are_fewer_and_never_more_than_the_limit() {
        let set = origin(10, Order::Across);
        for side in [16, 224, 512] {
            assert!(bytes(24, 4000, &set, 1000, side) <= BYTES, "{side}");
        }
        assert_eq!(shown(&set, 1000, 24, 224).len(), 9);
        assert_eq!(bytes(0, 4000, &set, 1000, 224), 0);
        assert_eq!(size_fault(Stage::Recover, 24, 4000, 512), None);
        let told = size_fault(Stage::Recover, 64, 4000, 512).unwrap();
        assert_eq!(
            told.message,
            "64 states of an image of 512 px take 48.0 MiB, expected at most 32.0 MiB; lower it to 42"
        );
    }
}
