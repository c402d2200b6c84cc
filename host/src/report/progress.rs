//! Progress of a stage on stderr: on a terminal a bar below the line of the run, otherwise a plain line every few seconds.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{
    ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressState, ProgressStyle, WeakProgressBar,
};

use super::{
    bar::{self, Parts},
    overall,
    units::human_duration,
};

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
    Bar(ProgressBar, Arc<Mutex<String>>),
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
        overall::begin(stage);
        let view = match std::io::stderr().is_terminal() {
            true => {
                let message = Arc::default();
                let bar = bar(&work, &message);
                *locked(&SHOWN) = Some(bar.downgrade());
                View::Bar(bar, message)
            }
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
            View::Bar(bar, shown) => {
                message.clone_into(&mut locked(shown));
                bar.set_position(position);
            }
            View::Lines(last) => {
                let mut last = locked(last);
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
            View::Bar(bar, message) => {
                overall::end(&self.work.bar(bar.position()));
                // The line of the run goes on above the next bar.
                bar.set_style(style(&self.work, &message, false));
                bar.abandon();
            }
            View::Lines(last) => {
                let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
                overall::end(&self.work.bar(last.position));
                tell!("{}", self.work.line(last.position, &last.message, elapsed));
            }
        }
    }
}

impl Work {
    /// How far it is, for the line of the run.
    fn bar(&self, position: u64) -> overall::Bar<'_> {
        overall::Bar {
            name: &self.stage,
            counts: [self.start, position, self.total],
            secs: self.started.elapsed().as_secs_f64(),
        }
    }

    /// The line of a bar on a terminal of so many columns.
    fn bar_line(&self, position: u64, message: &str, elapsed: Duration, columns: usize) -> String {
        let [rate, time] = [self.rate(position, elapsed), self.time(position, elapsed)];
        let parts = Parts {
            name: &self.stage,
            share: position as f64 / self.total.max(1) as f64,
            texts: [
                (0, &format!("{position}/{}", self.total)),
                (2, &self.unit),
                (3, &rate),
                (1, &time),
                (4, message),
            ],
        };
        bar::line(&parts, columns)
    }

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

/// A bar below the line of the run, each as wide as the terminal.
fn bar(work: &Work, message: &Arc<Mutex<String>>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(work.total), ProgressDrawTarget::stderr())
        .with_position(work.start)
        .with_finish(ProgressFinish::Abandon);
    bar.set_style(style(
        work,
        message,
        overall::line(&work.bar(work.start), 0).is_some(),
    ));
    bar
}

fn style(work: &Work, message: &Arc<Mutex<String>>, below_a_run: bool) -> ProgressStyle {
    let template = if below_a_run {
        "{run}\n{line}"
    } else {
        "{line}"
    };
    let columns = || Term::stderr().size().1.into();
    let (of_run, of_line, message) = (work.clone(), work.clone(), Arc::clone(message));
    ProgressStyle::with_template(template)
        .expect("the template is valid")
        .with_key(
            "run",
            move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let line = overall::line(&of_run.bar(state.pos()), columns());
                // Writing to indicatif's line buffer does not fail.
                let _ = out.write_str(&line.unwrap_or_default());
            },
        )
        .with_key(
            "line",
            move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let elapsed = of_line.started.elapsed();
                let line = of_line.bar_line(state.pos(), &locked(&message), elapsed, columns());
                let _ = out.write_str(&line);
            },
        )
}

/// A panic elsewhere cannot leave what is behind these locks half-written in a way that matters.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bar on the terminal, if there is one.
static SHOWN: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// Takes the bar off the terminal while something else is printed.
pub fn beside_the_bar(print: impl FnOnce()) {
    let shown = locked(&SHOWN).as_ref().and_then(WeakProgressBar::upgrade);
    match shown {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
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
        let message = Arc::default();
        let bar = bar(&work(0, 10), &message);
        bar.set_draw_target(ProgressDrawTarget::hidden());
        let bar = Progress {
            work: work(0, 10),
            view: View::Bar(bar, message),
        };
        for progress in [bar, Progress::starting_at("recover", 3, 10, "images")] {
            progress.set(5, "loss 1.0");
            progress.set(12, "");
            match &progress.view {
                View::Bar(bar, _) => assert_eq!(bar.position(), 12),
                View::Lines(last) => assert_eq!(last.lock().unwrap().position, 12),
            }
            progress.finish();
        }
    }

    #[test]
    fn a_bar_is_as_wide_as_the_terminal_at_any_position() {
        let work = work(900, 12_000);
        for (position, secs) in [
            (900, 0),
            (950, 1),
            (4321, 3600),
            (12_000, 90_000),
            (13_000, 1),
        ] {
            let elapsed = Duration::from_secs(secs);
            for columns in [160, 80, 40] {
                let line = work.bar_line(position, "batch 3/12, loss 2.3026", elapsed, columns);
                assert_eq!(console::measure_text_width(&line), columns, "{line}");
            }
            let line = work.bar_line(position, "loss 1", elapsed, 15);
            assert!(console::measure_text_width(&line) <= 15, "{line}");
        }
    }
}
