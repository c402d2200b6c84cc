//! The arguments of `alambic import-weights` and `alambic export-weights`.

use std::path::PathBuf;

use clap::Args;

/// Which weights of a file are meant.
#[derive(Args, Debug)]
pub struct ChoiceArgs {
    /// Key of the weights in a file with several, such as model_ema; below other keys joined by dots, empty for the whole file
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Remove this prefix from the names, and leave out the tensors without it
    #[arg(long, value_name = "PREFIX")]
    pub strip_prefix: Option<String>,
}

/// `alambic import-weights`.
#[derive(Args, Debug)]
pub struct ImportWeightsArgs {
    /// A safetensors file, or a state dict saved by torch.save (.pth, .pt)
    pub file: PathBuf,
    /// Architecture, as in an experiment: a component's name
    #[arg(long, value_name = "NAME")]
    pub architecture: String,
    /// Its options, as JSON or TOML: 'depth = 50, stem = "small"'
    #[arg(long, value_name = "OPTIONS")]
    pub params: Option<String>,
    /// Number of classes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub classes: u32,
    /// Side of the images, in pixels
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub resolution: u32,
    /// Class names in order, one per line; `check` then compares them with those of the data
    #[arg(long, value_name = "FILE")]
    pub class_names: Option<PathBuf>,
    /// Which weights
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Leave out tensors whose names have this prefix, such as auxiliary heads; may be repeated
    #[arg(long, value_name = "PREFIX")]
    pub leave_out: Vec<String>,
    /// Safetensors file to create
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// `alambic export-weights`.
#[derive(Args, Debug)]
pub struct ExportWeightsArgs {
    /// Run folder, or a file of weights
    pub model: PathBuf,
    /// Which weights
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Safetensors file to create
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}
