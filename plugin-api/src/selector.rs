//! Selectors: which crops of real images a set starts from.

use crate::{
    Error, Result, Tensor,
    abi::{Args, ArgsBuf, Method, Reply},
    bail,
    callee::Callee,
    component::{Ctx, Needs, needs_of, read_named, to_json, unknown_method, write_named},
    ensure,
    regularizer::named_feature,
};

/// Crops of the real images of one class, and what a teacher in eval mode says of them.
pub struct SelectorInput<'a> {
    /// The class.
    pub class: u32,
    /// How many crops to choose.
    pub count: usize,
    /// The teacher's logits of each crop, [M, C]; the mean of several teachers'.
    pub logits: &'a Tensor,
    /// Features of each crop, [M, ..], by the names that [`Needs::features`] asks for; the first teacher's.
    pub features: &'a [(String, Tensor)],
    /// Number of each crop's image among the images to choose from, M of them; the crops of an image follow each other.
    pub images: &'a [u32],
    /// The position in the run: the batch is the class.
    pub ctx: &'a Ctx,
}

impl SelectorInput<'_> {
    /// A feature by name.
    ///
    /// # Errors
    /// When the architecture taps no such feature.
    pub fn feature(&self, name: &str) -> Result<&Tensor> {
        named_feature(self.features, name)
    }

    /// The teacher's cross-entropy with the class for each crop: how little it is sure of it.
    ///
    /// # Errors
    /// When the logits are not [M, C] with the class among them.
    pub fn losses(&self) -> Result<Vec<f64>> {
        let log_probs = self.logits.log_softmax(1)?;
        let own = log_probs.narrow(1, self.class as usize, 1)?;
        own.neg()?.to_vec_f64()
    }
}

/// A selector. It is its own options: a struct that derives `Deserialize` and `JsonSchema`.
pub trait Selector: Send + Sync + 'static {
    /// The crops to take, by their places among the M, in the order in which the set takes them: [`SelectorInput::count`] different
    /// ones.
    ///
    /// # Errors
    /// When there are too few, and any problem with the input.
    fn select(&self, input: &SelectorInput<'_>) -> Result<Vec<u32>>;

    /// What it needs from the network; asked before anything is computed.
    fn needs(&self) -> Needs {
        Needs::default()
    }
}

/// The places of the smallest values, ascending; ties by place.
pub fn ascending(values: &[f64]) -> Vec<u32> {
    let mut places: Vec<u32> = (0..values.len() as u32).collect();
    places.sort_by(|&a, &b| values[a as usize].total_cmp(&values[b as usize]));
    places
}

/// A selector behind the boundary.
pub struct ForeignSelector {
    component: Callee,
    needs: Needs,
}

impl ForeignSelector {
    /// Wraps what an entry of kind selector created.
    ///
    /// # Errors
    /// When it cannot say what it needs.
    pub fn new(component: impl Into<Callee>) -> Result<Self> {
        let component = component.into();
        let needs = needs_of(&component)?;
        Ok(Self { component, needs })
    }
}

impl Selector for ForeignSelector {
    fn select(&self, input: &SelectorInput<'_>) -> Result<Vec<u32>> {
        let numbers = [i64::from(input.class), input.count as i64];
        let images: Vec<i64> = input.images.iter().map(|&n| i64::from(n)).collect();
        let mut args = ArgsBuf::new();
        args.ints("select", &numbers)
            .ints("images", &images)
            .tensor("logits", input.logits);
        write_named(&mut args, "feature", input.features);
        input.ctx.write(&mut args);
        self.component.call(Method::FORWARD, &args, |reply| {
            chosen_of(reply.get_ints("chosen")?, input)
        })
    }

    fn needs(&self) -> Needs {
        self.needs.clone()
    }
}

/// The places that a selector chose.
fn chosen_of(chosen: &[i64], input: &SelectorInput<'_>) -> Result<Vec<u32>> {
    let crops = input.images.len();
    let mut places = Vec::with_capacity(chosen.len());
    for &place in chosen {
        let place = u32::try_from(place).ok();
        match place.filter(|&p| (p as usize) < crops) {
            Some(place) if !places.contains(&place) => places.push(place),
            _ => bail!("a selector chose {chosen:?} of {crops} crops"),
        }
    }
    ensure!(
        places.len() == input.count,
        "a selector chose {} crops, expected {}",
        places.len(),
        input.count
    );
    Ok(places)
}

#[doc(hidden)]
pub fn serve<T: Selector>(selector: &T, method: Method, args: &Args<'_>) -> Result<Reply> {
    let mut reply = Reply::new();
    match method {
        Method::FORWARD => {
            let (ctx, features) = (Ctx::read(args)?, read_named(args, "feature"));
            let &[class, count] = args.ints("select").unwrap_or_default() else {
                return Err(Error::msg("a selection without class and count"));
            };
            let images = args.ints("images").unwrap_or_default().iter();
            let images: Vec<u32> = images.map(|&n| n as u32).collect();
            let chosen = selector.select(&SelectorInput {
                class: class as u32,
                count: count as usize,
                logits: args.tensor("logits")?,
                features: &features,
                images: &images,
                ctx: &ctx,
            })?;
            reply.ints("chosen", chosen.into_iter().map(i64::from).collect());
        }
        Method::NEEDS => {
            reply.text("needs", to_json(&selector.needs())?);
        }
        other => return Err(unknown_method(other)),
    }
    Ok(reply)
}
