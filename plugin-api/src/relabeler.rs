//! Relabelers: how the labels of a distilled set are made, kept and read.
//!
//! The host asks for a [`LabelLayout`], then for the views that the teachers label ([`Relabeler::plan`]), shows it their logits
//! ([`Relabeler::encode`]) and stores the records. While a student trains it asks for the views of each epoch
//! ([`Relabeler::train_views`]) and for their targets ([`Relabeler::decode`]).

use serde::{Deserialize, Serialize};

use crate::{
    Context as _, Result, Tensor,
    abi::{Args, ArgsBuf, Method, Reply},
    callee::Callee,
    component::{Ctx, read_named, to_json, unknown_method, write_named},
    ensure,
    loss::Targets,
    view::{View, ViewRule, ViewSource, draw_views},
};

/// The set to label, and how its views are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetInfo {
    /// Images in the set.
    pub images: u32,
    /// Classes.
    pub classes: u32,
    /// Pixels a side.
    pub resolution: u32,
    /// Seed of the experiment.
    pub seed: u64,
    /// Epochs that a student will train.
    pub epochs: u32,
    /// How views are drawn.
    pub views: ViewRule,
}

impl SetInfo {
    /// The views of one epoch as the rule says.
    pub fn draw_views(&self, epoch: u32) -> Vec<View> {
        let source = ViewSource {
            images: self.images,
            resolution: self.resolution,
            seed: self.seed,
        };
        draw_views(&self.views, &source, "relabel", epoch)
    }

    /// Every image as it is.
    pub fn whole_images(&self) -> Vec<View> {
        (0..self.images)
            .map(|image| View::whole(image, self.resolution))
            .collect()
    }
}

/// How a record is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordIndex {
    /// There are none.
    None,
    /// One for each image.
    Image,
    /// One for each view of each pass.
    View,
}

/// What is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelLayout {
    /// Number of passes of the teachers over the set.
    pub passes: u32,
    /// How a record is looked up.
    pub index: RecordIndex,
    /// The views are stored with the records; otherwise [`Relabeler::plan`] is called again.
    pub stores_views: bool,
}

/// Named tensors whose first dimension runs over views or images.
pub type Records = Vec<(String, Tensor)>;

/// A batch of views and what is known of them.
pub struct LabelBatch<'a> {
    /// The views.
    pub views: &'a [View],
    /// Class of each view's image, u32 `[N]`.
    pub labels: &'a Tensor,
    /// Class of each view's partner (of the image itself where there is none), u32 `[N]`.
    pub partner_labels: &'a Tensor,
    /// Records of the views or of their images.
    pub records: &'a [(String, Tensor)],
    /// With [`RecordIndex::Image`]: records of the partners.
    pub partner_records: &'a [(String, Tensor)],
}

/// A relabeler. It is its own options: a struct that derives `Deserialize` and `JsonSchema`.
pub trait Relabeler: Send + Sync + 'static {
    /// What is stored for a set.
    ///
    /// # Errors
    /// When the options do not fit the set.
    fn layout(&self, set: &SetInfo) -> Result<LabelLayout>;

    /// The views that the teachers label in a pass. Where they are stored, they have images of the set, crops within these (and the
    /// padding of the set's rule) and boxes within a view.
    ///
    /// # Errors
    /// When the options do not fit the set.
    fn plan(&self, set: &SetInfo, _pass: u32) -> Result<Vec<View>> {
        Ok(set.whole_images())
    }

    /// Records from the logits of each teacher, [N, classes], for some views of a pass.
    ///
    /// # Errors
    /// When an operation fails.
    fn encode(
        &self,
        set: &SetInfo,
        views: &[View],
        teachers: &[Tensor],
        ctx: &Ctx,
    ) -> Result<Records>;

    /// The views that a student trains on in an epoch; `stored` are those of the pass that belongs to it.
    ///
    /// # Errors
    /// When the options do not fit the set.
    fn train_views(&self, set: &SetInfo, epoch: u32, stored: Option<&[View]>) -> Result<Vec<View>> {
        Ok(stored.map_or_else(|| set.draw_views(epoch), <[View]>::to_vec))
    }

    /// Targets of a batch.
    ///
    /// # Errors
    /// When a record is missing.
    fn decode(&self, set: &SetInfo, batch: &LabelBatch<'_>, ctx: &Ctx) -> Result<Targets>;
}

