//! `alambic data`.

use anyhow::Context;

use crate::{data, experiment::run::Failure, report::table::human_bytes};

use super::args::DataCommand;

/// `alambic data info`.
pub fn data(command: &DataCommand) -> Result<(), Failure> {
    let DataCommand::Info { path, json } = command;
    let info = data::info(path).map_err(Failure::Config)?;
    if *json {
        println!(
            "{}",
            serde_json::to_string_pretty(&info).context("information as JSON")?
        );
        return Ok(());
    }
    for split in &info.splits {
        println!(
            "{}: {} images, {}, {} classes",
            split.name,
            split.images,
            human_bytes(split.encoded_bytes),
            split.classes.len()
        );
        let rounded = |v: &[f64; 3]| v.map(|x| format!("{x:.4}")).join(", ");
        println!(
            "  mean {}   std {}",
            rounded(&split.mean),
            rounded(&split.std)
        );
        for size in &split.sizes {
            println!(
                "  {:>6} images of {}x{}",
                size.count, size.width, size.height
            );
        }
        for class in split.classes.iter().take(20) {
            println!("  {:>6} {}", class.count, class.name);
        }
        if split.classes.len() > 20 {
            println!("         and {} more classes", split.classes.len() - 20);
        }
        for broken in &split.broken {
            println!("  broken: {}: {}", broken.place, broken.message);
        }
    }
    Ok(())
}
