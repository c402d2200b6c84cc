//! `alambic show`.

use std::path::Path;

use anyhow::Context;

use crate::{
    artifact::RunFolder,
    experiment::{
        Experiment,
        changed::{Default, changed, inline},
        failure::{Failure, config_fault},
        file,
        intact::refuse_damaged_in,
        sweep::Sweep,
    },
};

use super::{run::read, run_args::ShowArgs};

/// Prints the keys of an experiment that are not at their defaults, or all of it.
pub fn show(args: &ShowArgs) -> Result<(), Failure> {
    let path = &args.experiment;
    let path = match path.is_dir() {
        true => {
            let folder = RunFolder::at(path);
            refuse_damaged_in(&folder, |file| file == "experiment.toml")?;
            folder.experiment()
        }
        false => path.clone(),
    };
    let experiment = parsed(&path, args)?;
    if args.all {
        let text = toml::to_string(&experiment).context("the experiment as TOML")?;
        say_part!("{text}");
        return Ok(());
    }
    let json = serde_json::to_value(&experiment).context("the experiment as JSON")?;
    for change in changed(&json) {
        let note = match &change.default {
            // Every experiment has these: what they are is all there is to say.
            Default::Required => String::new(),
            other => format!("  # default: {}", other.told()),
        };
        say!("{} = {}{note}", change.key, inline(&change.value));
    }
    Ok(())
}

fn parsed(path: &Path, args: &ShowArgs) -> Result<Experiment, Failure> {
    let mut json = read(path, &args.changes)?;
    Sweep::taken_from(&mut json).map_err(Failure::Config)?;
    let faults = file::schema_faults(&json);
    if !faults.is_empty() {
        return Err(Failure::Config(faults));
    }
    let experiment: Experiment =
        serde_json::from_value(json).map_err(|e| config_fault("experiment", e.to_string()))?;
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    Ok(experiment.with_absolute_paths(base)?)
}
