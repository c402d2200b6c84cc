//! A share of the units that a stage consists of, for one of several processes; and the folder within a run in which it is done.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result};

use super::{RunFolder, Stage, atomic, folder::SHARES, own_files};

/// The most shares. Each is a process of its own.
const MOST: u32 = 1_000_000;
/// What begins the file of a pass of labels that waits for the others.
const PASS: &str = "pass-";

/// Share `number` of `of`, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// Which.
    pub number: u32,
    /// Of how many.
    pub of: u32,
}

impl Share {
    /// Whether a unit, counted from 0, belongs to it: share 3 of 16 has the units 2, 18, ...
    pub fn has(self, unit: usize) -> bool {
        unit % self.of as usize == self.number as usize - 1
    }

    /// How many of so many units belong to it.
    pub fn count(self, units: usize) -> usize {
        (0..units).filter(|unit| self.has(*unit)).count()
    }

    /// The run folder that it works in, within that of the run.
    pub fn folder(self, run: &RunFolder) -> PathBuf {
        run.root().join(SHARES).join(self.name())
    }

    /// The run that such a folder is within; the folder's own where it is within none.
    pub fn run(folder: &RunFolder) -> RunFolder {
        let run = folder.root().ancestors().nth(2);
        RunFolder::at(run.unwrap_or(folder.root()))
    }

    fn name(self) -> String {
        format!("{}-of-{}", self.number, self.of)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (number, of) = text.split_once('/')?;
            let share = Self {
                number: number.parse().ok()?,
                of: of.parse().ok()?,
            };
            ((1..=MOST).contains(&share.of) && (1..=share.of).contains(&share.number))
                .then_some(share)
        };
        read().ok_or_else(|| "expected K/N with K from 1 to N, such as 3/16".to_owned())
    }
}

impl RunFolder {
    /// The folders of shares in this one, by their names.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn shares(&self) -> Result<Vec<Self>> {
        let folder = self.root().join(SHARES);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let read = || -> std::io::Result<Vec<PathBuf>> {
            let entries = fs::read_dir(&folder)?.map(|entry| Ok(entry?.path()));
            entries.collect()
        };
        let mut paths = read().with_context(|| format!("cannot read {}", folder.display()))?;
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let share = name.replacen("-of-", "/", 1).parse::<Share>();
            share.is_ok_and(|share| share.name() == name)
        });
        paths.sort();
        Ok(paths.into_iter().map(Self::at).collect())
    }

    /// Moves the finished units of a stage from the folder of a share to this one. What is here already stays: it is the same.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn take_units(&self, stage: Stage, share: &Self) -> Result<()> {
        let own = share.root().join(stage.name());
        let mut units = Vec::new();
        for file in own_files::below(&own)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let is_file = name.starts_with("batch-") || name.starts_with(PASS);
            if is_file && own_files::own(&name).is_some() {
                units.push(Path::new(stage.name()).join(&file));
            }
            // A training is finished once its outcome is there.
            let training = file.parent().filter(|_| name == "metrics.json");
            units.extend(training.map(|folder| Path::new(stage.name()).join(folder)));
        }
        let events = units.clone().into_iter();
        let events = events.map(|unit| Path::new("events").join(unit));
        for unit in units.iter().cloned().chain(events) {
            take(&share.root().join(&unit), &self.root().join(&unit))?;
        }
        Ok(())
    }

    /// Removes the folder of a share, from which nothing more is needed; what a user keeps there stays, and is told.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn dissolve(&self) -> Result<()> {
        for stage in Stage::ALL {
            self.clear_stage(stage)?;
        }
        for file in [self.manifest_path(), self.experiment(), self.lock()] {
            atomic::remove(&file)?;
        }
        for folder in [Some(self.root()), self.root().parent()] {
            let left = folder.map(own_files::remove_empty);
            if left == Some(false) {
                break;
            }
        }
        Ok(())
    }
}

fn take(from: &Path, to: &Path) -> Result<()> {
    if !from.exists() || to.join("metrics.json").exists() || to.is_file() {
        return Ok(());
    }
    // A training that was begun here is finished there.
    if to.is_dir() {
        own_files::carry_over(to, from)?;
    }
    let moved = || -> std::io::Result<()> {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        if to.is_dir() {
            fs::remove_dir_all(to)?;
        }
        fs::rename(from, to)
    };
    moved().with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

/// The file of a pass of labels that waits for the others.
pub fn pass_file(store: &Path, pass: u32) -> PathBuf {
    store.join(format!("{PASS}{pass:05}.safetensors"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_belongs_to_one_share() {
        let share: Share = "3/16".parse().unwrap();
        assert_eq!((share.number, share.of), (3, 16));
        assert!(share.has(2) && share.has(18) && !share.has(3));
        for of in 1..5 {
            let shares: Vec<Share> = (1..=of).map(|number| Share { number, of }).collect();
            for unit in 0..20 {
                assert_eq!(shares.iter().filter(|s| s.has(unit)).count(), 1);
            }
            let counts = shares.iter().map(|share| share.count(7));
            assert_eq!(counts.sum::<usize>(), 7);
        }
        for wrong in [
            "",
            "3",
            "0/4",
            "5/4",
            "1/0",
            "-1/2",
            "a/b",
            "1/2/3",
            "1/1000001",
        ] {
            let error = wrong.parse::<Share>().unwrap_err();
            assert!(error.starts_with("expected K/N"), "{wrong}: {error}");
        }
    }

    #[test]
    fn finished_units_move_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFolder::at(dir.path());
        let share = RunFolder::at("2/3".parse::<Share>().unwrap().folder(&run));
        let write = |folder: &RunFolder, file: &str, text: &str| {
            let path = folder.root().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).ok();
        write(
            &share,
            "validate/distilled/net-seed0/metrics.json",
            "theirs",
        );
        write(&share, "validate/distilled/net-seed0/log.jsonl", "log");
        write(&share, "validate/distilled/net-seed1/log.jsonl", "begun");
        write(&share, "events/validate/distilled/net-seed0/x", "event");
        write(&share, "recover/batch-00001.safetensors", "theirs");
        write(&share, "recover/batch-00002.safetensors", "theirs");
        write(&share, "recover/checkpoint.safetensors", "begun");
        write(&share, "notes.txt", "mine");
        write(&run, "recover/batch-00001.safetensors", "ours");
        write(&run, "validate/distilled/net-seed0/log.jsonl", "begun");
        let shares = run.shares().unwrap();
        assert_eq!(shares.len(), 1);
        run.take_units(Stage::Validate, &shares[0]).unwrap();
        run.take_units(Stage::Recover, &shares[0]).unwrap();
        for (file, text) in [
            ("validate/distilled/net-seed0/metrics.json", Some("theirs")),
            ("validate/distilled/net-seed0/log.jsonl", Some("log")),
            ("validate/distilled/net-seed1/log.jsonl", None),
            ("events/validate/distilled/net-seed0/x", Some("event")),
            ("recover/batch-00001.safetensors", Some("ours")),
            ("recover/batch-00002.safetensors", Some("theirs")),
            ("recover/checkpoint.safetensors", None),
        ] {
            assert_eq!(read(file).as_deref(), text, "{file}");
        }
        shares[0].dissolve().unwrap();
        assert_eq!(read("shards/2-of-3/notes.txt").as_deref(), Some("mine"));
        fs::remove_file(dir.path().join("shards/2-of-3/notes.txt")).unwrap();
        shares[0].dissolve().unwrap();
        assert!(!dir.path().join(SHARES).exists());
    }
}
