//! The command-line arguments, as clap types.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::report::comparison::Format;

use super::{
    run_args::{CheckArgs, RunArgs, ShowArgs, SweepArgs},
    weights_args::{ExportWeightsArgs, ImportWeightsArgs},
};

/// Dataset distillation: turn a large labelled image set into a small synthetic one.
#[derive(Parser, Debug)]
#[command(version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Folder with plugins, searched before those of ALAMBIC_PLUGINS, the program's own folder and ../lib/alambic/plugins beside it; may
    /// be repeated
    #[arg(long, global = true, value_name = "DIR")]
    pub plugin_dir: Vec<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run experiments, or resume them
    Run(RunArgs),
    /// Run an experiment with several values of some keys; what its runs have in common is computed once
    Sweep(SweepArgs),
    /// Show what an experiment changes from the defaults
    Show(ShowArgs),
    /// Check an experiment without running it (plugins, options, data, sizes), and estimate time and memory
    Check(CheckArgs),
    /// List, show, check and create plugins
    Plugin {
        /// What to do
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Open plugin files that may end the process; the program itself starts it
    #[command(hide = true)]
    ProbePlugins {
        /// Plugin files
        files: Vec<PathBuf>,
    },
    /// Inspect data, and fetch public data sets
    Data {
        /// What to do
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Print a run's results
    Report(ReportArgs),
    /// Compare the files of runs with their checksums
    Verify(VerifyArgs),
    /// Compare runs side by side: accuracy, controls, bytes, time, memory
    Compare(CompareArgs),
    /// Copy the distilled images out of a run, with a dataset card
    Export(ExportArgs),
    /// Import weights from torchvision, timm or a run for use as a teacher
    ImportWeights(ImportWeightsArgs),
    /// Export a teacher's weights in the form PyTorch loads
    ExportWeights(ExportWeightsArgs),
    /// Prepare for MPI
    Mpi {
        /// What to do
        #[command(subcommand)]
        command: MpiCommand,
    },
    /// Print the completions of a shell
    Completions {
        /// Shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Write manual pages, one for each command
    Man {
        /// Folder to write them to, such as ~/.local/share/man/man1
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
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
    /// A way to make and store labels
    Relabeler,
    /// A distance between training on synthetic and on real images
    Matcher,
    /// A choice of real images to start from
    Selector,
    /// What happens to images under way between two iterations
    Canvas,
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
    /// Check that a plugin file loads and keeps its contract
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
    /// Copy plugins to where this program finds them
    Install {
        /// Plugin files, or folders of them such as target/release
        #[arg(required = true, value_name = "FILE|DIR")]
        from: Vec<PathBuf>,
        /// Folder to copy them to; ../lib/alambic/plugins beside the program's folder by default
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Create a plugin: a crate that builds and passes its tests
    New {
        /// Kind of its component
        kind: KindArg,
        /// Its name: lower case, words joined by hyphens
        name: String,
        /// What it does, in one line
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// Source of the crate alambic-plugin-api: a path, a git URL or a version
        #[arg(long, value_name = "PATH|GIT|VERSION")]
        plugin_api: Option<String>,
        /// Folder in which to create the crate
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
}

/// `alambic mpi`.
#[derive(Subcommand, Debug)]
pub enum MpiCommand {
    /// Compile what `run --ranks mpi` needs with the `mpicc` at hand, for machines that have none; print its path
    Build,
}

/// `alambic data`.
#[derive(Subcommand, Debug)]
pub enum DataCommand {
    /// Show counts, classes, sizes, mean, standard deviation and broken images
    Info {
        /// Parquet, tar or CIFAR files, a folder of those, or an ImageFolder
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Download and unpack a public data set; print the [data] table for it
    Fetch {
        /// Data set
        #[arg(value_name = "SET")]
        set: DataSetArg,
        /// Folder in which to create the data set's folder
        #[arg(long, value_name = "DIR", default_value = "data")]
        to: PathBuf,
        /// Another URL of the same archive, such as a mirror
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
    /// Print the summaries as JSON, one per line
    #[arg(long)]
    pub json: bool,
    /// Print the tables as Markdown
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
}

/// `alambic verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Run folders
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
}

/// `alambic compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// Run folders
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Also evaluate all sets under one protocol: the squeeze, relabel and validate tables of this experiment file
    #[arg(long, value_name = "FILE")]
    pub protocol: Option<PathBuf>,
    /// Override a value of the protocol: `--set validate.seeds=[0]`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "protocol")]
    pub overrides: Vec<String>,
    /// Folder for the protocol's runs; runs/compare/NAME by default, NAME being the name of its file
    #[arg(long, value_name = "DIR", requires = "protocol")]
    pub out: Option<PathBuf>,
    /// Output format of the table
    #[arg(long, value_enum, default_value = "terminal")]
    pub format: Format,
    /// Class whose images an HTML page shows side by side, a name or a number from 0; the first by default
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,
    /// Write it to a new file
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Replace the file of `--to` if it exists
    #[arg(long, requires = "to")]
    pub force: bool,
}

/// `alambic export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Run folder
    pub run: PathBuf,
    /// Folder to create
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Layout of the copy
    #[arg(long, value_enum, default_value = "imagefolder")]
    pub format: ExportFormat,
    /// Add a soft label to each image: the column `logits`, one float32 for each class in the order of the classes, whose softmax is a
    /// distribution over them. They are the labels that were learned with the images where a matcher learned some and nothing relabels;
    /// else the teachers' logits of the whole image, which the stored labels of crops and mixes are not. A parquet file has them in a
    /// column, class folders in metadata.jsonl
    #[arg(long)]
    pub soft_labels: bool,
}

/// Layout of a copy.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ExportFormat {
    /// One folder per class, named after it, for torchvision's ImageFolder and the Hugging Face `datasets` library. Where sorted names
    /// would give another order, or one cannot be a folder's, all names begin with the index of the class
    Imagefolder,
    /// One parquet file, in the layout of the `datasets` library
    Parquet,
}
