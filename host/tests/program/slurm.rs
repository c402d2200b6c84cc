//! Runs on a Slurm of one node, which the tests start: arrays of jobs that share stages, and a job that has to give way to another.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    common::{Lab, assert_same},
    support::{self, project, skipped},
};

/// Far more than the jobs of a test take.
const PATIENCE: Duration = Duration::from_secs(400);
const PROGRAMS: [&str; 5] = ["munged", "slurmctld", "slurmd", "sbatch", "scontrol"];

/// A Slurm of this machine, which ends with the test.
struct Cluster {
    folder: TempDir,
    daemons: Vec<Child>,
}

/// Where Debian has the programs of the system.
fn path() -> String {
    format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    )
}

fn is_there(program: &str) -> bool {
    path()
        .split(':')
        .any(|folder| Path::new(folder).join(program).is_file())
}

/// A port that nobody listens at.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Cluster {
    /// Starts it, where its programs are installed and may be started.
    fn start() -> Option<Self> {
        let what = "jobs of Slurm (program/slurm.rs)";
        if let Some(missing) = PROGRAMS.into_iter().find(|program| !is_there(program)) {
            skipped(what, &format!("no {missing} on this machine"));
            return None;
        }
        // SAFETY: geteuid reads no memory of the caller's and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            skipped(what, "only root can start a Slurm");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["state", "spool", "log"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let mut cluster = Self {
            folder,
            daemons: Vec::new(),
        };
        cluster.configure();
        let (key, socket) = (cluster.path("munge.key"), cluster.path("munge.sock"));
        let mut munged = cluster.command("munged");
        munged.args(["--foreground", "--force", "--num-threads=1"]);
        for (flag, path) in [
            ("--key-file", &key),
            ("--socket", &socket),
            ("--pid-file", &cluster.path("munged.pid")),
            ("--log-file", &cluster.path("log/munged.log")),
            ("--seed-file", &cluster.path("munged.seed")),
        ] {
            munged.arg(format!("{flag}={}", path.display()));
        }
        cluster.keep(munged);
        cluster.until("munged", || socket.exists());
        cluster.keep(cluster.command("slurmctld"));
        cluster.keep(cluster.command("slurmd"));
        cluster.until("an idle node", || {
            cluster.told("sinfo", &["-h", "-o", "%T"]).contains("idle")
        });
        Some(cluster)
    }

    fn configure(&self) {
        let host = self.told("hostname", &[]);
        let (host, at) = (host.trim(), self.folder.path().display());
        let (control, node) = (port(), port());
        let text = format!(
            "ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={at}/munge.sock,cred_expire=5
CredType=cred/munge
SlurmctldPort={control}
SlurmdPort={node}
SlurmctldPidFile={at}/slurmctld.pid
SlurmdPidFile={at}/slurmd.pid
SlurmctldLogFile={at}/log/slurmctld.log
SlurmdLogFile={at}/log/slurmd.log
StateSaveLocation={at}/state
SlurmdSpoolDir={at}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes={host} State=UP PriorityTier=10
"
        );
        fs::write(self.path("slurm.conf"), text).expect("a file");
        let key = self.path("munge.key");
        fs::write(&key, "a key of 32 bytes or more, for a test alone").expect("a file");
        let mut only_mine = fs::metadata(&key).expect("a file").permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut only_mine, 0o600);
        fs::set_permissions(&key, only_mine).expect("its owner");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.path("slurm.conf"));
        command.env("PATH", path()).current_dir(self.folder.path());
        if program.starts_with("slurm") {
            command.arg("-D");
        }
        command
    }

    fn keep(&mut self, mut command: Command) {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.daemons.push(command.spawn().expect("a daemon"));
    }

    fn told(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program).args(arguments).output();
        let output = output.expect("a program");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let since = Instant::now();
        while !is_so() {
            assert!(
                since.elapsed() < PATIENCE,
                "never came: {what}\n{}",
                self.logs()
            );
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// What the jobs and the daemons wrote.
    fn logs(&self) -> String {
        let folders = [self.folder.path().to_owned(), self.path("log")];
        let entries = folders
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok());
        let paths = entries.flatten().flatten().map(|entry| entry.path());
        let logs = paths.filter(|path| path.extension().is_some_and(|e| e == "log"));
        let read = logs.map(|path| {
            let text = fs::read_to_string(&path).unwrap_or_default();
            format!("== {}\n{text}", path.display())
        });
        read.collect()
    }

    /// Submits, with the program and its plugins in the environment.
    #[track_caller]
    fn submit(&self, command: &mut Command) -> String {
        command.env("ALAMBIC", env!("CARGO_BIN_EXE_alambic"));
        command.env("ALAMBIC_PLUGINS", support::plugin_dir());
        let output = command.output().expect("a program");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}{error}");
        told
    }

    #[track_caller]
    fn until_all_jobs_end(&self) {
        self.until("the end of all jobs", || {
            self.told("squeue", &["-h"]).trim().is_empty()
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.command("scancel").args(["-u", "root"]).output();
        for daemon in self.daemons.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn script(name: &str) -> PathBuf {
    project().join("experiments/slurm").join(name)
}

#[test]
fn arrays_of_jobs_make_the_same_bytes() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let lab = Lab::new();
    lab.run_into("whole", &[]).done();
    let mut submit = cluster.command("bash");
    submit
        .arg(script("submit.sh"))
        .arg(lab.path("experiment.toml"));
    submit.args(["4", "--cpus-per-task=1"]);
    submit.env(
        "ALAMBIC_OPTIONS",
        format!("--out {}", lab.path("run").display()),
    );
    let told = cluster.submit(&mut submit);
    assert_eq!(told.lines().count(), 7, "{told}");
    cluster.until_all_jobs_end();
    let logs = cluster.logs();
    for stage in ["recover", "relabel", "validate"] {
        let collected = format!("{stage}: collected from shard 4 of 4");
        assert!(logs.contains(&collected), "{logs}");
    }
    assert_same(&lab.results("whole"), &lab.results("run"));
}

/// Submits a run of so many iterations as a job that is queued again, and waits until it is in the midst of them.
#[track_caller]
fn requeued_job(cluster: &Cluster, lab: &Lab, iterations: &str) {
    lab.run_into("whole", &["--set", iterations]).done();
    let mut submit = cluster.command("sbatch");
    submit.args(["--requeue", "--cpus-per-task=2", "--export=ALL"]);
    submit.arg(script("stage.sbatch"));
    submit.env("EXPERIMENT", lab.path("experiment.toml"));
    let run = lab.path("run");
    let out = run.display();
    let options = format!("--set {iterations} --set checkpoint_secs=1e6 --out {out}");
    submit.env("ALAMBIC_OPTIONS", options);
    cluster.submit(&mut submit);
    let batch = run.join("recover/batch-00000.safetensors");
    cluster.until("a batch of images", || batch.exists());
}

#[track_caller]
fn goes_on(cluster: &Cluster, lab: &Lab) {
    cluster.until_all_jobs_end();
    let logs = cluster.logs();
    assert!(logs.contains("stopping at the next step"), "{logs}");
    assert!(logs.contains("squeeze: finished, skipped"), "{logs}");
    assert_same(&lab.results("whole"), &lab.results("run"));
}

#[test]
fn a_job_that_is_told_of_its_end_is_queued_again_and_goes_on() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let lab = Lab::new();
    requeued_job(&cluster, &lab, "recover.iterations=8000");
    cluster.told("scancel", &["--batch", "--signal=USR1", "1"]);
    goes_on(&cluster, &lab);
    let logs = cluster.logs();
    assert!(logs.contains("queueing job 1 again"), "{logs}");
}

#[test]
fn a_job_that_has_to_give_way_goes_on_afterwards() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let lab = Lab::new();
    requeued_job(&cluster, &lab, "recover.iterations=30000");
    let mut other = cluster.command("sbatch");
    other.args(["--partition=high", "--cpus-per-task=2", "--wrap=sleep 1"]);
    cluster.submit(&mut other);
    goes_on(&cluster, &lab);
}