/// Views as they cross the boundary.
struct Rows {
    views: Vec<i64>,
    colors: Option<Vec<i64>>,
    before: Option<Vec<i64>>,
}

/// The names of views, of their colours and of what changes their images before the crop.
type Names = [&'static str; 3];
const VIEWS: Names = ["views", "colors", "before"];
const STORED: Names = ["stored", "stored_colors", "stored_before"];

impl Rows {
    fn of(views: &[View]) -> Self {
        Self {
            views: View::to_rows(views),
            colors: View::to_color_rows(views),
            before: View::to_before_rows(views),
        }
    }

    fn write<'a>(&'a self, args: &mut ArgsBuf<'a>, [views, colors, before]: Names) {
        args.ints(views, &self.views);
        for (name, rows) in [(colors, &self.colors), (before, &self.before)] {
            if let Some(rows) = rows {
                args.ints(name, rows);
            }
        }
    }
}

/// Rows that plugins give since the rule has the keys.
///
/// # Errors
/// When one of them is set and the rows are not there.
fn later_rows<'a>(
    reply: &'a Reply,
    name: &str,
    is_set: bool,
    keys: &str,
) -> Result<Option<&'a [i64]>> {
    let rows = reply.get_ints(name).ok();
    ensure!(
        rows.is_some() || !is_set,
        "this plugin predates {keys} and draws views without; rebuild it against this plugin API"
    );
    Ok(rows)
}

/// A relabeler behind the boundary.
pub struct ForeignRelabeler(Callee);

impl ForeignRelabeler {
    /// Wraps what an entry of kind relabeler created.
    pub fn new(component: impl Into<Callee>) -> Self {
        Self(component.into())
    }

    fn views(
        &self,
        method: Method,
        set: &SetInfo,
        number: u32,
        stored: Option<&[View]>,
    ) -> Result<Vec<View>> {
        let (text, number) = (to_json(set)?, [i64::from(number)]);
        let stored = stored.map(Rows::of);
        let mut args = ArgsBuf::new();
        args.text("set", &text).ints("number", &number);
        if let Some(stored) = &stored {
            stored.write(&mut args, STORED);
        }
        self.0.call(method, &args, |reply| {
            let [views, colors, before] = VIEWS;
            let rule = set.views;
            let colors = later_rows(&reply, colors, !rule.color_jitter.is_none(), "color_jitter")?;
            let before = later_rows(
                &reply,
                before,
                !rule.before.is_none(),
                "tiles and rand_augment",
            )?;
            let plain = View::from_rows(reply.get_ints(views)?)?;
            View::with_before_rows(View::with_color_rows(plain, colors)?, before)
        })
    }
}

impl Relabeler for ForeignRelabeler {
    fn layout(&self, set: &SetInfo) -> Result<LabelLayout> {
        let set = to_json(set)?;
        let mut args = ArgsBuf::new();
        args.text("set", &set);
        self.0.call(Method::LAYOUT, &args, |reply| {
            Ok(serde_json::from_str(reply.get_text("layout")?)?)
        })
    }

    fn plan(&self, set: &SetInfo, pass: u32) -> Result<Vec<View>> {
        self.views(Method::PLAN, set, pass, None)
    }

    fn encode(
        &self,
        set: &SetInfo,
        views: &[View],
        teachers: &[Tensor],
        ctx: &Ctx,
    ) -> Result<Records> {
        let (set, rows) = (to_json(set)?, Rows::of(views));
        let mut args = ArgsBuf::new();
        args.text("set", &set);
        rows.write(&mut args, VIEWS);
        for teacher in teachers {
            args.tensor("logits", teacher);
        }
        ctx.write(&mut args);
        self.0
            .call(Method::ENCODE, &args, |reply| Ok(reply.into_tensors()))
    }

    fn train_views(&self, set: &SetInfo, epoch: u32, stored: Option<&[View]>) -> Result<Vec<View>> {
        self.views(Method::TRAIN_VIEWS, set, epoch, stored)
    }

    fn decode(&self, set: &SetInfo, batch: &LabelBatch<'_>, ctx: &Ctx) -> Result<Targets> {
        let (set, rows) = (to_json(set)?, Rows::of(batch.views));
        let mut args = ArgsBuf::new();
        rows.write(&mut args, VIEWS);
        args.text("set", &set)
            .tensor("labels", batch.labels)
            .tensor("partner_labels", batch.partner_labels);
        write_named(&mut args, "record", batch.records);
        write_named(&mut args, "partner_record", batch.partner_records);
        ctx.write(&mut args);
        self.0.call(Method::DECODE, &args, |mut reply| {
            Targets::read(|key| reply.take_tensor(key)).context("targets")
        })
    }
}

