//! Canvas hooks: what happens to the images under way between two iterations of recover.

use crate::{
    Result, Tensor,
    abi::{Args, ArgsBuf, Method, Reply},
    callee::Callee,
    component::{Ctx, State, unknown_method},
};

/// Images under way, before an iteration.
pub struct CanvasInput<'a> {
    /// The images, as a network is given them, NCHW.
    pub canvas: &'a Tensor,
    /// What they started from, at the resolution of the canvas, NCHW.
    pub start: &'a Tensor,
    /// Class of each image, N of them.
    pub labels: &'a [u32],
    /// Number of each image within its class, N of them.
    pub images: &'a [u32],
    /// Images of each class in the set.
    pub images_per_class: usize,
    /// The position in the run: the iteration that comes next, of all of the batch.
    pub ctx: &'a Ctx,
}

/// What a hook changes; what is absent stays as it is.
#[derive(Clone, Default)]
pub struct Changes {
    /// The images from here on, of the shape that they had.
    pub canvas: Option<Tensor>,
    /// What gradients are multiplied by from here on, of a shape that broadcasts to the canvas's.
    pub mask: Option<Tensor>,
    /// Places of the images that the network sees from here on, ascending; the others do not move.
    pub active: Option<Vec<u32>>,
    /// The optimizer forgets its averages.
    pub reset: bool,
}

/// A canvas hook. It is its own options: a struct that derives `Deserialize` and `JsonSchema`.
pub trait CanvasHook: Send + Sync + 'static {
    /// Called before the first iteration of a batch and every so many iterations after that.
    ///
    /// # Errors
    /// Any problem with the input; the host adds where in the run it occurred.
    fn change(&self, input: &CanvasInput<'_>) -> Result<Changes>;

    /// Its state between calls, for a checkpoint; empty if there is none.
    ///
    /// # Errors
    /// When the state cannot be saved.
    fn save(&self) -> Result<Option<State>> {
        Ok(None)
    }

    /// Restores what [`CanvasHook::save`] returned.
    ///
    /// # Errors
    /// When the state does not fit.
    fn load(&self, _state: &State) -> Result<()> {
        Ok(())
    }
}

/// A canvas hook behind the boundary.
pub struct ForeignCanvasHook(Callee);

impl ForeignCanvasHook {
    /// Wraps what an entry of kind canvas created.
    pub fn new(component: impl Into<Callee>) -> Self {
        Self(component.into())
    }
}

impl CanvasHook for ForeignCanvasHook {
    fn change(&self, input: &CanvasInput<'_>) -> Result<Changes> {
        let numbers = |all: &[u32]| all.iter().map(|&n| i64::from(n)).collect::<Vec<_>>();
        let (labels, images) = (numbers(input.labels), numbers(input.images));
        let each = [input.images_per_class as i64];
        let mut args = ArgsBuf::new();
        args.tensor("canvas", input.canvas)
            .tensor("start", input.start);
        args.ints("labels", &labels)
            .ints("images", &images)
            .ints("images_per_class", &each);
        input.ctx.write(&mut args);
        self.0.call(Method::FORWARD, &args, |mut reply| {
            let active = reply.get_ints("active").ok();
            let active = active.map(|places| places.iter().map(|&place| place as u32).collect());
            let reset = reply.get_ints("reset").is_ok_and(|flag| flag == [1]);
            Ok(Changes {
                canvas: reply.take_tensor("canvas").ok(),
                mask: reply.take_tensor("mask").ok(),
                active,
                reset,
            })
        })
    }

    fn save(&self) -> Result<Option<State>> {
        State::saved_by(&self.0)
    }

    fn load(&self, state: &State) -> Result<()> {
        state.load_with(&self.0)
    }
}

#[doc(hidden)]
pub fn serve<T: CanvasHook>(hook: &T, method: Method, args: &Args<'_>) -> Result<Reply> {
    let mut reply = Reply::new();
    match method {
        Method::FORWARD => {
            let ctx = Ctx::read(args)?;
            let numbers = |key: &str| -> Vec<u32> {
                let given = args.ints(key).unwrap_or_default();
                given.iter().map(|&n| n as u32).collect()
            };
            let (labels, images) = (numbers("labels"), numbers("images"));
            let Changes {
                canvas,
                mask,
                active,
                reset,
            } = hook.change(&CanvasInput {
                canvas: args.tensor("canvas")?,
                start: args.tensor("start")?,
                labels: &labels,
                images: &images,
                images_per_class: args.int("images_per_class")? as usize,
                ctx: &ctx,
            })?;
            for (key, tensor) in [("canvas", canvas), ("mask", mask)] {
                if let Some(tensor) = tensor {
                    reply.tensor(key, tensor);
                }
            }
            if let Some(active) = active {
                reply.ints("active", active.into_iter().map(i64::from).collect());
            }
            reply.ints("reset", vec![i64::from(reset)]);
        }
        Method::SAVE => return Ok(State::into_reply(hook.save()?)),
        Method::LOAD => hook.load(&State::read(args)?)?,
        other => return Err(unknown_method(other)),
    }
    Ok(reply)
}
