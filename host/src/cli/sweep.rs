//! `alambic sweep`: the runs of one experiment that differ in some keys, each in a folder of its own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use serde_json::Value as Json;

use crate::{
    artifact::RunFolder,
    data::Fault,
    experiment::{
        failure::Failure,
        finished::is_finished,
        plan::{Plan, plan_checked},
        reuse, run,
        selection::Selection,
        sweep::Sweep,
    },
    plugins::Registry,
    report::{comparison::Format, summary::Summary},
};

use super::{
    args::{Cli, CompareArgs},
    compare, interrupt,
    run::{Ready, checked, json_of, read, registry, tell_notes},
    run_args::SweepArgs,
    told,
};

/// A run of the sweep.
struct Member {
    name: String,
    json: Json,
    folder: PathBuf,
}

/// Runs all points one after the other, once no fault was found in any. One that fails does not stop the others.
pub fn sweep(cli: &Cli, args: &SweepArgs) -> Result<(), Failure> {
    interrupt::goes_on_as_typed();
    interrupt::listen().context("cannot listen for signals")?;
    let registry = registry(cli)?;
    let members = members(args)?;
    let mut faults = Vec::new();
    let mut plans = Vec::new();
    for member in &members {
        let place =
            |fault: Fault| Fault::new(format!("{}: {}", member.name, fault.path), fault.message);
        match planned(member, args, &registry) {
            Ok(plan) => plans.push(plan),
            Err(Failure::Config(found)) => faults.extend(found.into_iter().map(place)),
            Err(other) => return Err(other),
        }
    }
    if !faults.is_empty() {
        return Err(Failure::Config(faults));
    }
    if args.dry_run {
        return say_plans(args, &members, &plans);
    }
    carry_out(cli, args, &members, &registry)
}

fn members(args: &SweepArgs) -> Result<Vec<Member>, Failure> {
    let mut json = read(&args.file, &args.changes)?;
    let own = Sweep::taken_from(&mut json).map_err(Failure::Config)?;
    let mut sweep = own.unwrap_or_default();
    if let Some(list) = &args.list {
        sweep.add_file(list).map_err(Failure::Config)?;
    }
    let added: Result<Vec<()>, Fault> = args.grid.iter().map(|g| sweep.add_grid(g)).collect();
    added.map_err(|fault| Failure::Config(vec![fault]))?;
    let name = json["name"].as_str().unwrap_or_default();
    let root = args.out.clone();
    let root = root.unwrap_or_else(|| Path::new("runs").join(name));
    let points = sweep.points().map_err(Failure::Config)?;
    let (mut members, mut faults) = (Vec::new(), Vec::new());
    for point in points {
        let folder = root.join(&point.name);
        match point.applied_to(&json) {
            Ok(json) => members.push(Member {
                name: point.name,
                json,
                folder,
            }),
            Err(found) => faults.extend(found),
        }
    }
    match faults.is_empty() {
        true => Ok(members),
        false => Err(Failure::Config(faults)),
    }
}

fn planned(member: &Member, args: &SweepArgs, registry: &Registry) -> Result<Plan, Failure> {
    let Ready { checked, base } = checked(&member.json, &args.file, registry)?;
    reuse::runs(&checked.experiment, &base, &args.reuse)?;
    Ok(plan_checked(&checked, registry, &base)?)
}

/// The stages of each run: finished already, taken from where, or computed.
fn say_plans(args: &SweepArgs, members: &[Member], plans: &[Plan]) -> Result<(), Failure> {
    say!(
        "{}: {} runs, no errors found",
        args.file.display(),
        members.len()
    );
    let mut makers: BTreeMap<&str, String> = BTreeMap::new();
    for (member, plan) in members.iter().zip(plans) {
        let folder = RunFolder::at(&member.folder);
        let manifest = folder.manifest()?;
        let others = reuse::origins(&folder, plan, &args.reuse)?;
        let mut parts: Vec<(String, Vec<&str>)> = Vec::new();
        for (stage, other) in plan.stages.iter().zip(others) {
            let is_there = manifest.as_ref().is_some_and(|m| is_finished(m, stage));
            let how = match (is_there, other, makers.get(stage.hash.as_str())) {
                (true, ..) => "finished".to_owned(),
                (_, Some(run), _) => format!("taken from {}", run.display()),
                (_, _, Some(maker)) => format!("taken from {maker}"),
                _ => "computed".to_owned(),
            };
            let maker = || member.name.clone();
            makers.entry(&stage.hash).or_insert_with(maker);
            let name = stage.stage.name();
            match parts.iter_mut().find(|(known, _)| *known == how) {
                Some((_, stages)) => stages.push(name),
                None => parts.push((how, vec![name])),
            }
        }
        say!("{}", member.name);
        for (how, stages) in parts {
            say!("  {}: {how}", stages.join(", "));
        }
    }
    Ok(())
}

fn carry_out(
    cli: &Cli,
    args: &SweepArgs,
    members: &[Member],
    registry: &Registry,
) -> Result<(), Failure> {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (i, member) in members.iter().enumerate() {
        tell!("run {} of {}: {}", i + 1, members.len(), member.name);
        match run_one(member, args, &done, registry) {
            Ok(summary) => {
                if args.json {
                    say_part!("{}", json_of(&summary)?);
                }
                done.push(member.folder.clone());
            }
            Err(failure) => {
                told::tell(&failure);
                failed.push(member.name.as_str());
            }
        }
    }
    if !args.json && !done.is_empty() {
        let shown = CompareArgs {
            runs: done,
            class: None,
            protocol: None,
            overrides: Vec::new(),
            out: None,
            format: Format::Terminal,
            to: None,
            force: false,
        };
        compare::run(cli, &shown)?;
    }
    match failed.as_slice() {
        [] => Ok(()),
        failed => Err(Failure::Run(anyhow!(
            "{} of {} runs failed: {}; run the same command again to resume",
            failed.len(),
            members.len(),
            failed.join(", ")
        ))),
    }
}

fn run_one(
    member: &Member,
    args: &SweepArgs,
    before: &[PathBuf],
    registry: &Registry,
) -> Result<Summary, Failure> {
    let Ready { checked, base } = checked(&member.json, &args.file, registry)?;
    tell_notes(&checked);
    let mut runs = reuse::runs(&checked.experiment, &base, &args.reuse)?;
    runs.extend(before.iter().cloned());
    let all = Selection::default();
    run::run(
        &checked,
        registry,
        &base,
        member.folder.clone(),
        &all,
        &runs,
    )
}
