//! Kills at moments that nobody chose, in every stage: the same command goes on, and every byte is that of a run that nobody disturbed.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use plugin_api::rng::{Rng, StreamId};

use crate::{
    common::{Lab, assert_same},
    is_whole,
};

const OPTIONS: [&str; 2] = ["--set", "checkpoint_secs=0"];
/// Kills of a run before it may end.
const KILLS: u64 = 10;

#[test]
fn kills_at_random_moments_change_no_byte() {
    let enough = if is_whole() { 200 } else { 3 };
    let lab = Lab::new();
    let start = Instant::now();
    lab.run_into("whole", &OPTIONS).done();
    let seconds = start.elapsed().as_secs_f64();
    let whole = lab.results("whole");
    let (mut killed, mut round) = (0, 0);
    while killed < enough {
        let mut moments = Rng::new(round, "campaign", "kills", StreamId::default());
        for _ in 0..KILLS {
            let mut command = lab.command("run", &OPTIONS);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut run = command.spawn().expect("the program starts");
            // A third of the way at most, so that ten kills meet all stages.
            let moment = moments.uniform() * seconds / 3.;
            thread::sleep(Duration::from_secs_f64(moment));
            killed += u64::from(run.try_wait().expect("a child").is_none());
            run.kill()
                .expect("a child that can be killed, or has ended");
            run.wait().expect("the child ends");
        }
        lab.run(&OPTIONS).done();
        assert_same(&whole, &lab.results("run"));
        std::fs::remove_dir_all(lab.path("run")).expect("a run folder");
        round += 1;
        assert!(killed >= round, "the runs are over before the kills");
    }
    println!("{killed} kills in {round} runs: the same bytes");
}
