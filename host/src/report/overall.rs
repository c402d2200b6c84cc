//! The line above the bars: which stage of how many is at work, and about how long all that remains will take.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::units::human_duration;

/// The run at work, of which a process has one.
static RUN: Mutex<Option<Stages>> = Mutex::new(None);

/// A stage that comes later.
#[derive(Clone, Debug, PartialEq)]
pub struct Later {
    /// Its name.
    pub name: String,
    /// The seconds that it has taken before, where it is done again.
    pub secs: Option<f64>,
}

/// A stage among those of its run.
#[derive(Clone, Debug, PartialEq)]
pub struct Stages {
    /// Which it is, counted from 1.
    pub number: usize,
    /// How many there are.
    pub count: usize,
    /// Those that come later.
    pub later: Vec<Later>,
    parts: Vec<Part>,
    /// Of parts that are done: their work, and the seconds that it took.
    measured: [f64; 2],
}

/// A part of a stage, which has a bar of its own.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    name: String,
    work: f64,
    is_begun: bool,
}

/// How far the bar at work is.
#[derive(Clone, Copy, Debug)]
pub struct Bar<'a> {
    /// Its name.
    pub name: &'a str,
    /// What was done before it began, what is done now, and all, in its own unit.
    pub counts: [u64; 3],
    /// Seconds since it began.
    pub secs: f64,
}

impl Bar<'_> {
    /// The share of all that was done since it began.
    fn done(&self) -> f64 {
        let [start, now, all] = self.counts;
        now.saturating_sub(start) as f64 / all.max(1) as f64
    }

    /// Seconds that it will take; none while there is nothing to tell them from.
    fn left(&self) -> Option<f64> {
        let [_, now, all] = self.counts;
        let left = all.saturating_sub(now) as f64 / all.max(1) as f64;
        match self.done() {
            _ if left == 0. => Some(0.),
            0. => None,
            done => Some(self.secs * left / done),
        }
    }
}

impl Stages {
    /// Stage `number` of `count`.
    pub fn new(number: usize, count: usize, later: Vec<Later>) -> Self {
        Self {
            number,
            count,
            later,
            parts: Vec::new(),
            measured: [0.; 2],
        }
    }

    fn part(&mut self, name: &str) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.name == name)
    }

    /// Work and seconds of what is measured, that of the bar at work included.
    fn measured_with(&self, bar: &Bar<'_>) -> [f64; 2] {
        let own = self.parts.iter().find(|part| part.name == bar.name);
        let work = own.map_or(0., |part| part.work * bar.done());
        let secs = if work > 0. { bar.secs } else { 0. };
        [self.measured[0] + work, self.measured[1] + secs]
    }

    /// Seconds of the stage at work that are left.
    fn left(&self, bar: &Bar<'_>) -> Option<f64> {
        let waiting: f64 = (self.parts.iter())
            .filter(|part| !part.is_begun)
            .map(|part| part.work)
            .sum();
        let [work, secs] = self.measured_with(bar);
        let of_parts = match waiting {
            0. => 0.,
            _ if work > 0. => waiting * secs / work,
            _ => return None,
        };
        Some(bar.left()? + of_parts)
    }

    /// The line, shorter where there are few columns.
    pub fn line(&self, bar: &Bar<'_>, columns: usize) -> String {
        let place = format!("stage {} of {}", self.number, self.count);
        let unknown = self.later.iter().filter(|stage| stage.secs.is_none());
        let unknown: Vec<&str> = unknown.map(|stage| &*stage.name).collect();
        let known: f64 = self.later.iter().filter_map(|stage| stage.secs).sum();
        let left = self.left(bar).map(|secs| human_duration(secs + known));
        let then = unknown.join(", ");
        let long = match (&left, unknown.is_empty()) {
            (Some(left), true) => format!("{place}: about {left} left in all"),
            (Some(left), false) => format!("{place}: about {left} left, then {then}"),
            (None, true) => place.clone(),
            (None, false) => format!("{place}, then {then}"),
        };
        let short = left.map_or_else(|| place.clone(), |left| format!("{place}: about {left}"));
        let fits = |line: &String| line.chars().count() <= columns;
        let line = [long, short, place].into_iter().find(fits);
        line.unwrap_or_default()
    }
}

