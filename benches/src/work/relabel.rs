//! Labels of a batch, by the stage's own code: one pass of FKD over a set that is one batch.

use std::collections::BTreeMap;

use alambic::{
    artifact::ImageSet,
    stages::relabel::{Config, Labeller},
};
use anyhow::Result;

use super::step::{Body, Size};
use crate::Lab;

pub(super) fn run(lab: &Lab, size: &Size, body: &mut Body<'_>) -> Result<()> {
    let session = lab.session();
    let config = Config {
        batch_size: size.batch as u32,
        ..Config::default()
    };
    let teachers = lab.teachers(&session, &size.network)?;
    let whole = lab.set();
    let bytes = size.batch * 3 * whole.resolution * whole.resolution;
    let set = ImageSet::new(
        whole.resolution,
        whole.pixels_nchw[..bytes].to_vec(),
        whole.labels[..size.batch].to_vec(),
        whole.class_names.clone(),
    );
    let labeller = Labeller::new(&session, &config, &teachers, &set)?;
    let mut pass = 0;
    body(&mut || {
        let mut records = BTreeMap::new();
        let views = labeller.pass(pass, &mut records)?;
        pass = (pass + 1) % config.epochs;
        let numbers: usize = records.values().flatten().map(|v| v.elem_count()).sum();
        Ok((views.len() + numbers) as f64)
    })
}
