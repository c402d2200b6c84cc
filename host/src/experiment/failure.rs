//! Why a run does not end well.

use crate::data::Fault;

/// Why a run did not end well.
#[derive(Debug)]
pub enum Failure {
    /// The experiment, its files or the command are at fault; nothing was computed.
    Config(Vec<Fault>),
    /// A stage failed; its state is kept.
    Run(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Run(error)
    }
}

/// A fault of the experiment or of the command.
pub fn config_fault(path: &str, message: impl Into<String>) -> Failure {
    Failure::Config(vec![Fault::new(path, message)])
}
