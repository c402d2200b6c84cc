use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Mutex,
        mpsc::{Sender, channel},
    },
    time::Duration,
};

use plugin_api::view::{Before, Crop, Mix, Tiles};

use super::*;
use crate::{
    artifact::ImageSet,
    data::{DecodeError, Normalization, Place, Within},
    engine::gpu::emulated,
    stages::views::Pixels,
};

const SIDE: usize = 6;
const COUNT: usize = 10;
const BATCH: usize = 4;

/// What an image does when it is asked for.
enum Fate {
    Whole,
    Broken(usize),
    Panicking(usize),
}

/// Images that never lie on a GPU, and tell whenever one is asked for.
struct OnDisk {
    set: ImageSet,
    fate: Fate,
    asked: Mutex<Option<Sender<usize>>>,
}

impl OnDisk {
    fn new(fate: Fate) -> Self {
        let pixels = (0..COUNT * 3 * SIDE * SIDE).map(|i| (i * 31 % 253) as u8);
        let names = vec!["one".to_owned()];
        Self {
            set: ImageSet::new(SIDE, pixels.collect(), vec![0; COUNT], names),
            fate,
            asked: Mutex::new(None),
        }
    }
}

impl Images for OnDisk {
    fn count(&self) -> usize {
        COUNT
    }

    fn resolution(&self) -> usize {
        SIDE
    }

    fn labels(&self) -> &[u32] {
        &self.set.labels
    }

    fn pixels(&self, index: usize) -> Result<Pixels<'_>> {
        if let Some(asked) = &*self.asked.lock().unwrap() {
            asked.send(index)?;
        }
        match self.fate {
            Fate::Broken(at) if at == index => Err(DecodeError {
                place: Place {
                    file: Path::new("some.parquet").into(),
                    within: Within::Row(index),
                },
                message: "it is cut off".to_owned(),
            }
            .into()),
            Fate::Panicking(at) if at == index => panic!("image {index}"),
            _ => self.set.pixels(index),
        }
    }
}

fn views() -> Vec<View> {
    let crop = |i: usize| Crop {
        height: 4,
        flip: i.is_multiple_of(2),
        ..Crop::whole(i as u32, SIDE as u32)
    };
    (0..COUNT).map(|i| View::new(crop(i), Mix::None)).collect()
}

fn inputs() -> Inputs {
    Inputs::from(Normalization {
        mean: [0.4, 0.5, 0.6],
        std: [0.2, 0.3, 0.25],
    })
}

fn rows(from: usize) -> Range<usize> {
    from.min(COUNT)..COUNT.min(from + BATCH)
}

/// All batches one after the other; `work` is told how many were made before.
fn all(images: &dyn Images, work: &dyn Fn(usize) -> Result<()>) -> Result<Vec<f32>> {
    let (views, inputs) = (views(), inputs());
    let mut batches = Batches::new(&views, &inputs, &Device::Cpu);
    let mut seen = Vec::new();
    for from in (0..COUNT).step_by(BATCH) {
        let made = batches.take(images, rows(from))?;
        seen.extend(made.flatten_all()?.to_vec1::<f32>()?);
        batches.beside(images, rows(from + BATCH), || work(from / BATCH))?;
    }
    Ok(seen)
}

