//! Progress of a stage on stderr: a bar on a terminal, otherwise a plain line every few seconds.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressState, ProgressStyle};

use super::units::human_duration;

/// Plain lines end up in files and job logs, where one every few seconds is enough.
const PLAIN_LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far a stage has come, how fast it goes and how long it will take.
#[derive(Debug)]
pub struct Progress {
    work: Work,
    view: View,
}

/// What is counted: the fixed part of every line.
#[derive(Clone, Debug)]
struct Work {
    stage: String,
    unit: String,
    total: u64,
    start: u64,
    started: Instant,
}

#[derive(Debug)]
enum View {
    Bar(ProgressBar),
    Lines(Mutex<LastLine>),
}

#[derive(Debug)]
struct LastLine {
    printed: Instant,
    position: u64,
    message: String,
}

impl Progress {
    /// Starts to show the progress of a stage that counts from 0 to `total` in `unit`s (plural: `images`, `epochs`).
    pub fn new(stage: &str, total: u64, unit: &str) -> Self {
        Self::starting_at(stage, 0, total, unit)
    }

    /// Like [`new`](Self::new), for a stage that resumes at `position`: what was done before does not count as speed.
    pub fn starting_at(stage: &str, position: u64, total: u64, unit: &str) -> Self {
        let started = Instant::now();
        let work = Work {
            stage: stage.into(),
            unit: unit.into(),
            total,
            start: position,
            started,
        };
        let view = match std::io::stderr().is_terminal() {
            true => View::Bar(bar(&work)),
            false => View::Lines(Mutex::new(LastLine {
                printed: started,
                position,
                message: String::new(),
            })),
        };
        Self { work, view }
    }

    /// Moves to `position`, with a message such as the current loss, which may be empty. Cheap enough for every step.
    pub fn set(&self, position: u64, message: &str) {
        match &self.view {
            View::Bar(bar) => {
                bar.set_position(position);
                bar.set_message(message.to_owned());
            }
            View::Lines(last) => {
                // A panic elsewhere cannot leave the last line half-written in a way that matters.
                let mut last = last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                last.position = position;
                last.message.clear();
                last.message.push_str(message);
                if last.printed.elapsed() >= PLAIN_LINE_EVERY {
                    last.printed = Instant::now();
                    tell!(
                        "{}",
                        self.work
                            .line(position, message, self.work.started.elapsed())
                    );
                }
            }
        }
    }

    /// Shows the last state and ends; without it, as after an error, the bar stays where it was.
    pub fn finish(self) {
        let elapsed = self.work.started.elapsed();
        match self.view {
            View::Bar(bar) => bar.abandon(),
            View::Lines(last) => {
                let last = last
                    .into_inner()
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
                tell!("{}", self.work.line(last.position, &last.message, elapsed));
            }
        }
    }
}

impl Work {
    /// `recover: 120/1000 images (12 %), 3.4 images/s, 4 min 19 s left, loss 1.2`; the time taken, once all is done.
    fn line(&self, position: u64, message: &str, elapsed: Duration) -> String {
        let Self {
            stage, unit, total, ..
        } = self;
        let percent = if *total > 0 {
            position * 100 / total
        } else {
            100
        };
        let mut line = format!("{stage}: {position}/{total} {unit} ({percent} %)");
        for part in [self.rate(position, elapsed), self.time(position, elapsed)] {
            if !part.is_empty() {
                line += &format!(", {part}");
            }
        }
        if !message.is_empty() {
            line += &format!(", {message}");
        }
        line
    }

    /// Units per second, or seconds per unit where a unit takes longer than a second; empty before the first unit.
    fn rate(&self, position: u64, elapsed: Duration) -> String {
        let per_sec = position.saturating_sub(self.start) as f64 / elapsed.as_secs_f64();
        match per_sec {
            rate if rate >= 100. && rate.is_finite() => format!("{rate:.0} {}/s", self.unit),
            rate if rate >= 1. && rate.is_finite() => format!("{rate:.1} {}/s", self.unit),
            rate if rate > 0. && rate.is_finite() => {
                // "epochs" is what is counted, "epoch" what takes its time.
                format!(
                    "{:.1} s/{}",
                    1. / rate,
                    self.unit.strip_suffix('s').unwrap_or(&self.unit)
                )
            }
            _ => String::new(),
        }
    }

