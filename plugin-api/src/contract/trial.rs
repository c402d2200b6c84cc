//! A relabeler on one set: all passes, then all epochs.

use super::{
    finite, random_like,
    scalar::refused,
    targets::check_targets,
    views::{check_views, unseen},
};
use crate::{
    Context as _, Ctx, Error, Result, Tensor, ensure,
    relabeler::{LabelBatch, LabelLayout, RecordIndex, Records, Relabeler, SetInfo},
    view::View,
};

/// Views that are encoded or decoded at once; it divides the set unevenly.
const BATCH: usize = 5;

/// A relabeler and the set that it is tried on.
pub(super) struct Trial<'a> {
    pub(super) relabeler: &'a dyn Relabeler,
    pub(super) device: &'a Tensor,
    pub(super) set: SetInfo,
    pub(super) layout: LabelLayout,
    pub(super) tolerance: f64,
}

impl Trial<'_> {
    /// Checks passes and epochs.
    pub(super) fn run(&self) -> Result<()> {
        let layout = self.layout;
        ensure!(
            layout.passes > 0 || layout.index == RecordIndex::None,
            "the layout has records for each {:?} but no pass that creates them",
            layout.index
        );
        let pass = |pass| self.pass(pass).with_context(|| format!("pass {pass}"));
        let passes = (0..layout.passes).map(pass).collect::<Result<Vec<_>>>()?;
        let mut shown = Vec::new();
        for epoch in 0..self.set.epochs {
            let pass = passes.get((epoch % layout.passes.max(1)) as usize);
            shown.extend(
                self.epoch(epoch, pass)
                    .with_context(|| format!("epoch {epoch}"))?,
            );
        }
        let unseen = unseen(&shown, &self.set);
        ensure!(
            unseen.is_empty(),
            "a student that trains {} epochs never sees the images {unseen:?}",
            self.set.epochs
        );
        Ok(())
    }

    fn ctx(&self) -> Ctx {
        Ctx::new("relabel", self.set.seed, self.device)
    }

    /// The views of a call, which must be the same at a second one.
    fn views(&self, what: &str, call: &dyn Fn() -> Result<Vec<View>>) -> Result<Vec<View>> {
        let views = call().context(what)?;
        check_views(&views, &self.set).context(what)?;
        ensure!(views == call()?, "two calls of {what} give different views");
        Ok(views)
    }

    /// The views of a pass and their records.
    fn pass(&self, pass: u32) -> Result<(Vec<View>, Records)> {
        let views = self.views("plan", &|| self.relabeler.plan(&self.set, pass))?;
        if self.layout.index == RecordIndex::Image {
            let missing = unseen(&views, &self.set);
            ensure!(
                missing.is_empty(),
                "records are looked up by image, but the plan omits the images {missing:?}"
            );
        }
        let logits = random_like(
            self.device,
            &[views.len(), self.set.classes as usize],
            u64::from(pass),
        )?;
        let records = self
            .encode(&views, std::slice::from_ref(&logits))
            .context("encode of one teacher's logits")?;
        let second = random_like(self.device, &logits.shape(), 99)?;
        // More teachers may be refused, but not by a panic.
        refused(self.encode(&views, &[logits, second]).map(|_| ()))
            .context("encode of two teachers' logits")?
            .ok();
        Ok((views, records))
    }

    /// The records of all views, which must be the same in batches.
    fn encode(&self, views: &[View], teachers: &[Tensor]) -> Result<Records> {
        let (ctx, n) = (self.ctx(), views.len());
        let whole = self.relabeler.encode(&self.set, views, teachers, &ctx)?;
        let none = self.layout.index == RecordIndex::None;
        ensure!(
            none || !whole.is_empty(),
            "it returns no records, but the layout promises one for each {:?}",
            self.layout.index
        );
        for (i, (name, record)) in whole.iter().enumerate() {
            ensure!(
                whole[..i].iter().all(|(n, _)| n != name),
                "two records are called \"{name}\""
            );
            ensure!(
                record.rank() > 0 && record.dim(0)? == n,
                "record \"{name}\" has shape {:?}, expected its first dimension to run over {n} views",
                record.shape()
            );
            finite(record).with_context(|| format!("record \"{name}\""))?;
        }
        for start in (0..n).step_by(BATCH) {
            let len = BATCH.min(n - start);
            let part: Vec<Tensor> = teachers
                .iter()
                .map(|t| t.narrow(0, start, len))
                .collect::<Result<_>>()?;
            let batch =
                self.relabeler
                    .encode(&self.set, &views[start..start + len], &part, &ctx)?;
            ensure!(
                batch.len() == whole.len(),
                "batches of {len} and {n} views give different records"
            );
            for ((name, record), (_, all)) in batch.iter().zip(&whole) {
                let same = close(record, &all.narrow(0, start, len)?, self.tolerance)?;
                ensure!(
                    same,
                    "record \"{name}\" differs between batches of {len} and {n} views; views must be independent of each other"
                );
            }
        }
        Ok(whole)
    }

    /// The views of an epoch, after their targets were checked.
    fn epoch(&self, epoch: u32, pass: Option<&(Vec<View>, Records)>) -> Result<Vec<View>> {
        let [none, by_image, by_view] = [RecordIndex::None, RecordIndex::Image, RecordIndex::View]
            .map(|index| self.layout.index == index);
        let stored = pass.filter(|_| by_view).map(|(views, _)| views.as_slice());
        let train = || self.relabeler.train_views(&self.set, epoch, stored);
        let views = self.views("train_views", &train)?;
        let (planned, records) =
            pass.map_or((&[][..], &[][..]), |(views, records)| (views, records));
        // The row of a view's record, and that of its partner's.
        let row = |view: &View, image: u32| -> Result<u32> {
            let same = |p: &View| {
                if by_view {
                    p == view
                } else {
                    p.crop.image == image
                }
            };
            let found = planned.iter().position(same);
            found.map(|i| i as u32).ok_or_else(|| {
                Error::msg(format!("a training view of image {image} is not among the stored views, so it has no record"))
            })
        };
        for batch in views.chunks(BATCH) {
            let own = |v: &View| v.crop.image;
            let partner = |v: &View| v.partner().map_or(v.crop.image, |p| p.image);
            let rows = |image: &dyn Fn(&View) -> u32| -> Result<Vec<u32>> {
                let found = batch.iter().map(|v| row(v, image(v)));
                if none { Ok(vec![]) } else { found.collect() }
            };
            let labels = |image: &dyn Fn(&View) -> u32| {
                let classes = batch.iter().map(|v| image(v) % self.set.classes);
                self.device
                    .new_u32(&classes.collect::<Vec<_>>(), &[batch.len()])
            };
            let input = LabelBatch {
                views: batch,
                labels: &labels(&own)?,
                partner_labels: &labels(&partner)?,
                records: &self.select(if none { &[] } else { records }, &rows(&own)?)?,
                partner_records: &self
                    .select(if by_image { records } else { &[] }, &rows(&partner)?)?,
            };
            let targets = self
                .relabeler
                .decode(&self.set, &input, &self.ctx())
                .context("decode")?;
            check_targets(&targets, batch.len(), self.set.classes as usize).context("decode")?;
        }
        Ok(views)
    }

    fn select(&self, records: &[(String, Tensor)], rows: &[u32]) -> Result<Records> {
        let rows = self.device.new_u32(rows, &[rows.len()])?;
        records
            .iter()
            .map(|(name, record)| Ok((name.clone(), record.index_select(&rows, 0)?)))
            .collect()
    }
}

fn close(a: &Tensor, b: &Tensor, tolerance: f64) -> Result<bool> {
    let (a_values, b_values) = (a.to_vec_f64()?, b.to_vec_f64()?);
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * (1. + b.abs());
    Ok(a.shape() == b.shape() && a_values.iter().zip(&b_values).all(near))
}
