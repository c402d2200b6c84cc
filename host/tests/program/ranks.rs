//! Runs of several processes that MPI connects: they end with the bytes of one process, whatever their number and whatever dies.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    common::{Answer, Lab, assert_same},
    support::{self, skipped},
};

/// Far more than what is waited for takes.
const PATIENCE: Duration = Duration::from_secs(200);
const OPTIONS: [&str; 4] = [
    "--set",
    "checkpoint_secs=0",
    "--set",
    "recover.iterations=30",
];

/// Whether `mpirun` and `mpicc` are there.
fn is_there() -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    for program in ["mpirun", "mpicc"] {
        if !path
            .split(':')
            .any(|folder| Path::new(folder).join(program).is_file())
        {
            skipped(
                "runs of several processes (program/ranks.rs)",
                &format!("no {program}"),
            );
            return false;
        }
    }
    true
}

/// `mpirun` of Open MPI, of more processes than there are cores if need be.
fn mpirun(lab: &Lab, count: usize, arguments: &[&str]) -> Command {
    mpirun_with(lab, count, &[&OPTIONS[..], arguments].concat())
}

/// The same without the options of all.
fn mpirun_with(lab: &Lab, count: usize, arguments: &[&str]) -> Command {
    let mut command = Command::new("mpirun");
    command.args([
        "--allow-run-as-root",
        "--oversubscribe",
        "--bind-to",
        "none",
    ]);
    command.args([
        "-n",
        &count.to_string(),
        env!("CARGO_BIN_EXE_alambic"),
        "run",
    ]);
    command
        .arg(lab.path("experiment.toml"))
        .args(["--ranks", "mpi", "--out"]);
    command.arg(lab.path("run")).args(arguments);
    command.env("ALAMBIC_PLUGINS", support::plugin_dir());
    command.env("XDG_CACHE_HOME", support::nested_target_dir().join("cache"));
    command
}

fn carried_out(mut command: Command) -> Answer {
    let output: Output = command.output().expect("mpirun starts");
    Answer::of(output)
}

#[test]
fn ranks_of_any_number_make_the_same_bytes() {
    if !is_there() {
        return;
    }
    let lab = Lab::new();
    lab.run_into("whole", &OPTIONS).done();
    for count in [2, 3] {
        let answer = carried_out(mpirun(&lab, count, &[])).done();
        let told = format!(", {count} ranks on 1 node");
        assert!(answer.stderr.contains(&told), "{}", answer.stderr);
        // One of them tells.
        assert_eq!(
            answer.stdout.matches("report: ").count(),
            1,
            "{}",
            answer.stdout
        );
        assert_eq!(answer.stderr.matches(&told).count(), 1, "{}", answer.stderr);
        for share in 1..=count {
            let collected = format!("relabel: collected from shard {share} of {count}");
            assert!(answer.stderr.contains(&collected), "{}", answer.stderr);
        }
        assert_same(&lab.results("whole"), &lab.results("run"));
        let ranks = lab.json("manifest.json")["ranks"].to_string();
        assert!(ranks.contains(&told), "{ranks}");
        fs::remove_dir_all(lab.path("run")).expect("a run folder");
    }
}

#[test]
fn trainings_in_parts_make_the_same_bytes_with_any_number_of_ranks() {
    if !is_there() {
        return;
    }
    let parts = [
        "--set",
        "squeeze.micro_batches=4",
        "--set",
        "validate.micro_batches=3",
    ];
    let shared = [
        "--set",
        "squeeze.batch_norm=\"synchronised\"",
        "--set",
        "validate.batch_norm=\"synchronised\"",
    ];
    let mut made = Vec::new();
    for options in [parts.to_vec(), [&parts[..], &shared].concat()] {
        let lab = Lab::new();
        lab.run_into("whole", &[&OPTIONS[..], &options].concat())
            .done();
        // One of five has nothing to do.
        for count in [2, 3, 5] {
            let answer = carried_out(mpirun(&lab, count, &options)).done();
            let idle = "squeeze: micro_batches = 4 gives work to 4 of 5 ranks";
            assert_eq!(
                answer.stderr.contains(idle),
                count == 5,
                "{}",
                answer.stderr
            );
            assert_same(&lab.results("whole"), &lab.results("run"));
            fs::remove_dir_all(lab.path("run")).expect("a run folder");
        }
        made.push(lab.results("whole").remove("squeeze/model.safetensors"));
    }
    assert_ne!(made[0], made[1], "statistics of parts and of batches");
}

/// What GPUs hand each other goes by MPI here; the kernels that add it up are theirs.
#[test]
fn parts_on_an_emulated_gpu_add_up_to_the_same_bytes() {
    if !is_there() {
        return;
    }
    let short = [
        "--only",
        "squeeze",
        "--set",
        "squeeze.epochs=1",
        "--set",
        "squeeze.micro_batches=4",
        "--set",
        "squeeze.batch_norm=\"synchronised\"",
    ];
    let lab = Lab::new();
    let emulated = |mut command: Command| {
        command.env("ALAMBIC_EMULATED_GPU", "1");
        carried_out(command).done()
    };
    emulated(lab.command("whole", &short));
    emulated(mpirun_with(&lab, 2, &short));
    assert_same(&lab.results("whole"), &lab.results("run"));
    lab.run_into("cpu", &short).done();
    let model = "squeeze/model.safetensors";
    let of = |run: &str| lab.results(run).remove(model).expect("a teacher");
    assert_ne!(
        of("cpu"),
        of("run"),
        "not a bit of difference: was it run there?"
    );
}

