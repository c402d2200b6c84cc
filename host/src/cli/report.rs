//! `alambic report`.

use std::path::Path;

use crate::{
    artifact::RunFolder,
    experiment::{
        compare,
        failure::{Failure, config_fault},
        intact::refuse_damaged_in,
    },
    report::{summary::Summary, table::TableFormat},
};

use super::{
    args::ReportArgs,
    run::{json_of, text_of},
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
            say_part!("{}", json_of(&summary)?);
        } else {
            say!("{}", summary.name);
            say_part!("{}", text_of(&summary, format));
            say!("report: {}", folder.page().display());
        }
    }
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
