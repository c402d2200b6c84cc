//! `alambic import-weights` and `alambic export-weights`.

use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value as Json, json};

use crate::{
    artifact::{
        RunFolder,
        weights::{
            self, Format,
            choice::{Choice, told},
            strict,
        },
    },
    experiment::{
        failure::{Failure, config_fault},
        file::whole_numbers,
        intact::refuse_damaged_in,
        toml_json,
        weights::import::{self, Report, Request},
    },
    stages::ComponentConfig,
};

use super::{
    args::Cli,
    run::registry,
    weights_args::{ChoiceArgs, ExportWeightsArgs, ImportWeightsArgs},
};

/// `alambic import-weights`.
pub fn import(cli: &Cli, args: &ImportWeightsArgs) -> Result<(), Failure> {
    let params = match &args.params {
        Some(text) => params(text).map_err(|m| config_fault("--params", m))?,
        None => Map::new(),
    };
    let request = Request {
        file: args.file.clone(),
        architecture: ComponentConfig {
            plugin: args.architecture.clone(),
            params,
        },
        classes: args.classes as usize,
        resolution: args.resolution as usize,
        class_names: args.class_names.clone(),
        choice: choice(&args.choice),
        leave_out: args.leave_out.clone(),
        to: args.to.clone(),
    };
    let report = import::import(&registry(cli)?, &request)?;
    if args.json {
        let text = serde_json::to_string_pretty(&report).context("the report as JSON")?;
        say!("{text}");
    } else if report.written.is_some() {
        print(&request, &report);
    }
    match report.fault() {
        Some(fault) => Err(Failure::Config(vec![fault])),
        None => Ok(()),
    }
}

fn choice(args: &ChoiceArgs) -> Choice {
    Choice {
        key: args.key.clone(),
        strip_prefix: args.strip_prefix.clone(),
    }
}

/// Options as JSON, or as TOML: an inline table, or the content of its braces. Whole floats are integers, as in an experiment.
fn params(text: &str) -> Result<Map<String, Json>, String> {
    let mut read = parsed(text)?;
    read.values_mut().for_each(whole_numbers);
    Ok(read)
}

fn parsed(text: &str) -> Result<Map<String, Json>, String> {
    if let Ok(Json::Object(params)) = serde_json::from_str(text) {
        return Ok(params);
    }
    let table = match text.trim_start().starts_with('{') {
        true => format!("value = {text}"),
        false => format!("value = {{ {text} }}"),
    };
    let mut parsed = toml_json::parse(&table).ok();
    match parsed.as_mut().map(|(table, _)| table["value"].take()) {
        Some(Json::Object(params)) => {
            match parsed.and_then(|(_, faults)| faults.into_iter().next()) {
                None => Ok(params),
                Some(fault) => Err(fault.message),
            }
        }
        _ => Err(format!(
            "got {text}, expected options as TOML, such as 'depth = 50, stem = \"small\"', or a JSON object"
        )),
    }
}

fn print(request: &Request, report: &Report) {
    say!(
        "{}: {}, {} classes, {} px",
        request.to.display(),
        report.architecture.plugin,
        report.classes,
        report.resolution
    );
    let format = match report.format {
        Format::Safetensors => "safetensors",
        Format::PyTorch => "PyTorch",
    };
    let place = told(report.found_under.as_deref(), &report.prefix);
    let file = report.file.display();
    say!("  read       {file} ({format}{place})");
    if let Some(note) = &report.note {
        say!("  chosen     {note} (choose with --key)");
    }
    say!(
        "  matched    {} tensors, {} learned values",
        report.fit.matched,
        report.parameters
    );
    for (dtype, n) in &report.converted {
        say!("  converted  {n} tensors from {dtype} to f32");
    }
    if report.ignored_counters > 0 {
        say!(
            "  ignored    {} counters (num_batches_tracked)",
            report.ignored_counters
        );
    }
    if !report.left_out.is_empty() {
        say!("  left out   {} tensors", report.left_out.len());
    }
}

/// `alambic export-weights`.
pub fn export(args: &ExportWeightsArgs) -> Result<(), Failure> {
    let file = weights::file_of(&args.model);
    if args.to.symlink_metadata().is_ok() {
        let message = format!("{} already exists; choose a new file", args.to.display());
        return Err(config_fault("--to", message));
    }
    if args.model.is_dir() && !file.exists() {
        let message = format!(
            "{} has no teacher yet (no {})",
            args.model.display(),
            file.display()
        );
        return Err(config_fault("model", message));
    }
    refuse_damaged_model(&args.model)?;
    let read = weights::read(&file, &choice(&args.choice));
    let read = read.map_err(|e| config_fault("model", format!("{e:#}")))?;
    let added = strict::save(&args.to, &read)?;
    if args.json {
        say!(
            "{}",
            json!({"file": file, "tensors": read.tensors.len(), "added_counters": added, "written": args.to})
        );
        return Ok(());
    }
    say!(
        "{}: {} tensors of {}",
        args.to.display(),
        read.tensors.len(),
        file.display()
    );
    if added > 0 {
        say!("  added      {added} counters (num_batches_tracked), for PyTorch's strict loading");
    }
    Ok(())
}

/// Where the weights are those of a run, they are as the run left them.
fn refuse_damaged_model(model: &Path) -> Result<(), Failure> {
    let is_model = |file: &str| file == "squeeze/model.safetensors";
    match model.is_dir() {
        true => refuse_damaged_in(&RunFolder::at(model), is_model),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_json_and_as_toml() {
        let expected = json!({"depth": 50, "stem": "small"});
        for text in [
            r#"{"depth": 50, "stem": "small"}"#,
            r#"{ depth = 50, stem = "small" }"#,
            r#"depth = 50, stem = "small""#,
        ] {
            assert_eq!(Json::Object(params(text).unwrap()), expected, "{text}");
        }
        assert!(params("").unwrap().is_empty());
        let whole = params("width = 1e2, ratio = 0.5").unwrap();
        assert_eq!(Json::Object(whole), json!({"width": 100, "ratio": 0.5}));
        for text in ["depth", "{", "[1]", "depth = small"] {
            assert!(params(text).unwrap_err().contains(text), "{text}");
        }
    }
}
