//! Splits: the digits, chosen classes, images that cannot be decoded.

use super::super::classes::ClassRef;
use super::super::fixtures::{ParquetFixture, config, png, write_folder};
use super::super::formats::Format;
use super::super::item::Within;
use super::super::normalization::Normalization;
use super::*;

fn digits(resolution: u32) -> (Config, &'static Path) {
    let mut config = config(Format::Parquet, "train-*.parquet", "test-*.parquet");
    config.resolution = resolution;
    (
        config,
        Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../experiments/data/digits"
        )),
    )
}

#[test]
fn digits_are_all_there() {
    let (config, base) = digits(16);
    let (train, test) = Dataset::open_both(&config, base).unwrap();
    assert_eq!((train.len(), test.len()), (1437, 360));
    let names: Vec<String> = (0..10).map(|d| d.to_string()).collect();
    assert_eq!(train.class_names(), names);
    assert_eq!(train.decode(0).unwrap().len(), 3 * 16 * 16);
    for class in 0..10 {
        let indices = train.indices_of_class(class);
        assert!(indices.len() > 100 && indices.iter().all(|i| train.labels()[*i] == class));
    }
    assert!(test.encoded_bytes(5) > 50);
}

#[test]
fn statistics_are_those_of_the_pixels() {
    let (config, base) = digits(8);
    let train = Dataset::open(&config, Split::Train, base).unwrap();
    let (mean, std) = train.channel_statistics().unwrap();
    let all: Vec<usize> = (0..train.len()).collect();
    let pixels = train.batch(&all).unwrap();
    let values: Vec<f64> = pixels.iter().map(|p| f64::from(*p) / 255.).collect();
    let n = values.len() as f64;
    let expected_mean = values.iter().sum::<f64>() / n;
    let variance = values
        .iter()
        .map(|v| (v - expected_mean).powi(2))
        .sum::<f64>()
        / n;
    assert!((mean[0] - expected_mean).abs() < 1e-12 && (std[0] - variance.sqrt()).abs() < 1e-12);
    assert_eq!((mean[1], std[2]), (mean[0], std[0]), "grey images");
    let normalization = Normalization::resolve(&config, &train).unwrap();
    assert_eq!(normalization.mean[0], mean[0] as f32);
}

#[test]
fn batches_are_the_same_for_any_threads_and_cache() {
    let (mut config, base) = digits(16);
    let indices = [7, 3, 1400, 3, 0];
    let one = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let kept = Dataset::open(&config, Split::Train, base).unwrap();
    config.cache_bytes = 0;
    let not_kept = Dataset::open(&config, Split::Train, base).unwrap();
    let batch = kept.batch(&indices).unwrap();
    assert_eq!(batch, one.install(|| not_kept.batch(&indices)).unwrap());
    let third = &batch[2 * 768..3 * 768];
    assert_eq!(third, &kept.decode(1400).unwrap()[..]);
    assert_eq!(
        kept.channel_statistics(),
        one.install(|| not_kept.channel_statistics())
    );
}

#[test]
fn chosen_classes_come_in_their_order() {
    let (mut config, base) = digits(8);
    let all = Dataset::open(&config, Split::Test, base).unwrap();
    config.classes = Some(vec![ClassRef::Name("7".into()), ClassRef::Index(2)]);
    let some = Dataset::open(&config, Split::Test, base).unwrap();
    assert_eq!(some.class_names(), ["7", "2"]);
    assert_eq!(
        some.len(),
        all.indices_of_class(7).len() + all.indices_of_class(2).len()
    );
    let seven = some.decode(some.indices_of_class(0)[3]).unwrap();
    assert_eq!(seven, all.decode(all.indices_of_class(7)[3]).unwrap());
}

#[test]
fn classes_taken_out_are_numbered_anew_and_keep_the_order_of_the_files() {
    let (config, base) = digits(8);
    let all = Dataset::open(&config, Split::Test, base).unwrap();
    let some = all.of_classes(&[7, 2]);
    assert_eq!(some.class_names(), ["7", "2"]);
    let kept: Vec<usize> = (0..all.len())
        .filter(|i| [7, 2].contains(&all.labels()[*i]))
        .collect();
    assert_eq!(some.len(), kept.len());
    for (i, place) in kept.into_iter().enumerate() {
        let label = [7, 2][some.labels()[i] as usize];
        assert_eq!(
            (label, some.decode(i)),
            (all.labels()[place], all.decode(place))
        );
    }
    let own: usize = (0..2).map(|class| some.indices_of_class(class).len()).sum();
    assert_eq!(own, some.len());
}

#[test]
fn an_image_folder_decodes_to_its_colours() {
    let dir = tempfile::tempdir().unwrap();
    let images = [
        ("red", "0.png", png(9, 5, [255, 0, 0])),
        ("blue", "0.png", png(3, 3, [0, 0, 255])),
    ];
    write_folder(&dir.path().join("train"), &images);
    write_folder(&dir.path().join("test"), &images[..1]);
    let config = config(Format::ImageFolder, "train", "test");
    let (train, test) = Dataset::open_both(&config, dir.path()).unwrap();
    assert_eq!(train.class_names(), ["blue", "red"]);
    let blue_then_red = [vec![0; 32], vec![255; 32], vec![0; 32]].concat();
    assert_eq!(train.batch(&[0, 1]).unwrap(), blue_then_red);
    assert_eq!(
        test.labels(),
        [1],
        "a test split without one class keeps the labels of the training split"
    );
}

#[test]
fn an_image_broken_past_its_header_is_named_when_decoded() {
    let dir = tempfile::tempdir().unwrap();
    let mut broken = png(16, 16, [1, 2, 3]);
    broken.truncate(50);
    let rows = [(png(4, 4, [0; 3]), 0), (broken, 1)];
    ParquetFixture::new(&rows).write(&dir.path().join("a.parquet"));
    let config = config(Format::Parquet, "a.parquet", "a.parquet");
    let train = Dataset::open(&config, Split::Train, dir.path()).unwrap();
    let error = train.batch(&[0, 1, 0]).unwrap_err();
    assert_eq!(error.place.within, Within::Row(1));
    assert!(
        error
            .to_string()
            .contains("a.parquet row 1: cannot decode the image"),
        "{error}"
    );
    assert_eq!(train.channel_statistics().unwrap_err(), error);
}
