//! `[sweep]`: the runs of one experiment that differ in some keys, by name.

use std::{collections::BTreeSet, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::{data::Fault, plugins::schema::join, regular};

use super::{checks::parts::folder_name_fault, file, toml_json};

/// The table's name.
pub const TABLE: &str = "sweep";
/// Runs of one sweep.
const MOST_RUNS: usize = 10_000;
/// Characters of a value that stands in a run's name as it is.
const LONGEST_VALUE: usize = 40;

/// Runs that differ: every one that is listed, with every combination of the values in the grid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Keys of the experiment, each with the list of its values: `validate.loss.params.temperature = [1, 4, 16]`
    #[serde(default)]
    pub grid: Map<String, Json>,
    /// Runs by name
    #[serde(default)]
    pub runs: Vec<Listed>,
}

/// A run with a name of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Name of the run and of its folder
    pub name: String,
    /// What is changed, as `--set` has it: `KEY=VALUE`
    #[serde(default)]
    pub set: Vec<String>,
}

/// A run of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its name within the sweep.
    pub name: String,
    /// Keys and their values.
    pub changes: Vec<(String, Json)>,
}

impl Sweep {
    /// Takes the table out of an experiment; nothing where it has none.
    ///
    /// # Errors
    /// What is wrong with its form.
    pub fn taken_from(json: &mut Json) -> Result<Option<Self>, Vec<Fault>> {
        let table = json.as_object_mut().and_then(|json| json.remove(TABLE));
        table.map(|table| Self::read(table, TABLE)).transpose()
    }

    /// Adds the runs of a file that holds what `[sweep]` would.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn add_file(&mut self, path: &Path) -> Result<(), Vec<Fault>> {
        let place = path.display().to_string();
        let fault = |message: String| vec![Fault::new(place.clone(), message)];
        let text =
            regular::read_to_string(path).map_err(|e| fault(format!("cannot be read: {e}")))?;
        let (json, faults) = toml_json::parse(&text)
            .map_err(|e| fault(format!("not valid TOML: {}", e.message())))?;
        if !faults.is_empty() {
            return Err(faults);
        }
        let Self { grid, runs } = Self::read(json, &place)?;
        self.grid.extend(grid);
        self.runs.extend(runs);
        Ok(())
    }

    /// Adds `KEY=[VALUE, ..]` to the grid, in place of what it has of the key.
    ///
    /// # Errors
    /// When it has another form.
    pub fn add_grid(&mut self, text: &str) -> Result<(), Fault> {
        let place = || format!("--grid {text}");
        let (key, values) =
            file::assignment(text).map_err(|e| Fault::new(place(), format!("{e:#}")))?;
        if !values.is_array() {
            return Err(Fault::new(place(), "expected KEY=[VALUE, ..]"));
        }
        self.grid.insert(key, values);
        Ok(())
    }

    fn read(table: Json, place: &str) -> Result<Self, Vec<Fault>> {
        let faults = file::faults_of::<Self>(&table).into_iter();
        let faults: Vec<Fault> = faults
            .map(|(path, message)| Fault::new(join(place, &path), message))
            .collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        serde_json::from_value(table).map_err(|e| vec![Fault::new(place, e.to_string())])
    }

    /// All its runs, in the order of the list and of the values.
    ///
    /// # Errors
    /// For lists without values, names that no folder can have or that come twice, and where there is no run.
    pub fn points(&self) -> Result<Vec<Point>, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut points = self.listed(&mut faults);
        for (key, values) in axes(&self.grid, &mut faults) {
            if points.len().saturating_mul(values.len()) > MOST_RUNS {
                let message = format!("more than {MOST_RUNS} runs");
                faults.push(Fault::new("sweep.grid", message));
                break;
            }
            let with = |point: &Point, (place, value): (usize, &Json)| {
                let own = format!("{key}={}", short(value, place));
                let name = [point.name.clone(), own];
                let name: Vec<String> = name.into_iter().filter(|n| !n.is_empty()).collect();
                let mut changes = point.changes.clone();
                changes.push((key.clone(), value.clone()));
                Point {
                    name: name.join(","),
                    changes,
                }
            };
            let all = points.iter();
            let all = all.flat_map(|p| values.iter().enumerate().map(move |v| with(p, v)));
            points = all.collect();
        }
        if self.grid.is_empty() && self.runs.is_empty() {
            let message =
                "no runs: expected values in [sweep.grid], [[sweep.runs]], --grid or --list";
            faults.push(Fault::new(TABLE, message));
        }
        let mut seen = BTreeSet::new();
        for point in &points {
            if let Some(message) = folder_name_fault(&point.name) {
                let hint = "give the runs names of their own in [[sweep.runs]]";
                faults.push(Fault::new(
                    TABLE,
                    format!("a run's name: {message}; {hint}"),
                ));
            } else if !seen.insert(&point.name) {
                let message = format!("two runs have the name \"{}\"", point.name);
                faults.push(Fault::new(TABLE, message));
            }
        }
        match faults.is_empty() {
            true => Ok(points),
            false => Err(faults),
        }
    }

    /// The runs of the list; one without a name where there is none, for the grid to begin with.
    fn listed(&self, faults: &mut Vec<Fault>) -> Vec<Point> {
        let mut points = Vec::new();
        for (i, run) in self.runs.iter().enumerate() {
            let mut changes = Vec::new();
            for (k, text) in run.set.iter().enumerate() {
                match file::assignment(text) {
                    Ok(change) => changes.push(change),
                    Err(error) => faults.push(Fault::new(
                        format!("sweep.runs[{i}].set[{k}]"),
                        format!("{error:#}"),
                    )),
                }
            }
            points.push(Point {
                name: run.name.clone(),
                changes,
            });
        }
        if points.is_empty() {
            points.push(Point {
                name: String::new(),
                changes: Vec::new(),
            });
        }
        points
    }
}

