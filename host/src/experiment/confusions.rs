//! What the networks of a run take each class for, from the files that their trainings left.

use std::fs;

use anyhow::Result;

use crate::{
    artifact::{RunFolder, atomic},
    report::{classes::NetworkConfusion, summary::Summary},
};

use super::{Experiment, courses::folder_of};

/// Those of the first student and seed of each set and kind of labels in the order of the results, where the training left it.
///
/// # Errors
/// When a file is damaged.
pub fn confusions(
    experiment: &Experiment,
    folder: &RunFolder,
    summary: &Summary,
) -> Result<Vec<NetworkConfusion>> {
    let Some(student) = experiment
        .validate
        .as_ref()
        .and_then(|v| v.architectures.first())
    else {
        return Ok(Vec::new());
    };
    let network = student.label();
    let mut found = Vec::new();
    let rows = &summary.results;
    for (at, row) in rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.network == network)
    {
        let Some(&seed) = row.seeds.first() else {
            continue;
        };
        let set = folder_of(rows, at, experiment.relabeler());
        let (training, _) = folder.student(&set, &network, seed);
        let path = training.confusion();
        if fs::exists(&path)? {
            found.push(NetworkConfusion {
                set: row.set.clone(),
                labels: row.labels.clone(),
                network: network.clone(),
                seed,
                confusion: atomic::read_json(&path)?,
            });
        }
    }
    Ok(found)
}
