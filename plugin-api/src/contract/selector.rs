//! Selectors: as many different crops as were asked for, the same at every call, with nothing but what they say they need.

use super::random_like;
use crate::{
    Context as _, Ctx, Result, Tensor, ensure,
    selector::{Selector, SelectorInput},
};

/// Images to choose from, crops of each, and classes.
const IMAGES: usize = 7;
const CROPS: usize = 3;
const CLASSES: usize = 4;

/// Checks a selector on the tensors of a host: of 21 made-up crops of 7 images it chooses 1 and 5 different ones, the same at every
/// call, given nothing but what [`Selector::needs`] asks for.
///
/// # Errors
/// What breaks the contract.
pub fn verify_selector(selector: &dyn Selector, device: &Tensor) -> Result<()> {
    let all = IMAGES * CROPS;
    let images: Vec<u32> = (0..all).map(|i| (i / CROPS) as u32).collect();
    let features = selector.needs().features.into_iter().zip(10..);
    let features = features.map(|(name, seed)| Ok((name, random_like(device, &[all, 6], seed)?)));
    let features: Vec<_> = features.collect::<Result<_>>()?;
    let logits = random_like(device, &[all, CLASSES], 1)?;
    for (class, count) in [(2, 1), (0, 5)] {
        let ctx = Ctx::new("recover", 0, device).for_batch(class.into());
        let input = SelectorInput {
            class,
            count,
            logits: &logits,
            features: &features,
            images: &images,
            ctx: &ctx,
        };
        let what = || format!("{count} of {all} crops");
        let chosen = selector.select(&input).with_context(what)?;
        let mut different = chosen.clone();
        different.sort_unstable();
        different.dedup();
        let fits = different.len() == count && different.iter().all(|&i| (i as usize) < all);
        ensure!(
            fits && chosen.len() == count,
            "of {all} crops it chose {chosen:?}, expected {count} different ones"
        );
        let again = selector.select(&input).with_context(what)?;
        ensure!(
            chosen == again,
            "a second call chose {again:?}, not {chosen:?}"
        );
    }
    Ok(())
}