impl Point {
    /// The experiment of this run: `base` under the name `<base>/<name>`, with its changes.
    ///
    /// # Errors
    /// A fault for each change that leads nowhere.
    pub fn applied_to(&self, base: &Json) -> Result<Json, Vec<Fault>> {
        let (mut json, mut faults) = (base.clone(), Vec::new());
        for (key, value) in &self.changes {
            if let Err(error) = file::set(&mut json, key, value.clone()) {
                faults.push(Fault::new(key.clone(), format!("{error:#}")));
            }
        }
        if let Some(name) = base.get("name").and_then(Json::as_str) {
            json["name"] = Json::String(format!("{name}/{}", self.name));
        }
        file::whole_numbers(&mut json);
        match faults.is_empty() {
            true => Ok(json),
            false => Err(faults),
        }
    }
}

/// The keys of a grid with their values. Keys that were written with dots are tables within each other.
fn axes(grid: &Map<String, Json>, faults: &mut Vec<Fault>) -> Vec<(String, Vec<Json>)> {
    fn walk(
        table: &Map<String, Json>,
        at: &str,
        axes: &mut Vec<(String, Vec<Json>)>,
        faults: &mut Vec<Fault>,
    ) {
        for (key, value) in table {
            let key = join(at, key);
            let place = || join("sweep.grid", &key);
            match value {
                Json::Object(below) => walk(below, &key, axes, faults),
                Json::Array(values) if values.is_empty() => {
                    faults.push(Fault::new(place(), "an empty list, expected values"));
                }
                Json::Array(values) => axes.push((key, values.clone())),
                other => faults.push(Fault::new(
                    place(),
                    format!("got {other}, expected a list of values"),
                )),
            }
        }
    }
    let mut found = Vec::new();
    walk(grid, "", &mut found, faults);
    found
}