fn plain(images: &dyn Images) -> Vec<u32> {
    let made = render(images, &views(), &inputs(), &Device::Cpu).unwrap();
    bits(&made.flatten_all().unwrap().to_vec1::<f32>().unwrap())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn the_next_batch_is_made_during_the_work_and_is_the_same() {
    let images = OnDisk::new(Fate::Whole);
    let (sender, asked) = channel();
    let expected = plain(&images);
    *images.asked.lock().unwrap() = Some(sender);
    let of_batch = |batch: usize| {
        let mut found: Vec<usize> = rows(batch * BATCH)
            .map(|_| asked.recv_timeout(Duration::from_secs(100)).unwrap())
            .collect();
        found.sort_unstable();
        assert_eq!(found, rows(batch * BATCH).collect::<Vec<_>>());
    };
    let got = emulated(|| {
        all(&images, &|batch| {
            if batch == 0 {
                of_batch(0);
            }
            // These are asked for while this work is not done.
            of_batch(batch + 1);
            Ok(())
        })
    });
    assert_eq!(bits(&got.unwrap()), expected);
}

#[test]
fn without_a_gpu_and_with_images_on_it_nothing_is_made_ahead() {
    let (plain, inputs) = (views(), inputs());
    let made = |images: &dyn Images, views: &[View]| {
        let mut batches = Batches::new(views, &inputs, &Device::Cpu);
        batches.beside(images, rows(BATCH), || Ok(())).unwrap();
        batches.ahead.is_some()
    };
    let made_ahead = |images: &dyn Images| made(images, &plain);
    let images = OnDisk::new(Fate::Whole);
    assert!(!made_ahead(&images));
    assert!(emulated(|| made_ahead(&images)));
    assert!(!emulated(|| made_ahead(&images.set)));
    // A change before the crop is not for the GPU, whatever lies there.
    let mut changed = plain.clone();
    changed[BATCH].before = Some(Before {
        tiles: Some(Tiles {
            count: 2,
            columns: [1, 0, 0, 0],
            rows: [0, 1, 0, 0],
        }),
        ..Before::default()
    });
    assert!(emulated(|| made(&images.set, &changed)));
}

#[test]
fn the_only_thread_of_a_pool_waits_for_nobody() {
    let images = OnDisk::new(Fate::Whole);
    let (sender, done) = channel();
    std::thread::spawn(move || {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.unwrap();
        let got = pool.install(|| emulated(|| all(&images, &|_| Ok(()))));
        sender.send((got.unwrap(), plain(&images))).unwrap();
    });
    let (got, expected) = done.recv_timeout(Duration::from_secs(100)).unwrap();
    assert_eq!(bits(&got), expected);
}

#[test]
fn other_rows_than_those_made_ahead_are_made_anew() {
    let images = OnDisk::new(Fate::Whole);
    let (views, inputs) = (views(), inputs());
    let got = emulated(|| {
        let mut batches = Batches::new(&views, &inputs, &Device::Cpu);
        batches.beside(&images, rows(BATCH), || Ok(()))?;
        batches.take(&images, 0..COUNT)
    });
    let got = got.unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(bits(&got), plain(&images));
}

#[test]
fn a_broken_image_is_told_with_its_place_once_its_batch_is_asked_for() {
    let images = OnDisk::new(Fate::Broken(5));
    let done = Mutex::new(0);
    let error = emulated(|| {
        all(&images, &|_| {
            *done.lock().unwrap() += 1;
            Ok(())
        })
    });
    let error = error.unwrap_err();
    let broken = error.downcast_ref::<DecodeError>().expect("in the chain");
    assert_eq!(broken.place.within, Within::Row(5));
    assert_eq!(*done.lock().unwrap(), 1, "the batch before it was used");
}

#[test]
fn failing_work_and_panics_end_with_the_helper() {
    let images = OnDisk::new(Fate::Whole);
    let failed = emulated(|| all(&images, &|batch| anyhow::bail!("batch {batch}")));
    assert_eq!(failed.unwrap_err().to_string(), "batch 0");
    let panicked = |images: OnDisk, work: &dyn Fn(usize) -> Result<()>| {
        let caught = catch_unwind(AssertUnwindSafe(|| emulated(|| all(&images, work))));
        let payload = caught.unwrap_err();
        payload.downcast_ref::<String>().cloned()
    };
    let of_helper = panicked(OnDisk::new(Fate::Panicking(6)), &|_| Ok(()));
    assert_eq!(of_helper.as_deref(), Some("image 6"));
    let of_work = panicked(OnDisk::new(Fate::Whole), &|batch| panic!("work {batch}"));
    assert_eq!(of_work.as_deref(), Some("work 0"));
}