fn run() -> MutexGuard<'static, Option<Stages>> {
    RUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stage begins; none where no run is at work any more.
pub fn enter(stage: Option<Stages>) {
    *run() = stage;
}

/// The parts of the stage at work that are still to be done: the names of their bars, and their work in any unit that they share.
pub fn expect(parts: impl IntoIterator<Item = (String, f64)>) {
    if let Some(stage) = &mut *run() {
        let parts = parts.into_iter().map(|(name, work)| Part {
            name,
            work,
            is_begun: false,
        });
        stage.parts = parts.collect();
    }
}

/// A bar begins.
pub fn begin(name: &str) {
    if let Some(part) = run().as_mut().and_then(|stage| stage.part(name)) {
        part.is_begun = true;
    }
}

/// A bar has ended.
pub fn end(bar: &Bar<'_>) {
    if let Some(stage) = &mut *run() {
        stage.measured = stage.measured_with(bar);
        // Its work is in what is measured now.
        stage.parts.retain(|part| part.name != bar.name);
    }
}

/// The line; none outside of a run.
pub fn line(bar: &Bar<'_>, columns: usize) -> Option<String> {
    run().as_ref().map(|stage| stage.line(bar, columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(known: Option<f64>) -> Vec<Later> {
        let stage = |name: &str| Later {
            name: name.to_owned(),
            secs: known,
        };
        vec![stage("relabel"), stage("validate")]
    }

    fn bar(name: &str, done: u64) -> Bar<'_> {
        Bar {
            name,
            counts: [0, done, 100],
            secs: 10.,
        }
    }

    #[test]
    fn stages_that_were_never_measured_are_named_instead() {
        let stage = Stages::new(2, 4, later(None));
        let line = |done| stage.line(&bar("recover", done), 80);
        assert_eq!(line(0), "stage 2 of 4, then relabel, validate");
        assert_eq!(
            line(25),
            "stage 2 of 4: about 30.0 s left, then relabel, validate"
        );
        let known = Stages::new(2, 4, later(Some(60.)));
        assert_eq!(
            known.line(&bar("recover", 25), 80),
            "stage 2 of 4: about 2 min 30 s left in all"
        );
    }

    #[test]
    fn parts_that_wait_take_as_long_as_their_work() {
        let mut stage = Stages::new(4, 4, Vec::new());
        let part = |name: &str, work, is_begun| Part {
            name: name.to_owned(),
            work,
            is_begun,
        };
        stage.parts = vec![
            part("a", 2., true),
            part("b", 2., false),
            part("c", 4., false),
        ];
        // Half of `a` in 10 s: 10 s for the rest of it, 20 s for `b`, 40 s for `c`.
        assert_eq!(stage.left(&bar("a", 50)), Some(70.));
        assert_eq!(stage.left(&bar("a", 0)), None, "nothing is measured yet");
        // What a bar without a part tells is its own time alone.
        stage.measured = [2., 20.];
        assert_eq!(stage.left(&bar("start", 50)), Some(10. + 60.));
    }

    #[test]
    fn work_of_before_a_resume_is_not_measured() {
        let mut stage = Stages::new(1, 1, Vec::new());
        stage.parts = vec![Part {
            name: "a".into(),
            work: 1.,
            is_begun: true,
        }];
        let resumed = Bar {
            name: "a",
            counts: [80, 90, 100],
            secs: 5.,
        };
        assert_eq!(stage.left(&resumed), Some(5.));
        assert_eq!(stage.measured_with(&resumed), [0.1, 5.]);
    }

    #[test]
    fn a_narrow_terminal_gets_a_short_line() {
        let stage = Stages::new(2, 4, later(None));
        let line = |columns| stage.line(&bar("recover", 25), columns);
        assert_eq!(line(40), "stage 2 of 4: about 30.0 s");
        assert_eq!(
            [line(20), line(12), line(5)],
            ["stage 2 of 4", "stage 2 of 4", ""]
        );
        assert!(line(80).chars().count() <= 80);
    }
}
