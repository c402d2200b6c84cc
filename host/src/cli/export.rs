//! `alambic export`.

use crate::{
    artifact::{ImageSet, Stage, atomic, export::Export},
    experiment::{
        failure::{Failure, config_fault},
        intact::{is_of_set, refuse_damaged_in},
        soft_labels::soft_labels,
    },
};

use super::{
    args::{Cli, ExportArgs, ExportFormat},
    report::existing,
    run::registry,
};

/// Copies the distilled images out of a run.
pub fn export(cli: &Cli, args: &ExportArgs) -> Result<(), Failure> {
    let folder = existing(&args.run)?;
    if args.to.symlink_metadata().is_ok() {
        return Err(config_fault(
            "--to",
            format!("{} already exists; choose a new folder", args.to.display()),
        ));
    }
    let made = Stage::MAKERS.map(|stage| (stage, folder.images(stage)));
    let Some((stage, images)) = made.into_iter().find(|(_, images)| images.exists()) else {
        return Err(config_fault(
            "run",
            format!("{} has no distilled images yet", args.run.display()),
        ));
    };
    // Soft labels come from the teachers, or were learned with the images.
    let is_for_labels = |file: &str| {
        let ends = [
            "/model.safetensors",
            "/labels.safetensors",
            "experiment.toml",
        ];
        args.soft_labels && ends.iter().any(|end| file.ends_with(end))
    };
    refuse_damaged_in(&folder, |file| is_of_set(file) || is_for_labels(file))?;
    let set = ImageSet::load(&images)?;
    let (files, scaling) = ImageSet::stored(&images)?;
    let soft_labels = match args.soft_labels {
        true => Some(soft_labels(&folder, &registry(cli)?, &set, scaling)?),
        false => None,
    };
    let name = folder.manifest()?.map(|manifest| manifest.name);
    let export = Export {
        name: name.as_deref().unwrap_or("distilled"),
        stage,
        set: &set,
        files,
        soft_labels,
    };
    export.check()?;
    let mut told = None;
    atomic::replace_folder(&args.to, |fresh| {
        match args.format {
            ExportFormat::Imagefolder => told = export.to_folders(fresh)?,
            ExportFormat::Parquet => export.to_parquet(fresh)?,
        }
        Ok(())
    })?;
    if let Some(reason) = told {
        tell!("class folders begin with their class's index: {reason}");
    }
    say!(
        "{} images of {} classes: {}",
        set.len(),
        set.class_names.len(),
        args.to.display()
    );
    Ok(())
}
