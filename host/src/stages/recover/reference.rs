//! A pass of real images through a teacher, from which regularizers learn what to compare with. It stands beside the teacher, and is
//! made once for the same images and regularizers.

use anyhow::{Context, Result};
use plugin_api::{
    abi::Kind,
    regularizer::{Regularizer, RegularizerInput},
    view::{View, ViewRule},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    artifact::{Stage, atomic, hash_json, tensors},
    engine::{Tensor, Value},
    stages::{
        Session,
        feeds::{
            Feed as _,
            dataset::{DatasetFeed, whole},
        },
        networks::plugin_error,
        sets::real_order,
        steps::{State, Steps, carry_out, journal::Journal},
        views::render,
    },
};

use super::{
    config::{By, Config, Reference},
    member::{Labelled, Member, Term},
};

/// What to do where the outcome is damaged.
const MEND: &str = "delete it and run the same command again, which makes the pass anew";
/// Whose random numbers the pass takes.
const STREAM: &str = "reference";

/// Shows real images to the regularizers of a teacher that ask for them, or hands them what they learned before.
///
/// # Errors
/// When an image cannot be decoded, an operation or a plugin fails.
pub fn learn(
    session: &Session<'_>,
    config: &Config,
    teacher: &str,
    member: &Member<'_>,
) -> Result<()> {
    if asking(&member.terms).next().is_none() {
        return Ok(());
    }
    let (folder, name) = session
        .folder
        .reference(teacher, &hash(session, config, &member.terms)?);
    let path = folder.statistics();
    if std::fs::exists(&path)? {
        let (tensors, plugin_texts) = tensors::load_sealed(&path, &session.device, MEND)?;
        let state = State {
            tensors,
            plugin_texts,
        };
        return hand_back(&member.terms, &state);
    }
    let (reference, seed) = (&config.reference, session.seed);
    let rule = ViewRule {
        crop: reference.crop,
        flip: reference.flip,
        ..whole(reference.batch_size)
    };
    let mut feed = DatasetFeed::new(&**session.train, rule, seed, STREAM, &session.device);
    let mut views = feed.views(0)?;
    views.sort_by_key(|view| view.crop.image);
    let mut pass = Pass {
        session,
        member,
        name,
        feed,
        views,
        batches: batches(reference, session),
        done: 0,
    };
    carry_out(session, &folder, &mut pass)?;
    let (made, _) = pass.save()?;
    let tensors: Vec<(String, Value)> = made.tensors.into_iter().collect();
    tensors::save_sealed(&path, &tensors, made.plugin_texts)?;
    atomic::remove(&folder.checkpoint())
}

/// Those that learn from real images.
fn asking(terms: &[Term]) -> impl Iterator<Item = &Term> {
    terms
        .iter()
        .filter(|term| term.regularizer.needs().reference)
}

/// Shows a batch to those that learn from real images.
///
/// # Errors
/// When a plugin fails.
pub fn observe(terms: &[Term], input: &RegularizerInput<'_>) -> Result<()> {
    for term in asking(terms) {
        let observed = term.regularizer.observe(input).map_err(plugin_error);
        observed.with_context(|| format!("recover: {}, on real images", term.name))?;
    }
    Ok(())
}

/// Images and their numbers within their classes, batch by batch.
fn batches(reference: &Reference, session: &Session<'_>) -> Vec<Vec<(usize, u32)>> {
    let size = reference.batch_size as usize;
    let classes = (0..session.train.num_classes() as u32).map(|class| {
        let order = real_order(session, STREAM, class);
        let wanted = reference
            .images_per_class
            .map_or(order.len(), |n| n as usize);
        order.into_iter().take(wanted).zip(0..).collect::<Vec<_>>()
    });
    let chunked = |images: Vec<(usize, u32)>| -> Vec<Vec<(usize, u32)>> {
        images.chunks(size).map(<[_]>::to_vec).collect()
    };
    match reference.by {
        By::Class => classes.flat_map(chunked).collect(),
        By::Mixed => {
            let mut all: Vec<(usize, u32)> = classes.flatten().collect();
            // Stable: of one number the classes keep their order.
            all.sort_by_key(|(_, number)| *number);
            chunked(all)
        }
    }
}

/// What the pass is made for: its images, and the regularizers with their plugins' versions.
fn hash(session: &Session<'_>, config: &Config, terms: &[Term]) -> Result<String> {
    let asking = config.regularizers.iter().zip(terms);
    let asking = asking.filter(|(_, term)| term.regularizer.needs().reference);
    let regularizers = asking.map(|(regularizer, _)| {
        let component = regularizer.component();
        let plugin = &session
            .registry
            .find(Kind::REGULARIZER, &component.plugin)?
            .plugin;
        Ok(json!([component, plugin.version]))
    });
    let regularizers: Vec<_> = regularizers.collect::<Result<_>>()?;
    let hash = hash_json(&json!([config.reference, regularizers]));
    Ok(hash[..16].to_owned())
}

fn hand_back(terms: &[Term], state: &State) -> Result<()> {
    for term in asking(terms) {
        state.load_plugin(&term.name, |s| term.regularizer.refer_to(s))?;
    }
    Ok(())
}

/// A pass on its way.
struct Pass<'a> {
    session: &'a Session<'a>,
    member: &'a Member<'a>,
    name: String,
    feed: DatasetFeed<'a>,
    views: Vec<View>,
    batches: Vec<Vec<(usize, u32)>>,
    done: usize,
}

/// How many batches are done.
#[derive(Serialize, Deserialize)]
struct Progressed {
    done: usize,
}

impl Steps for Pass<'_> {
    type At = Progressed;
    type Made = ();
    const COUNTED: &'static str = "batch";
    const UNIT: &'static str = "batches";

    fn name(&self) -> &str {
        &self.name
    }

    fn progress(&self) -> (u64, u64) {
        (self.done as u64, self.batches.len() as u64)
    }

    fn resume(&mut self, state: State, at: Progressed) -> Result<()> {
        hand_back(&self.member.terms, &state)?;
        self.done = at.done;
        Ok(())
    }

    fn has_unsaved(&self) -> bool {
        self.done > 0
    }

    fn save(&self) -> Result<(State, Progressed)> {
        let mut state = State::default();
        for term in asking(&self.member.terms) {
            state.put_plugin(&term.name, term.regularizer.reference())?;
        }
        Ok((state, Progressed { done: self.done }))
    }

    fn prepare(&mut self, _: &mut Journal) -> Result<bool> {
        Ok(self.done < self.batches.len())
    }

    fn step(&mut self) -> Result<()> {
        let session = self.session;
        let batch = &self.batches[self.done];
        let views: Vec<View> = batch.iter().map(|&(i, _)| self.views[i]).collect();
        let images = render(self.feed.images(), &views, &session.inputs, &session.device)?;
        let classes = session.train.labels();
        let labels: Vec<u32> = batch.iter().map(|&(i, _)| classes[i]).collect();
        let numbers: Vec<u32> = batch.iter().map(|&(_, number)| number).collect();
        let total = self.batches.len() as u64;
        let ctx = session.ctx(Stage::Recover)?.at(self.done as u64, total);
        let images = Tensor::constant(images);
        let labelled = Labelled {
            labels: &labels,
            numbers: &numbers,
        };
        self.member
            .show([&images, &images], labelled, &ctx, |input| {
                observe(&self.member.terms, input)
            })
    }

    fn check(&self, (): &()) -> Result<()> {
        Ok(())
    }

    fn count(&mut self, (): (), journal: &mut Journal) -> Result<bool> {
        self.done += 1;
        journal.progress(self.done as u64, "");
        Ok(false)
    }
}
