//! `docs/random-vectors.json`: what the counter-based generator gives, and views drawn from it, for programs in other languages
//! (`experiments/pytorch/test_vectors.py`).

use std::{env, fs, path::Path};

use plugin_api::{
    rng::{RNG_VERSION, Rng, StreamId},
    serde_json::{Value as Json, json},
    view::{
        BeforeRule, ColorRule, CropRule, MixRule, RandAugment, View, ViewRule, ViewSource,
        draw_views,
    },
};

/// An entry of each list a line, so that a change shows as the lines that changed.
fn document() -> String {
    let lines = |entries: Vec<Json>| {
        let lines: Vec<String> = entries.iter().map(Json::to_string).collect();
        lines.join(",\n")
    };
    format!(
        "{{\n\"rng_version\": {RNG_VERSION},\n\"streams\": [\n{}\n],\n\"views\": [\n{}\n],\n\"before\": [\n{}\n]\n}}\n",
        lines(streams()),
        lines(views()),
        lines(before())
    )
}

/// Seeds at both ends, and every part of a key and a counter.
fn streams() -> Vec<Json> {
    let id = |class, item, iteration| StreamId {
        class,
        item,
        iteration,
    };
    let keys = [
        (0, "relabel", "order", id(0, 0, 0)),
        (0, "relabel", "view", id(0, 17, 3)),
        (7, "init", "features.0.weight", id(0, 2, 0)),
        (1 << 40, "recover", "init", id(9, 4, 0)),
        (u64::MAX, "squeeze", "mix", id(u32::MAX, 1, 299)),
    ];
    keys.map(|(seed, stage, purpose, id)| {
        stream(seed, stage, purpose, id, || {
            Rng::new(seed, stage, purpose, id)
        })
    })
    .to_vec()
}

/// Each list is drawn from the start of the stream.
fn stream(seed: u64, stage: &str, purpose: &str, id: StreamId, fresh: impl Fn() -> Rng) -> Json {
    fn draw<T>(mut rng: Rng, count: usize, draw: impl Fn(&mut Rng) -> T) -> Vec<T> {
        (0..count).map(|_| draw(&mut rng)).collect()
    }
    // Beyond half of 2^32 every third word is refused.
    let below: Vec<Json> = [1, 5, 32, 1_000_003, 3_000_000_000]
        .map(|n| json!({"n": n, "values": draw(fresh(), 8, |rng| rng.below(n))}))
        .to_vec();
    let beta: Vec<Json> = [[1., 1.], [0.8, 0.8], [0.2, 0.2], [2., 3.]]
        .map(|[a, b]| json!({"a": a, "b": b, "values": draw(fresh(), 6, |rng| rng.beta(a, b))}))
        .to_vec();
    // Long enough that some words are refused.
    let long = fresh().permutation(100_000);
    let weighted = (1u64..).zip(&long).map(|(i, v)| i * u64::from(*v));
    json!({
        "seed": seed, "stage": stage, "purpose": purpose,
        "class": id.class, "item": id.item, "iteration": id.iteration,
        "words": draw(fresh(), 10, Rng::next_u32),
        "uniform": draw(fresh(), 6, Rng::uniform),
        "normal": draw(fresh(), 7, Rng::normal),
        // The second normal of a pair is kept while uniforms are drawn.
        "normal_uniform": draw(fresh(), 4, |rng| [rng.normal(), rng.uniform()]),
        "below": below,
        "permutation": fresh().permutation(20),
        "permutation_100000": {"start": long[..8], "weighted_sum": weighted.sum::<u64>()},
        "beta": beta,
    })
}

const SOURCE: ViewSource = ViewSource {
    images: 11,
    resolution: 24,
    seed: 42,
};

/// Two epochs under each crop and each mix; the last batch of an epoch is a smaller one.
fn views() -> Vec<Json> {
    let crops = [
        CropRule::None,
        CropRule::Padded { padding: 4 },
        CropRule::random_resized(),
        // Wider than high by so much that nearly all draws are refused, as well as the fallback.
        CropRule::RandomResized {
            scale: [0.45, 1.],
            ratio: [2., 3.],
        },
    ];
    let mixes = [
        MixRule::None,
        MixRule::CutMix { alpha: 1. },
        MixRule::CutMix { alpha: 0.4 },
        MixRule::MixUp { alpha: 0.8 },
    ];
    let source = SOURCE;
    let mut cases = Vec::new();
    for crop in crops {
        for mix in mixes {
            let views = ViewRule {
                crop,
                flip: 0.5,
                mix,
                batch_size: 4,
                color_jitter: ColorRule::NONE,
                before: BeforeRule::NONE,
            };
            for epoch in [0, 301] {
                let drawn = draw_views(&views, &source, "relabel", epoch);
                cases.push(case(&views, &source, epoch, &drawn));
            }
        }
    }
    cases
}

fn case(views: &ViewRule, source: &ViewSource, epoch: u32, drawn: &[View]) -> Json {
    let rows: Vec<_> = drawn.iter().map(View::to_row).collect();
    json!({
        "set": set(views, source),
        "epoch": epoch,
        "rows": rows,
    })
}

/// What changes images before their crops (`View::to_before_rows`), under each of its keys and both.
fn before() -> Vec<Json> {
    let rand_augment = |ops, magnitude| Some(RandAugment { ops, magnitude });
    let rules = [(None, 2), (rand_augment(2, 9), 1), (rand_augment(4, 30), 4)];
    let case = |(rand_augment, tiles)| {
        let views = ViewRule {
            crop: CropRule::None,
            flip: 0.,
            mix: MixRule::CutMix { alpha: 1. },
            batch_size: 4,
            color_jitter: ColorRule::NONE,
            before: BeforeRule {
                rand_augment,
                tiles,
            },
        };
        let drawn = draw_views(&views, &SOURCE, "relabel", 7);
        let rows = View::to_before_rows(&drawn).expect("a change of each image");
        let rows: Vec<&[i64]> = rows.chunks(rows.len() / drawn.len()).collect();
        json!({"set": set(&views, &SOURCE), "epoch": 7, "rows": rows})
    };
    rules.map(case).to_vec()
}

fn set(views: &ViewRule, source: &ViewSource) -> Json {
    json!({"images": source.images, "resolution": source.resolution, "seed": source.seed, "views": views})
}

/// Written anew when `ALAMBIC_UPDATE_DOCS` is set.
#[test]
fn the_vectors_in_the_documents_are_the_generators() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/random-vectors.json");
    let drawn = document();
    if env::var_os("ALAMBIC_UPDATE_DOCS").is_some() {
        fs::write(&path, &drawn).unwrap();
    }
    let documented = fs::read_to_string(&path).unwrap();
    let first = documented.lines().zip(drawn.lines()).find(|(a, b)| a != b);
    assert!(
        documented == drawn,
        "docs/random-vectors.json differs, first {first:?}; where the numbers are meant to change, raise RNG_VERSION, set \
         ALAMBIC_UPDATE_DOCS=1 and run this test again"
    );
}
