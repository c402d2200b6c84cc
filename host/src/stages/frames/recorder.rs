//! Takes the states of a few images while a stage works on them. What it has taken goes through checkpoints with the images, so that a
//! killed run ends with the same states.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context, Result, ensure};
use candle_core::Device;

use crate::{
    artifact::{
        Frames, ImageSet, atomic,
        frames::{Shown, State as Frame},
    },
    engine::Value,
    stages::{Session, sets::Origin, steps::State},
};

use super::choice;

/// What the names of states in a checkpoint begin with.
const PREFIX: &str = "frame.";

/// States of a batch by their numbers among all states, each [images of the batch that are kept, 3, R, R] bytes.
pub(crate) type Taken = BTreeMap<usize, Value>;

/// Takes states as they come.
pub(crate) struct Recorder<'a> {
    session: &'a Session<'a>,
    origin: Origin,
    frames: u32,
    iterations: Vec<u64>,
    /// Places in the set, ascending.
    shown: Vec<usize>,
    taken: Taken,
}

impl<'a> Recorder<'a> {
    /// For `frames` states on the way to iteration `last`.
    pub fn new(session: &'a Session<'a>, origin: Origin, frames: u32, last: u64) -> Self {
        let iterations = choice::iterations(frames, last);
        let (classes, side) = (session.train.num_classes(), session.train.resolution());
        Self {
            shown: choice::shown(&origin, classes, iterations.len(), side),
            session,
            origin,
            frames,
            iterations,
            taken: Taken::new(),
        }
    }

    /// Goes on as a run began, whatever is asked for now: states of some iterations alone would be no sequence.
    pub fn go_on_with(&mut self, frames: u32) {
        if frames == self.frames {
            return;
        }
        let (stage, asked) = (self.origin.stage, self.frames);
        tell!(
            "{stage}: began with frames = {frames} and goes on so; frames = {asked} takes --from {stage}"
        );
        let last = *self.iterations.last().unwrap_or(&0);
        *self = Self::new(self.session, self.origin.clone(), frames, last);
    }

    /// Sees the images of a batch, [N, 3, R, R], of which the first has the place `first` in the set, after so many iterations; takes their
    /// state where it is asked for and not taken yet. The last state is that of the finished set.
    ///
    /// # Errors
    /// When the images cannot be read.
    pub fn see(&mut self, iteration: u64, first: usize, images: &Value) -> Result<()> {
        let before_last = &self.iterations[..self.iterations.len() - 1];
        let Ok(number) = before_last.binary_search(&iteration) else {
            return Ok(());
        };
        let rows = self.rows(first..first + images.dims()[0]);
        if rows.is_empty() || self.taken.contains_key(&number) {
            return Ok(());
        }
        let (count, side) = (rows.len(), images.dims()[3]);
        let rows = Value::from_vec(rows, count, images.device())?;
        let few = images.index_select(&rows, 0)?;
        let pixels = self.origin.to_bytes(self.session, &few)?;
        let state = Value::from_vec(pixels, (count, 3, side, side), &Device::Cpu)?;
        self.taken.insert(number, state);
        Ok(())
    }

    /// The kept images among those of a batch, by their rows in it.
    fn rows(&self, batch: Range<usize>) -> Vec<u32> {
        let own = self.shown.iter().filter(|place| batch.contains(place));
        own.map(|place| (place - batch.start) as u32).collect()
    }

    /// What was taken of the batch under way, with names for a file.
    pub fn named(&self) -> Vec<(String, Value)> {
        let taken = self.taken.iter();
        taken
            .map(|(number, value)| (format!("{PREFIX}{number:05}"), value.clone()))
            .collect()
    }

    /// Takes back what [`Recorder::named`] put into a checkpoint.
    ///
    /// # Errors
    /// When it is something else.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        self.taken = of_names(state.under(PREFIX))?;
        Ok(())
    }

    /// Forgets the batch under way.
    pub fn forget(&mut self) {
        self.taken.clear();
    }

    /// The states of the finished set: those taken of each batch, in the order of the batches, and what became of the images.
    ///
    /// # Errors
    /// When a state is missing.
    pub fn frames_of(&self, batches: &[Taken], set: &ImageSet) -> Result<Frames> {
        let (last, before) = self.iterations.split_last().context("no state at all")?;
        let before = before.iter().enumerate().map(|(number, &iteration)| {
            let parts = batches.iter().filter_map(|taken| taken.get(&number));
            let parts: Vec<&Value> = parts.collect();
            let images: usize = parts.iter().map(|part| part.dims()[0]).sum();
            ensure!(
                images == self.shown.len(),
                "{}: the state after {iteration} iterations has {images} images, expected {}",
                self.origin.stage,
                self.shown.len()
            );
            let state = Value::cat(&parts, 0)?;
            Ok(Frame {
                iteration,
                resolution: state.dims()[3],
                pixels_nchw: state.flatten_all()?.to_vec1()?,
            })
        });
        let mut states = before.collect::<Result<Vec<_>>>()?;
        states.push(Frame {
            iteration: *last,
            resolution: set.resolution,
            pixels_nchw: self
                .shown
                .iter()
                .map(|&i| set.image(i))
                .collect::<Vec<_>>()
                .concat(),
        });
        let classes = set.class_names.len();
        let images = self.shown.iter().map(|&place| Shown {
            class: set.labels[place],
            class_name: set.class_names[set.labels[place] as usize].clone(),
            number: self.origin.number(place, classes) as u32,
        });
        Ok(Frames {
            images: images.collect(),
            states,
        })
    }

    /// Stores the states where they were asked for, and shows the images to TensorBoard in any case.
    ///
    /// # Errors
    /// When a state is missing or the disk says no.
    pub fn store(&self, batches: &[Taken], set: &ImageSet) -> Result<()> {
        let stage = self.origin.stage;
        let frames = self.frames_of(batches, set)?;
        let path = self.session.folder.stage(stage).frames();
        match self.frames {
            // Of an attempt with other settings.
            0 => atomic::remove(&path)?,
            _ => frames.save(&path)?,
        }
        super::tell_pictures(self.session.folder, stage, &frames)
    }

    /// The states taken so far, of a stage whose images are one batch.
    pub fn taken(&self) -> &Taken {
        &self.taken
    }
}

/// The states among the tensors of a batch's file.
///
/// # Errors
/// When a name is none of them.
pub(crate) fn taken_of(tensors: BTreeMap<String, Value>) -> Result<Taken> {
    let own = tensors.into_iter();
    let own = own.filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value)));
    of_names(own.collect())
}

fn of_names(named: Vec<(String, Value)>) -> Result<Taken> {
    let taken = named.into_iter().map(|(name, value)| {
        let number = name
            .parse()
            .with_context(|| format!("a state called {name}"))?;
        Ok((number, value.to_device(&Device::Cpu)?))
    });
    taken.collect()
}