/// A value as part of a name; where it cannot be one, its place in the list, counted from 1.
fn short(value: &Json, place: usize) -> String {
    let text = match value {
        Json::String(text) => text.clone(),
        Json::Array(_) | Json::Object(_) | Json::Null => String::new(),
        plain => plain.to_string(),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    match !text.is_empty() && text.len() <= LONGEST_VALUE && text.chars().all(fits) {
        true => text,
        false => format!("#{}", place + 1),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sweep(table: Json) -> Sweep {
        let mut json = json!({"name": "a", "sweep": table});
        Sweep::taken_from(&mut json).unwrap().unwrap()
    }

    fn names(sweep: &Sweep) -> Vec<String> {
        let points = sweep.points().unwrap().into_iter();
        points.map(|point| point.name).collect()
    }

    #[test]
    fn a_grid_has_every_combination_of_its_values() {
        let grid = json!({"grid": {"x": {"t": [1, 2.5]}, "y.z": ["a", [1, 2], "b/c"]}});
        assert_eq!(
            names(&sweep(grid.clone())),
            [
                "x.t=1,y.z=a",
                "x.t=1,y.z=#2",
                "x.t=1,y.z=#3",
                "x.t=2.5,y.z=a",
                "x.t=2.5,y.z=#2",
                "x.t=2.5,y.z=#3",
            ]
        );
        let points = sweep(grid).points().unwrap();
        let experiment = points[4].applied_to(&json!({"name": "a", "x": {"u": 3}}));
        assert_eq!(
            experiment.unwrap(),
            json!({"name": "a/x.t=2.5,y.z=#2", "x": {"t": 2.5, "u": 3}, "y": {"z": [1, 2]}})
        );
    }

    #[test]
    fn listed_runs_have_their_own_names_and_every_point_of_the_grid() {
        let mut both = sweep(json!({"runs": [
            {"name": "plain"},
            {"name": "none", "set": ["recover.regularizers=[]", "seed = 1"]},
        ]}));
        assert_eq!(names(&both), ["plain", "none"]);
        let changes = &both.points().unwrap()[1].changes;
        let expected = [("recover.regularizers", json!([])), ("seed", json!(1))];
        assert_eq!(
            *changes,
            expected.map(|(key, value)| (key.to_owned(), value))
        );
        both.add_grid("t=[1, 2]").unwrap();
        assert_eq!(
            names(&both),
            ["plain,t=1", "plain,t=2", "none,t=1", "none,t=2"]
        );
        // What is given by hand replaces what the file has.
        both.add_grid("t=[3]").unwrap();
        assert_eq!(names(&both), ["plain,t=3", "none,t=3"]);
    }

    #[test]
    fn what_is_no_sweep_is_told() {
        for (table, part) in [
            (json!({}), "no runs"),
            (json!({"grid": {"a": []}}), "sweep.grid.a: an empty list"),
            (
                json!({"grid": {"a": 1}}),
                "sweep.grid.a: got 1, expected a list",
            ),
            (
                json!({"runs": [{"name": "a"}, {"name": "a"}]}),
                "two runs have the name \"a\"",
            ),
            (json!({"runs": [{"name": "a/b"}]}), "without slashes"),
            (
                json!({"runs": [{"name": "a", "set": ["b"]}]}),
                "sweep.runs[0].set[0]: expected KEY=VALUE",
            ),
            (
                json!({"grid": {"a": [1, 1]}}),
                "two runs have the name \"a=1\"",
            ),
            (
                json!({"grid": {"a": vec![0; 101], "b": vec![0; 101]}}),
                "more than 10000 runs",
            ),
        ] {
            let faults = sweep(table).points().unwrap_err();
            let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
            assert!(
                text.iter().any(|line| line.contains(part)),
                "{part}: {text:?}"
            );
        }
        let mut json = json!({"sweep": {"grd": {}}});
        let faults = Sweep::taken_from(&mut json).unwrap_err();
        assert_eq!(faults[0].path, "sweep");
        assert!(sweep(json!({})).add_grid("a=1").is_err());
    }
}
