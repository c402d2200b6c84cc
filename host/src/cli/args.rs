//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Dataset distillation: a large labelled image set into a small synthetic one.
#[derive(Parser, Debug)]
#[command(version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Folder with plugins, before ALAMBIC_PLUGINS and the folder of this program; may be given several times
    #[arg(long, global = true, value_name = "DIR")]
    pub plugin_dir: Vec<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Carry out experiments, or go on with them
    Run(RunArgs),
    /// Everything but the computing: plugins, options, data, sizes; and what time and memory it will take
    Check(CheckArgs),
    /// List, show, check and begin plugins
    Plugin {
        /// What to do
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Look at data, and fetch public sets
    Data {
        /// What to do
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Print a run's results
    Report(ReportArgs),
    /// Runs side by side: accuracy, controls, bytes, time, memory
    Compare(CompareArgs),
    /// Copy the distilled images out of a run
    Export(ExportArgs),
    /// Take weights of torchvision, timm or a run as a teacher's
    ImportWeights(ImportWeightsArgs),
    /// Hand out a teacher's weights as PyTorch loads them
    ExportWeights(ExportWeightsArgs),
}

/// Changes to an experiment file.
#[derive(Args, Debug)]
pub struct ChangeArgs {
    /// Replace a value: `--set recover.iterations=100`; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Device: auto, cpu or cuda:N
    #[arg(long)]
    pub device: Option<String>,
}

/// `alambic run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Experiment files (TOML), done in this order; a folder stands for those in it, in the order of their names
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Changes to each of them
    #[command(flatten)]
    pub changes: ChangeArgs,
    /// Do this stage and all after it again
    #[arg(long, value_name = "STAGE", conflicts_with = "only")]
    pub from: Option<String>,
    /// Do this stage alone
    #[arg(long, value_name = "STAGE")]
    pub only: Option<String>,
    /// Go on from the saved state of an unfinished stage of which `batch_size` alone has changed, after a GPU ran out of memory
    #[arg(long, conflicts_with = "from")]
    pub keep_state: bool,
    /// The run's folder, of a single experiment; runs/NAME by default
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
    /// Measure memory and the time of each operation; printed after each stage and shown in the report
    #[arg(long)]
    pub profile: bool,
}

/// `alambic check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Experiment file (TOML)
    pub file: PathBuf,
    /// Changes to it
    #[command(flatten)]
    pub changes: ChangeArgs,
    /// Leave out the estimate of time and memory, which tries a few steps
    #[arg(long)]
    pub no_estimate: bool,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// A kind of component.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KindArg {
    /// A loss on logits
    Loss,
    /// A penalty on images or statistics
    Regularizer,
    /// A network
    Architecture,
    /// A way to make and keep labels
    Relabeler,
    /// A distance between training on synthetic and on real images
    Matcher,
}

/// `alambic plugin`.
#[derive(Subcommand, Debug)]
pub enum PluginCommand {
    /// List plugins and their components
    List {
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a component's options
    Show {
        /// Name, or plugin::name
        name: String,
        /// Print the JSON schema of its options
        #[arg(long)]
        json: bool,
    },
    /// Check a plugin file: does it load, does it keep its contract
    Check {
        /// Plugin file
        path: PathBuf,
    },
    /// Run `cargo test` in a plugin's folder, on this program's tensors
    Test {
        /// The plugin's folder
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Arguments of `cargo test`
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Begin a plugin: a crate that builds and passes its tests
    New {
        /// Kind of its component
        kind: KindArg,
        /// Its name: lower case, words joined by hyphens
        name: String,
        /// Where the crate alambic-plugin-api comes from: a path, a git address or a version
        #[arg(long, value_name = "PATH|GIT|VERSION")]
        plugin_api: Option<String>,
        /// Folder in which the crate's folder is made
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
}

/// `alambic data`.
#[derive(Subcommand, Debug)]
pub enum DataCommand {
    /// Counts, classes, sizes, mean and deviation, broken images
    Info {
        /// A parquet, tar or CIFAR file, a folder of those, or an ImageFolder
        path: PathBuf,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Download a public set and unpack it; print the [data] table of an experiment on it
    Fetch {
        /// Which set
        #[arg(value_name = "SET")]
        set: DataSetArg,
        /// Folder in which the set's folder is made
        #[arg(long, value_name = "DIR", default_value = "data")]
        to: PathBuf,
        /// Another address of the same archive, such as a mirror's
        #[arg(long, value_name = "URL")]
        from: Option<String>,
    },
}

/// A public data set.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DataSetArg {
    /// CIFAR-10, 162 MiB to download
    Cifar10,
    /// CIFAR-100, 161 MiB to download
    Cifar100,
    /// Tiny-ImageNet, 237 MiB to download
    TinyImagenet,
}

/// `alambic report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Run folders
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Print the summaries as JSON, one a line
    #[arg(long)]
    pub json: bool,
    /// Print the tables as Markdown
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
}

/// `alambic compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// Run folders
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Judge all sets alike too, by the squeeze, relabel and validate tables of this experiment file
    #[arg(long, value_name = "FILE")]
    pub protocol: Option<PathBuf>,
    /// Replace a value of the protocol: `--set validate.seeds=[0]`; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "protocol")]
    pub overrides: Vec<String>,
    /// Folder of the protocol's runs; runs/compare/NAME of its file by default
    #[arg(long, value_name = "DIR", requires = "protocol")]
    pub out: Option<PathBuf>,
    /// How the table is written
    #[arg(long, value_enum, default_value = "terminal")]
    pub format: CompareFormat,
    /// Write it to a file
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// How a comparison is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum CompareFormat {
    /// Aligned columns
    Terminal,
    /// A Markdown table
    Markdown,
    /// Comma-separated values, all digits
    Csv,
    /// A list of objects, all digits
    Json,
    /// A page
    Html,
}

/// `alambic export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Run folder
    pub run: PathBuf,
    /// New folder
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Layout of the copy
    #[arg(long, value_enum, default_value = "imagefolder")]
    pub format: ExportFormat,
}

/// Layout of a copy.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ExportFormat {
    /// One folder for each class
    Imagefolder,
    /// One parquet file, in the layout of the Hugging Face `datasets` library
    Parquet,
}

/// `alambic import-weights`.
#[derive(Args, Debug)]
pub struct ImportWeightsArgs {
    /// A safetensors file, or a state dict of torch.save (.pth, .pt)
    pub file: PathBuf,
    /// Architecture, as in an experiment: a component's name
    #[arg(long, value_name = "NAME")]
    pub architecture: String,
    /// Its options, as JSON or TOML: 'depth = 50, stem = "small"'
    #[arg(long, value_name = "OPTIONS")]
    pub params: Option<String>,
    /// Classes of the classifier
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub classes: u32,
    /// Side of the images, in pixels
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub resolution: u32,
    /// Names of the classes in their order, one a line; `check` then compares them with the data's
    #[arg(long, value_name = "FILE")]
    pub class_names: Option<PathBuf>,
    /// Leave out tensors whose names begin so, as heads that only training has; may be given several times
    #[arg(long, value_name = "PREFIX")]
    pub leave_out: Vec<String>,
    /// New safetensors file
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
    /// New safetensors file
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}
