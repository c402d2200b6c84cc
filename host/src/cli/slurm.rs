//! A job of Slurm that was asked to end goes back into the queue, where it was submitted with `--requeue`. Slurm itself requeues what it
//! is about to kill, but a running job that ends at a signal (`sbatch --signal`, the grace time before a preemption) counts as failed.

use std::{env, os::unix::process::ExitStatusExt, process::Command};

/// A running job that is to go back into the queue once it ends.
pub struct Requeued {
    job: String,
}

impl Requeued {
    /// The job of this process; none outside of one, and where it is not to be requeued.
    pub fn of_this_process() -> Option<Self> {
        let job = job(|name| env::var(name).ok())?;
        let shown = scontrol(&["show", "job", &job]).ok()?;
        is_requeued(&shown).then_some(Self { job })
    }

    /// Puts it there, and says so first: Slurm ends the processes of what it queues, this one and the `scontrol` that asks for it.
    pub fn queue(&self) {
        let job = &self.job;
        tell!("queueing job {job} again");
        if scontrol(&["requeue", job]) == Err(Failure::Refused) {
            tell!("job {job} cannot be queued again; scontrol requeue {job} does so by hand");
        }
    }
}

/// The job as Slurm names it, one of an array with its place.
fn job(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let of_array = || {
        let array = variable("SLURM_ARRAY_JOB_ID")?;
        let task = variable("SLURM_ARRAY_TASK_ID")?;
        Some(format!("{array}_{task}"))
    };
    of_array().or_else(|| variable("SLURM_JOB_ID"))
}

/// Whether a job is to go back into the queue: it may, and neither has somebody cancelled it nor has Slurm put it there.
fn is_requeued(shown: &str) -> bool {
    ["Requeue=1", "JobState=RUNNING"]
        .iter()
        .all(|wanted| shown.split_whitespace().any(|field| field == *wanted))
}

/// Why `scontrol` has no answer.
#[derive(Debug, PartialEq)]
enum Failure {
    /// It is not there, or says no.
    Refused,
    /// A signal ended it.
    Ended,
}

/// The answer of `scontrol`.
fn scontrol(arguments: &[&str]) -> Result<String, Failure> {
    answer(Command::new("scontrol").args(arguments))
}

fn answer(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|_| Failure::Refused)?;
    match (output.status.success(), output.status.signal()) {
        (true, _) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        (false, Some(_)) => Err(Failure::Ended),
        (false, None) => Err(Failure::Refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_an_array_has_its_place() {
        let of = |set: &[(&str, &str)]| {
            job(|name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let (alone, array) = (("SLURM_JOB_ID", "7"), ("SLURM_ARRAY_JOB_ID", "5"));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[alone]).as_deref(), Some("7"));
        let all = of(&[alone, array, ("SLURM_ARRAY_TASK_ID", "3")]);
        assert_eq!(all.as_deref(), Some("5_3"));
    }

    #[test]
    fn what_a_signal_ends_was_not_refused() {
        let of = |line: &str| answer(Command::new("sh").args(["-c", line]));
        assert_eq!(of("printf yes").as_deref(), Ok("yes"));
        assert_eq!(of("exit 1"), Err(Failure::Refused));
        assert_eq!(of("kill -TERM $$"), Err(Failure::Ended));
        let missing = &mut Command::new("a program that nobody has");
        assert_eq!(answer(missing), Err(Failure::Refused));
    }

    #[test]
    fn what_was_cancelled_stays_so() {
        let shown = |state: &str, requeue: &str| {
            format!(
                "JobId=7 JobName=x\n   JobState={state} Reason=None\n   Requeue={requeue} Restarts=0"
            )
        };
        assert!(is_requeued(&shown("RUNNING", "1")));
        assert!(!is_requeued(&shown("RUNNING", "0")));
        assert!(!is_requeued(&shown("CANCELLED", "1")));
        assert!(!is_requeued(&shown("COMPLETING", "1")));
        assert!(!is_requeued(""));
    }
}
