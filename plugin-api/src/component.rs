//! Shared by all kinds of components: the context of a call, state for checkpoints, and the adaptor behind the boundary.

use std::mem::ManuallyDrop;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Error, ErrorKind, Result, Tensor,
    abi::{
        Args, ArgsBuf, Method, RComponent, RResult, RStr, RString, RawComponent, Reply, caught,
        fence,
    },
    callee::Callee,
    ensure,
    nn::LayerKind,
    rng::{Rng, StreamId},
    tensor::DType,
};

/// The position of a call in a run.
#[derive(Clone)]
pub struct Ctx {
    stage: String,
    /// iteration, total, batch, seed (its bits)
    ints: [i64; 4],
    device: Tensor,
}

impl Ctx {
    /// A context; new tensors are created on the device of `device`.
    pub fn new(stage: &str, seed: u64, device: &Tensor) -> Self {
        Self {
            stage: stage.to_owned(),
            ints: [0, 0, 0, seed as i64],
            device: device.clone(),
        }
    }

    /// The same at an iteration of `total`.
    #[must_use]
    pub fn at(mut self, iteration: u64, total: u64) -> Self {
        self.ints[0] = iteration as i64;
        self.ints[1] = total as i64;
        self
    }

    /// The same for a batch.
    #[must_use]
    pub fn for_batch(mut self, batch: u64) -> Self {
        self.ints[2] = batch as i64;
        self
    }

    /// The stage: `squeeze`, `recover`, `relabel` or `validate`.
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// The seed of the experiment.
    pub fn seed(&self) -> u64 {
        self.ints[3] as u64
    }

    /// The iteration, from 0.
    pub fn iteration(&self) -> u64 {
        self.ints[0] as u64
    }

    /// How many iterations there will be.
    pub fn total(&self) -> u64 {
        self.ints[1] as u64
    }

    /// The batch of the call.
    pub fn batch(&self) -> u64 {
        self.ints[2] as u64
    }

    /// Random numbers for a purpose, the same whenever this call is made again (see [`crate::rng`]).
    pub fn rng(&self, purpose: &str) -> Rng {
        let id = StreamId {
            class: 0,
            item: self.batch() as u32,
            iteration: self.iteration() as u32,
        };
        Rng::new(self.seed(), &self.stage, purpose, id)
    }

    /// A tensor of `values` on the run's device, in the element type that losses see.
    ///
    /// # Errors
    /// When `dims` do not multiply to the number of values.
    pub fn tensor(&self, values: &[f64], dims: &[usize]) -> Result<Tensor> {
        self.device.new_like(values, dims)
    }

    /// The element type that losses see: f32, or f64 in parity runs.
    pub fn dtype(&self) -> DType {
        self.device.dtype()
    }

    /// A tensor of labels or indices (u32) on the run's device.
    ///
    /// # Errors
    /// When `dims` do not multiply to the number of values.
    pub fn indices(&self, values: &[u32], dims: &[usize]) -> Result<Tensor> {
        self.device.new_u32(values, dims)
    }

    pub(crate) fn write<'a>(&'a self, args: &mut ArgsBuf<'a>) {
        args.text("stage", &self.stage)
            .ints("ctx", &self.ints)
            .tensor("device", &self.device);
    }

    pub(crate) fn read(args: &Args<'_>) -> Result<Self> {
        let mut ints = [0; 4];
        for (to, from) in ints.iter_mut().zip(args.ints("ctx").unwrap_or_default()) {
            *to = *from;
        }
        Ok(Self {
            stage: args.text("stage")?.to_owned(),
            ints,
            device: args.tensor("device")?.clone(),
        })
    }
}

/// What a component keeps between calls, for checkpoints.
#[derive(Clone, Default)]
pub struct State {
    /// Named tensors.
    pub tensors: Vec<(String, Tensor)>,
    /// Anything else, as JSON.
    pub json: String,
}

/// What a component needs from the network; checked before anything is computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Needs {
    /// At least one BatchNorm, with the statistics of its input.
    pub batch_norm: bool,
    /// Features by name.
    pub features: Vec<String>,
    /// The inputs of all layers of these kinds, of which a network may have none (API 1.3).
    pub layers: Vec<LayerKind>,
    /// A pass of real images through the teacher, from which it learns what to compare with (API 1.3).
    pub reference: bool,
    /// Parts of the value are constants for the gradient on purpose, as `detach` makes them: the contract then asks for a finite gradient
    /// that is not 0 everywhere, not for the slope of the value (API 1.3).
    pub stops_gradient: bool,
}

impl State {
    pub(crate) fn into_reply(state: Option<Self>) -> Reply {
        let mut reply = Reply::new();
        if let Some(state) = state {
            reply.text("json", state.json);
            for (name, tensor) in state.tensors {
                reply.tensor(&name, tensor);
            }
        }
        reply
    }

    pub(crate) fn saved_by(component: &Callee) -> Result<Option<Self>> {
        Self::given_by(component, Method::SAVE)
    }

