//! Which real images a distilled set starts from: at random, by what a teacher is sure of (RDED, Sun et al., CVPR 2024), in the middle of
//! that order (DELT, Shen et al., 2024), or by the mean of the features (herding; Welling, ICML 2009; iCaRL, Rebuffi et al., CVPR
//! 2017).

use plugin_api::{prelude::*, selector::ascending};

/// One crop of each of as many images, drawn.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Random {}

impl Selector for Random {
    fn select(&self, x: &SelectorInput<'_>) -> Result<Vec<u32>> {
        let first = firsts(x.images);
        let mut rng = x.ctx.rng("selector random");
        let order = rng.permutation(first.len()).into_iter();
        taken(x, order.map(|i| first[i as usize]).collect())
    }
}

/// The images with the smallest loss of the teacher, `-log p(class)`, ascending; of each image its best crop.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Confident {}

impl Selector for Confident {
    fn select(&self, x: &SelectorInput<'_>) -> Result<Vec<u32>> {
        taken(x, confident(x)?)
    }
}

/// RDED's patches: of each image the crop with the smallest loss of the teacher, then the smallest of those. It is the choice of
/// `confident` under the name of the method, which asks for `crops = 5` and, on large images, `tiles = 2`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Patches {}

impl Selector for Patches {
    fn select(&self, x: &SelectorInput<'_>) -> Result<Vec<u32>> {
        taken(x, confident(x)?)
    }
}

/// The images nearest to the middle in the order of the teacher's probability of the class: number n / 2, rounded up, the next, the one before,
/// the one after the next, and so on; of each image its best crop.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Medium {}

impl Selector for Medium {
    fn select(&self, x: &SelectorInput<'_>) -> Result<Vec<u32>> {
        let mut order = confident(x)?;
        // By rising probability.
        order.reverse();
        let middle = order.len().div_ceil(2) as i64;
        let outwards = (0..2 * order.len() as i64).map(|step| match step % 2 {
            1 => middle + (step + 1) / 2,
            _ => middle - step / 2,
        });
        let within = outwards.filter_map(|at| order.get(usize::try_from(at).ok()?).copied());
        taken(x, within.collect())
    }
}

fn embedding() -> String {
    "embedding".to_owned()
}

/// One by one the crop whose feature, of length 1, brings the mean of those chosen nearest to the mean of all:
/// `argmax_j <h_j, w>`, `w = (k + 1) mu - sum of the k chosen`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Herding {
    /// Feature of the network that is compared
    #[serde(default = "embedding")]
    feature: String,
}

impl Selector for Herding {
    fn select(&self, x: &SelectorInput<'_>) -> Result<Vec<u32>> {
        let feature = x.feature(&self.feature)?.flatten_from(1)?;
        let [count, width] = feature.dims()?;
        let mut rows = feature.to_vec_f64()?;
        for row in rows.chunks_mut(width) {
            let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            row.iter_mut()
                .for_each(|v| *v /= length.max(f64::MIN_POSITIVE));
        }
        let mut mean = vec![0.; width];
        for row in rows.chunks(width) {
            add(&mut mean, row, 1. / count as f64);
        }
        let (mut wanted, mut chosen) = (mean.clone(), Vec::new());
        while chosen.len() < x.count.min(count) {
            let score = |place: u32| -> f64 {
                let row = &rows[place as usize * width..][..width];
                row.iter().zip(&wanted).map(|(a, b)| a * b).sum()
            };
            let left = (0..count as u32).filter(|place| !chosen.contains(place));
            let scored = left.map(|place| (place, score(place)));
            let best = scored.reduce(|best, next| if next.1 > best.1 { next } else { best });
            let Some((place, _)) = best else { break };
            chosen.push(place);
            add(&mut wanted, &mean, 1.);
            add(&mut wanted, &rows[place as usize * width..][..width], -1.);
        }
        taken(x, chosen)
    }

    fn needs(&self) -> Needs {
        Needs {
            features: vec![self.feature.clone()],
            ..Needs::default()
        }
    }
}

fn add(sum: &mut [f64], row: &[f64], factor: f64) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += factor * value;
    }
}

/// The place of the first crop of each image.
fn firsts(images: &[u32]) -> Vec<u32> {
    let starts = (0..images.len()).filter(|&i| i == 0 || images[i] != images[i - 1]);
    starts.map(|i| i as u32).collect()
}

/// The best crop of each image, by rising loss.
fn confident(x: &SelectorInput<'_>) -> Result<Vec<u32>> {
    let losses = x.losses()?;
    let mut best: Vec<u32> = Vec::new();
    for (place, &image) in (0u32..).zip(x.images) {
        match best.last_mut() {
            Some(last) if x.images[*last as usize] == image => {
                if losses[place as usize] < losses[*last as usize] {
                    *last = place;
                }
            }
            _ => best.push(place),
        }
    }
    let own: Vec<f64> = best.iter().map(|&place| losses[place as usize]).collect();
    Ok(ascending(&own)
        .into_iter()
        .map(|i| best[i as usize])
        .collect())
}

/// The first crops of an order, as many as are asked for.
fn taken(x: &SelectorInput<'_>, mut order: Vec<u32>) -> Result<Vec<u32>> {
    ensure!(
        order.len() >= x.count,
        "{} images of class {} are needed, and there are {} to choose from; raise `pool`",
        x.count,
        x.class,
        order.len()
    );
    order.truncate(x.count);
    Ok(order)
}

export_plugin! {
    selector "random": Random = "one crop of each of as many images, drawn",
    selector "confident": Confident = "images with the smallest loss of the teacher",
    selector "medium": Medium = "images in the middle of the teacher's order (DELT)",
    selector "herding": Herding = "images whose mean feature is that of all (iCaRL)",
    selector "patches": Patches = "the teacher's best crops of the best images (RDED)",
}

#[cfg(test)]
mod tests;