    /// The time left, or at the end the time taken; empty while there is nothing to tell it from.
    fn time(&self, position: u64, elapsed: Duration) -> String {
        let done = position.saturating_sub(self.start);
        match self.total.saturating_sub(position) {
            0 => format!("took {}", human_duration(elapsed.as_secs_f64())),
            _ if done == 0 => String::new(),
            left => {
                let secs = elapsed.as_secs_f64() * left as f64 / done as f64;
                format!("{} left", human_duration(secs))
            }
        }
    }
}

fn bar(work: &Work) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(work.total), ProgressDrawTarget::stderr())
        .with_position(work.start)
        .with_prefix(work.stage.clone())
        .with_finish(ProgressFinish::Abandon);
    let key = |text: fn(&Work, u64, Duration) -> String| {
        let work = work.clone();
        move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // Writing to indicatif's line buffer does not fail.
            let _ = out.write_str(&text(&work, state.pos(), work.started.elapsed()));
        }
    };
    let style = ProgressStyle::with_template(
        "{prefix:>9} {bar:30.cyan/dim} {pos}/{len} {unit}  {rate}  {time}  {wide_msg:.dim}",
    )
    .expect("the template is valid")
    .progress_chars("━━─")
    .with_key("unit", key(|work, _, _| work.unit.clone()))
    .with_key("rate", key(Work::rate))
    .with_key("time", key(Work::time));
    bar.with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(start: u64, total: u64) -> Work {
        Work {
            stage: "recover".into(),
            unit: "images".into(),
            total,
            start,
            started: Instant::now(),
        }
    }

    #[test]
    fn a_line_tells_rate_and_time_left() {
        let line = work(0, 1000).line(120, "loss 1.2", Duration::from_secs(60));
        assert_eq!(
            line,
            "recover: 120/1000 images (12 %), 2.0 images/s, 7 min 20 s left, loss 1.2"
        );
        let slow = work(0, 10).line(2, "", Duration::from_secs(30));
        assert_eq!(
            slow,
            "recover: 2/10 images (20 %), 15.0 s/image, 2 min 00 s left"
        );
    }

    #[test]
    fn work_before_a_resume_is_not_speed() {
        let line = work(900, 1000).line(950, "", Duration::from_secs(25));
        assert_eq!(
            line,
            "recover: 950/1000 images (95 %), 2.0 images/s, 25.0 s left"
        );
        assert_eq!(
            work(900, 1000).line(900, "", Duration::ZERO),
            "recover: 900/1000 images (90 %)"
        );
    }

    #[test]
    fn the_end_tells_the_time_taken() {
        let line = work(0, 4).line(4, "", Duration::from_secs(2));
        assert_eq!(
            line,
            "recover: 4/4 images (100 %), 2.0 images/s, took 2.0 s"
        );
        assert_eq!(
            work(0, 0).line(0, "", Duration::ZERO),
            "recover: 0/0 images (100 %), took 0 ms"
        );
    }

    #[test]
    fn both_views_take_any_position() {
        let bar = Progress {
            work: work(0, 10),
            view: View::Bar(bar(&work(0, 10))),
        };
        if let View::Bar(bar) = &bar.view {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        for progress in [bar, Progress::starting_at("recover", 3, 10, "images")] {
            progress.set(5, "loss 1.0");
            progress.set(12, "");
            match &progress.view {
                View::Bar(bar) => assert_eq!(bar.position(), 12),
                View::Lines(last) => assert_eq!(last.lock().unwrap().position, 12),
            }
            progress.finish();
        }
    }
}
