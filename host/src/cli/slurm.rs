//! A job of Slurm that was asked to end goes back into the queue, where it was submitted with `--requeue`. Slurm itself requeues what it
//! is about to kill, but a running job that ends at a signal (`sbatch --signal`, the grace time before a preemption) counts as failed.

use std::{env, process::Command};

/// Puts the job of this process back into the queue, and says so; none where it is not to be requeued.
pub fn requeue() -> Option<String> {
    let job = job(|name| env::var(name).ok())?;
    let shown = scontrol(&["show", "job", &job])?;
    if !is_requeued(&shown) {
        return None;
    }
    Some(match scontrol(&["requeue", &job]) {
        Some(_) => format!("job {job} is queued again"),
        None => format!("job {job} cannot be queued again; scontrol requeue {job} does so by hand"),
    })
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

/// The answer of `scontrol`; none where it fails.
fn scontrol(arguments: &[&str]) -> Option<String> {
    let output = Command::new("scontrol").args(arguments).output().ok()?;
    let is_done = output.status.success();
    is_done.then(|| String::from_utf8_lossy(&output.stdout).into_owned())
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
