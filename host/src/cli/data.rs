//! `alambic data`.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::{
    data::{
        self, Spread,
        fetch::{self, DataSet, Watch},
    },
    experiment::failure::{Failure, config_fault},
    report::{progress::Progress, units::human_bytes},
    say::visible,
};

use super::args::{DataCommand, DataSetArg};

/// `alambic data`.
pub fn data(command: &DataCommand) -> Result<(), Failure> {
    match command {
        DataCommand::Info { paths, json } => info(paths, *json),
        DataCommand::Fetch { set, to, from } => {
            let set = match set {
                DataSetArg::Cifar10 => fetch::CIFAR10,
                DataSetArg::Cifar100 => fetch::CIFAR100,
                DataSetArg::TinyImagenet => fetch::TINY_IMAGENET,
            };
            fetch_set(&set, to, from.as_deref())
        }
    }
}

fn fetch_set(set: &DataSet, to: &Path, from: Option<&str>) -> Result<(), Failure> {
    if let Some(address) = from
        && !["http://", "https://"]
            .iter()
            .any(|s| address.starts_with(s))
    {
        let message = format!(
            "got \"{address}\", expected a URL that starts with https:// or http://; to use a local file, put it at {}",
            to.join(set.archive).display()
        );
        return Err(config_fault("--from", message));
    }
    let folder = fetch::fetch(set, to, from, &mut Screen::default())?;
    tell!("{}; to use it in an experiment:", folder.display());
    say_part!("{}", set.table(&folder));
    Ok(())
}

/// Lines and progress on stderr; the table on stdout stays alone.
#[derive(Default)]
struct Screen(Option<Progress>);

impl Watch for Screen {
    fn note(&mut self, line: &str) {
        // A bar that is still being drawn would be drawn over the line.
        self.0 = None;
        tell!("{line}");
    }

    fn begin(&mut self, work: &str, position: u64, total: u64, unit: &str) {
        self.0 = Some(Progress::starting_at(work, position, total, unit));
    }

    fn at(&mut self, position: u64) {
        if let Some(progress) = &self.0 {
            progress.set(position, "");
        }
    }

    fn end(&mut self) {
        if let Some(progress) = self.0.take() {
            progress.finish();
        }
    }
}

fn info(paths: &[PathBuf], json: bool) -> Result<(), Failure> {
    let info = data::info(paths).map_err(Failure::Config)?;
    if json {
        say!(
            "{}",
            serde_json::to_string_pretty(&info).context("information as JSON")?
        );
        return Ok(());
    }
    for split in &info.splits {
        say!(
            "{}: {} images, {}, {} classes",
            split.name,
            split.images,
            human_bytes(split.encoded_bytes),
            split.classes.len()
        );
        let rounded = |v: &[f64; 3]| v.map(|x| format!("{x:.4}")).join(", ");
        say!(
            "  mean {}   std {}",
            rounded(&split.mean),
            rounded(&split.std)
        );
        if split.num_sizes > 1 {
            say!("  {} sizes", split.num_sizes);
        }
        for (side, spread) in [("width", split.widths), ("height", split.heights)] {
            if let Some(Spread { min, median, max }) = spread.filter(|s| s.min < s.max) {
                say!("  {side:<6} minimum {min}, median {median}, maximum {max} px");
            }
        }
        for size in &split.sizes {
            say!(
                "  {:>6} images of {}x{}",
                size.count,
                size.width,
                size.height
            );
        }
        for class in split.classes.iter().take(20) {
            say!("  {:>6} {}", class.count, visible(&class.name));
        }
        if split.classes.len() > 20 {
            say!("         and {} more classes", split.classes.len() - 20);
        }
        for broken in &split.broken {
            say!("  broken: {}: {}", broken.place, broken.message);
        }
    }
    Ok(())
}
