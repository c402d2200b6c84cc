//! Failures as lines on the terminal and as exit codes.

use crate::{data::Fault, experiment::failure::Failure};

/// The run failed.
pub const FAILED: u8 = 1;
/// The command or a configuration is at fault.
pub const USAGE: u8 = 2;

/// Tells a failure, and gives the exit code that it has.
pub fn tell(failure: &Failure) -> u8 {
    match failure {
        Failure::Config(faults) => {
            print_faults(faults);
            USAGE
        }
        Failure::Run(error) => {
            tell!("error: {}", without_backtrace(&format!("{error:#}")));
            FAILED
        }
    }
}

/// Errors of candle carry a backtrace in their text when RUST_BACKTRACE is set; the message comes before it.
fn without_backtrace(text: &str) -> String {
    let is_frame = |line: &str| {
        let number = line.trim_start().split(':').next().unwrap_or_default();
        line.starts_with(' ') && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    let message: Vec<&str> = text.lines().take_while(|line| !is_frame(line)).collect();
    message.join("\n").trim_end().to_owned()
}

fn print_faults(faults: &[Fault]) {
    for fault in faults {
        tell!("error: {fault}");
    }
    if faults.len() > 1 {
        tell!("{} errors", faults.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backtraces_are_left_out() {
        let text = "stage x stopped: bad dtype\n   0: candle_core::error\n             at file.rs:3\n   1: main\n";
        assert_eq!(without_backtrace(text), "stage x stopped: bad dtype");
        assert_eq!(
            without_backtrace("two\n  teacher: 0 cat"),
            "two\n  teacher: 0 cat"
        );
    }
}