#[test]
fn experts_in_parts_are_trained_by_all_ranks() {
    if !is_there() {
        return;
    }
    let experts = [
        "--set",
        "experts={ count = 2, epochs = 2, batch_size = 64, micro_batches = 2 }",
        "--set",
        "match.matcher={ plugin = \"trajectory\", params = { expert_epochs = 1, max_start_epoch = 1, steps = 2 } }",
        "--set",
        "match.learning_rate={}",
        "--set",
        "match.iterations=2",
        "--set",
        "data.whitening={ kind = \"zca\" }",
    ];
    let lab = Lab::matching();
    lab.run_into("whole", &experts).done();
    let command = mpirun_with(&lab, 2, &experts);
    carried_out(command).done();
    assert_same(&lab.results("whole"), &lab.results("run"));
    let trajectory = "experts/trajectories/expert-00001/epoch-0002.safetensors";
    let of = |run: &str| fs::read(lab.path(run).join(trajectory)).expect("a trajectory");
    assert_eq!(of("whole"), of("run"));
}

/// The process of a rank, by its environment.
fn process_of(rank: usize, run: &Path) -> Option<libc::pid_t> {
    let wanted = format!("OMPI_COMM_WORLD_RANK={rank}");
    let entries = fs::read_dir("/proc").expect("processes");
    let mut processes = entries.flatten().filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let read = |name: &str| fs::read(entry.path().join(name)).ok();
        let has =
            |bytes: &[u8], text: &str| bytes.split(|b| *b == 0).any(|part| part == text.as_bytes());
        let is_it =
            has(&read("environ")?, &wanted) && has(&read("cmdline")?, &run.to_string_lossy());
        is_it.then_some(number)
    });
    processes.next()
}

#[track_caller]
fn until(what: &str, mpirun: &mut Child, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        let ended = mpirun.try_wait().expect("a child can be asked");
        assert_eq!(ended, None, "it ended before {what}");
        assert!(since.elapsed() < PATIENCE, "never came: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Kills a rank of three at a moment, and lets two go on.
fn dies_and_goes_on(options: &[&str], state: &str) {
    let lab = Lab::new();
    lab.run_into("whole", &[&OPTIONS[..], options].concat())
        .done();
    let mut command = mpirun(&lab, 3, options);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("mpirun starts");
    let state = lab.path("run").join(state);
    until("a state", &mut child, || state.exists());
    let process = process_of(1, &lab.path("run")).expect("rank 1");
    // SAFETY: kill takes any numbers; the process is of this test's own launcher.
    assert_eq!(unsafe { libc::kill(process, libc::SIGKILL) }, 0);
    let since = Instant::now();
    let status = child.wait().expect("mpirun ends");
    assert!(!status.success(), "{status}");
    assert!(since.elapsed() < PATIENCE, "the others go on");
    carried_out(mpirun(&lab, 2, options)).done();
    assert_same(&lab.results("whole"), &lab.results("run"));
}

#[test]
fn a_rank_that_dies_ends_the_others_and_another_number_goes_on() {
    if !is_there() {
        return;
    }
    let long = ["--set", "recover.iterations=3000"];
    dies_and_goes_on(&long, "shards/2-of-3/recover/checkpoint.safetensors");
}

#[test]
fn so_it_does_in_a_training_of_all() {
    if !is_there() {
        return;
    }
    let long = [
        "--set",
        "squeeze.micro_batches=4",
        "--set",
        "squeeze.epochs=12",
    ];
    dies_and_goes_on(&long, "squeeze/checkpoint.safetensors");
}

#[test]
fn processes_that_do_not_know_each_other_and_faults_are_told_once() {
    if !is_there() {
        return;
    }
    let lab = Lab::new();
    let mut alone = lab.command("run", &["--ranks", "mpi"]);
    alone.env("SLURM_NTASKS", "4");
    let answer = Answer::of(alone.output().expect("the program starts"));
    answer.refused(
        2,
        &[
            "--ranks: the launcher has started 4 processes",
            "MPI knows 1",
        ],
    );
    assert!(!lab.path("run").exists());
    let mut without = lab.command("run", &["--ranks", "mpi"]);
    without.env("ALAMBIC_MPICC", "/no/mpicc");
    let answer = Answer::of(without.output().expect("the program starts"));
    answer.refused(2, &["--ranks: cannot start /no/mpicc", "libopenmpi-dev"]);
    let answer = carried_out(mpirun(&lab, 3, &["--set", "recover.iteratons=1"]));
    assert_eq!(answer.code, Some(2), "{}", answer.stderr);
    let fault = "unknown field \"iteratons\"";
    assert_eq!(answer.stderr.matches(fault).count(), 1, "{}", answer.stderr);
}
