//! `alambic report` and `alambic export`.

use std::{fs, path::Path};

use crate::{
    artifact::{ImageFormat, ImageSet, RunFolder, atomic, parquet_export::export_parquet},
    experiment::{
        compare,
        failure::{Failure, config_fault},
        intact::{is_of_set, refuse_damaged_in},
    },
    report::{summary::Summary, table::TableFormat},
};

use super::{
    args::{ExportArgs, ExportFormat, ReportArgs},
    run::{print_json, print_summary},
};

/// `alambic report`.
pub fn report(args: &ReportArgs) -> Result<(), Failure> {
    let format = if args.markdown {
        TableFormat::Markdown
    } else {
        TableFormat::Terminal
    };
    for run in &args.runs {
        let folder = existing(run)?;
        refuse_damaged_in(&folder, |file| file.starts_with("report/"))?;
        let summary = Summary::from_json(&compare::read(&folder.summary())?)?;
        if args.json {
            print_json(&summary)?;
        } else {
            say!("{}", summary.name);
            print_summary(&summary, format);
            say!("report: {}", folder.page().display());
        }
    }
    Ok(())
}

/// `alambic export`.
pub fn export(args: &ExportArgs) -> Result<(), Failure> {
    let folder = existing(&args.run)?;
    if args.to.exists() {
        return Err(config_fault(
            "--to",
            format!("{} already exists; choose a new folder", args.to.display()),
        ));
    }
    let Some(images) = folder.made_images() else {
        return Err(config_fault(
            "run",
            format!("{} has no distilled images yet", args.run.display()),
        ));
    };
    refuse_damaged_in(&folder, is_of_set)?;
    let set = ImageSet::load(&images)?;
    atomic::replace_folder(&args.to, |fresh| match args.format {
        ExportFormat::Imagefolder => copy(&images, fresh),
        ExportFormat::Parquet => export_parquet(
            &set,
            &fresh.join("train-00000-of-00001.parquet"),
            ImageFormat::Png,
        ),
    })?;
    say!(
        "{} images of {} classes: {}",
        set.len(),
        set.class_names.len(),
        args.to.display()
    );
    Ok(())
}

/// The folder of a run that has been started.
pub fn existing(path: &Path) -> Result<RunFolder, Failure> {
    let folder = RunFolder::at(path);
    if folder.manifest()?.is_none() {
        let message = format!("{} is not a run folder (no manifest.json)", path.display());
        return Err(config_fault("run", message));
    }
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
