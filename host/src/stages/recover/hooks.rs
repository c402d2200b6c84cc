//! What happens to the images of a batch between two iterations: another resolution, and the hooks of plugins.

use anyhow::{Context, Result, ensure};
use plugin_api::canvas::{CanvasHook, CanvasInput, Changes, ForeignCanvasHook};

use crate::{
    artifact::Stage,
    engine::{
        Tensor, Value,
        ops::{CropBox, crop_resize},
    },
    plugins::ops::{export, import},
    stages::{Session, networks::plugin_error, steps::State},
};

use super::{config::Config, member::Labelled};

/// The hooks of an experiment.
pub(super) struct Hooks {
    all: Vec<(u64, String, ForeignCanvasHook)>,
}

/// What the hooks have left of a batch for the next iterations.
#[derive(Clone, Default)]
pub struct Shown {
    /// Factor on the gradient.
    pub mask: Option<Value>,
    /// Places of the images that the network sees; all where it is absent.
    pub active: Option<Vec<u32>>,
}

/// A moment of a batch.
pub(super) struct Moment<'a> {
    /// The batch.
    pub batch: u64,
    /// The iteration that comes next.
    pub iteration: u64,
    /// Its images.
    pub images: Labelled<'a>,
}

impl Hooks {
    pub fn new(session: &Session<'_>, config: &Config) -> Result<Self> {
        let all = config.hooks.iter().enumerate().map(|(i, hook)| {
            let component = hook.component();
            let made = session
                .registry
                .create_canvas_hook(&hook.plugin, &component.params())?;
            Ok((hook.every, format!("hook-{}-{}", i + 1, hook.plugin), made))
        });
        Ok(Self {
            all: all.collect::<Result<_>>()?,
        })
    }

    /// Whether any hook is called before an iteration.
    pub fn are_due(&self, iteration: u64) -> bool {
        self.all
            .iter()
            .any(|(every, ..)| iteration.is_multiple_of(*every))
    }

    /// Calls those that are due. Gives whether the optimizer shall begin anew.
    pub fn call(
        &self,
        session: &Session<'_>,
        config: &Config,
        moment: &Moment<'_>,
        [canvas, start]: [&mut Value; 2],
        shown: &mut Shown,
    ) -> Result<bool> {
        let ctx = session.ctx(Stage::Recover)?;
        let ctx = ctx
            .at(moment.iteration, config.iterations)
            .for_batch(moment.batch);
        let start = export(Tensor::constant(start.clone()));
        let mut begin_anew = false;
        for (_, name, hook) in self.due(moment.iteration) {
            let under_way = export(Tensor::constant(canvas.clone()));
            let changed = hook.change(&CanvasInput {
                canvas: &under_way,
                start: &start,
                labels: moment.images.labels,
                images: moment.images.numbers,
                images_per_class: config.images_per_class as usize,
                ctx: &ctx,
            });
            let Changes {
                canvas: new,
                mask,
                active,
                reset,
            } = changed
                .map_err(plugin_error)
                .with_context(|| format!("recover: {name}"))?;
            let value = |tensor: &plugin_api::Tensor| -> Result<Value> {
                Ok(import(tensor).map_err(plugin_error)?.value().clone())
            };
            if let Some(new) = new {
                let new = value(&new)?;
                let (got, expected) = (new.dims(), canvas.dims());
                ensure!(
                    got == expected,
                    "recover: {name} gave images {got:?}, expected {expected:?}"
                );
                *canvas = new;
            }
            if let Some(mask) = mask {
                shown.mask = Some(value(&mask)?);
            }
            if let Some(active) = active {
                let count = canvas.dims()[0];
                let within = active.iter().all(|&place| (place as usize) < count);
                ensure!(
                    within && !active.is_empty() && active.is_sorted_by(|a, b| a < b),
                    "recover: {name} left the images {active:?} active, expected some of 0 to {}, ascending",
                    count - 1
                );
                shown.active = Some(active);
            }
            begin_anew |= reset;
        }
        Ok(begin_anew)
    }

    fn due(&self, iteration: u64) -> impl Iterator<Item = &(u64, String, ForeignCanvasHook)> {
        let all = self.all.iter();
        all.filter(move |(every, ..)| iteration.is_multiple_of(*every))
    }

    /// Puts the hooks' states into a checkpoint.
    pub fn save(&self, state: &mut State) -> Result<()> {
        for (_, name, hook) in &self.all {
            state.put_plugin(name, hook.save())?;
        }
        Ok(())
    }

    /// Takes the hooks' states out of a checkpoint.
    pub fn load(&self, state: &State) -> Result<()> {
        for (_, name, hook) in &self.all {
            state.load_plugin(name, |s| hook.load(s))?;
        }
        Ok(())
    }
}

/// Images at another resolution, bilinear.
pub(super) fn resized(images: &Value, side: usize) -> Result<Value> {
    let (_, _, height, width) = images.dims4()?;
    if (height, width) == (side, side) {
        return Ok(images.clone());
    }
    let whole = CropBox {
        top: 0.,
        left: 0.,
        height: height as f64,
        width: width as f64,
    };
    Ok(crop_resize(&Tensor::constant(images.clone()), &[whole], side, side)?.into_value())
}