#[doc(hidden)]
pub fn serve<T: Relabeler>(relabeler: &T, method: Method, args: &Args<'_>) -> Result<Reply> {
    let set: SetInfo = serde_json::from_str(args.text("set")?)?;
    let read = |[views, colors, before]: Names| {
        let plain = View::from_rows(args.ints(views).unwrap_or_default())?;
        let colored = View::with_color_rows(plain, args.ints(colors))?;
        View::with_before_rows(colored, args.ints(before))
    };
    let views = || read(VIEWS);
    let tell = |reply: &mut Reply, views: &[View]| {
        reply.ints("views", View::to_rows(views));
        // An answer without rows of what the rule has is an older plugin's.
        if !set.views.color_jitter.is_none() {
            reply.ints("colors", View::color_rows(views));
        }
        if !set.views.before.is_none() {
            reply.ints("before", View::before_rows(views));
        }
    };
    let mut reply = Reply::new();
    match method {
        Method::LAYOUT => {
            reply.text("layout", to_json(&relabeler.layout(&set)?)?);
        }
        Method::PLAN => {
            let plan = relabeler.plan(&set, args.int("number")? as u32)?;
            tell(&mut reply, &plan);
        }
        Method::ENCODE => {
            let teachers: Vec<Tensor> = args.tensors("logits").cloned().collect();
            for (name, record) in relabeler.encode(&set, &views()?, &teachers, &Ctx::read(args)?)? {
                reply.tensor(&name, record);
            }
        }
        Method::TRAIN_VIEWS => {
            let is_stored = args.ints(STORED[0]).is_some();
            let stored = is_stored.then(|| read(STORED)).transpose()?;
            let views =
                relabeler.train_views(&set, args.int("number")? as u32, stored.as_deref())?;
            tell(&mut reply, &views);
        }
        Method::DECODE => {
            let (views, records) = (views()?, read_named(args, "record"));
            let partner_records = read_named(args, "partner_record");
            let batch = LabelBatch {
                views: &views,
                labels: args.tensor("labels")?,
                partner_labels: args.tensor("partner_labels")?,
                records: &records,
                partner_records: &partner_records,
            };
            let targets = relabeler.decode(&set, &batch, &Ctx::read(args)?)?;
            for (key, tensor) in targets.tensors() {
                reply.tensor(key, tensor.clone());
            }
        }
        other => return Err(unknown_method(other)),
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Error,
        abi::{RComponent, RResult, RawComponent},
        view::{BeforeRule, ColorRule, CropRule, Jitter, MixRule},
    };

    /// Draws whole images and knows neither colours nor what comes before a crop.
    struct Older;

    impl RawComponent for Older {
        fn call(&self, _: Method, _: &Args<'_>) -> RResult<Reply, Error> {
            let mut reply = Reply::new();
            reply.ints("views", View::to_rows(&[View::whole(0, 8)]));
            RResult::ROk(reply)
        }
    }

    #[test]
    fn an_older_plugin_serves_views_without_later_changes() {
        let older = ForeignRelabeler::new(RComponent::new(Older));
        let views = ViewRule {
            crop: CropRule::None,
            flip: 0.,
            mix: MixRule::None,
            batch_size: 1,
            color_jitter: ColorRule::NONE,
            before: BeforeRule::NONE,
        };
        let mut set = SetInfo {
            images: 1,
            classes: 1,
            resolution: 8,
            seed: 0,
            epochs: 1,
            views,
        };
        assert_eq!(older.plan(&set, 0).unwrap(), [View::whole(0, 8)]);
        let unset = to_json(&set).unwrap();
        assert!(!unset.contains("color") && !unset.contains("before"));
        set.views.color_jitter.hue = Jitter::Around(0.1);
        let error = older.train_views(&set, 0, None).unwrap_err().to_string();
        assert!(error.contains("predates color_jitter"), "{error}");
        set.views.color_jitter = ColorRule::NONE;
        set.views.before.tiles = 2;
        let error = older.plan(&set, 0).unwrap_err().to_string();
        assert!(error.contains("predates tiles and rand_augment"), "{error}");
    }
}