    /// The state that a method without arguments gives.
    pub(crate) fn given_by(component: &Callee, method: Method) -> Result<Option<Self>> {
        component.call(method, &ArgsBuf::new(), |mut reply| {
            let tensors = reply.take_tensors();
            let json = reply.get_text("json").ok().map(str::to_owned);
            Ok(json.map(|json| Self { tensors, json }))
        })
    }

    pub(crate) fn load_with(&self, component: &Callee) -> Result<()> {
        self.hand_to(component, Method::LOAD)
    }

    /// Hands it to a method that gives nothing.
    pub(crate) fn hand_to(&self, component: &Callee, method: Method) -> Result<()> {
        let mut args = ArgsBuf::new();
        args.text("json", &self.json);
        for (name, tensor) in &self.tensors {
            args.text("name", name).tensor("tensor", tensor);
        }
        component.call(method, &args, |_| Ok(()))
    }

    pub(crate) fn read(args: &Args<'_>) -> Result<Self> {
        let names = args.texts("name").map(str::to_owned);
        let tensors = names.zip(args.tensors("tensor").cloned()).collect();
        Ok(Self {
            tensors,
            json: args.text("json")?.to_owned(),
        })
    }
}

/// What a component says that it needs.
pub(crate) fn needs_of<N: DeserializeOwned>(component: &Callee) -> Result<N> {
    component.call(Method::NEEDS, &ArgsBuf::new(), |reply| {
        Ok(serde_json::from_str(reply.get_text("needs")?)?)
    })
}

/// What a component gave as a value to minimise.
///
/// # Errors
/// When it is no scalar.
pub(crate) fn scalar(value: Tensor) -> Result<Tensor> {
    ensure!(
        value.elem_count() == 1,
        "expected a scalar, got shape {:?}; reduce it with mean_all() or sum_all()",
        value.shape()
    );
    Ok(value)
}

/// Appends tensors with names of their own: each as a text and a tensor called `key`.
pub(crate) fn write_named<'a>(
    args: &mut ArgsBuf<'a>,
    key: &'a str,
    tensors: &'a [(String, Tensor)],
) {
    for (name, tensor) in tensors {
        args.text(key, name).tensor(key, tensor);
    }
}

/// What [`write_named`] appended.
pub(crate) fn read_named(args: &Args<'_>, key: &str) -> Vec<(String, Tensor)> {
    let names = args.texts(key).map(str::to_owned);
    names.zip(args.tensors(key).cloned()).collect()
}

/// What a component does for a method.
pub(crate) type Serve<T> = fn(&T, Method, &Args<'_>) -> Result<Reply>;

/// A component of this side behind the boundary: every call and its drop are fenced.
struct Adaptor<T> {
    value: ManuallyDrop<T>,
    what: String,
    serve: Serve<T>,
}

impl<T: Send + Sync + 'static> RawComponent for Adaptor<T> {
    fn call(&self, method: Method, args: &Args<'_>) -> RResult<Reply, Error> {
        fence(&self.what, || (self.serve)(&self.value, method, args))
    }
}

impl<T> Drop for Adaptor<T> {
    fn drop(&mut self) {
        // A panic in the author's Drop must not reach the boundary, where it would end the process.
        let dropped = caught(&self.what, || {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.value) };
            Ok(())
        });
        if let Err(error) = dropped {
            eprintln!("warning: {error}");
        }
    }
}

pub(crate) fn adapt<T: Send + Sync + 'static>(value: T, what: &str, serve: Serve<T>) -> RComponent {
    RComponent::new(Adaptor {
        value: ManuallyDrop::new(value),
        what: what.to_owned(),
        serve,
    })
}

pub(crate) fn unknown_method(method: Method) -> Error {
    let [major, minor] = crate::abi::API_VERSION;
    let message = format!(
        "plugin API {major}.{minor} has no method #{} for this kind; the caller is newer",
        method.0
    );
    Error::new(ErrorKind::UNSUPPORTED, message)
}

/// Parses options; the error names the field.
///
/// # Errors
/// [`ErrorKind::CONFIG`] when the options do not fit.
pub fn parse_options<T: DeserializeOwned>(json: &str) -> Result<T> {
    let json = if json.is_empty() { "{}" } else { json };
    serde_json::from_str(json).map_err(|e| {
        let message = e.to_string();
        Error::new(
            ErrorKind::CONFIG,
            message.split(" at line ").next().unwrap_or_default(),
        )
    })
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    Ok(serde_json::to_string(value)?)
}

/// The JSON schema of options. What [`export_plugin!`](crate::export_plugin) puts in an entry.
#[doc(hidden)]
pub fn schema_json<T: schemars::JsonSchema>() -> RResult<RString, Error> {
    fence("options schema", || {
        Ok(serde_json::to_string(&schemars::schema_for!(T))?.into())
    })
}

/// Makes a component from options. What [`export_plugin!`](crate::export_plugin) puts in an entry.
#[doc(hidden)]
pub fn create<T>(
    options: RStr<'_>,
    what: &'static str,
    serve: Serve<T>,
) -> RResult<RComponent, Error>
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    crate::abi::silence_panics();
    fence(what, || {
        Ok(adapt(parse_options::<T>(options.as_str())?, what, serve))
    })
}
