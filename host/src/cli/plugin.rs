//! `alambic plugin`.

use std::{collections::BTreeMap, env, iter, path::Path, process::Command};

use anyhow::{Context, anyhow};
use plugin_api::{
    abi::Kind,
    contract::{TENSORS_FILE, TENSORS_VARIABLE},
};
use serde_json::{Value as Json, json};

use crate::{
    experiment::failure::{Failure, config_fault},
    plugins::{
        Component, Registry,
        check::{Outcome, check_all},
        installed_folder,
        names::hint,
        scaffold::{PluginApi, write_plugin},
        schema::words::{OptionWords, options},
    },
    say::visible,
};

use super::{
    args::{Cli, KindArg, PluginCommand},
    install::install,
    run::{prober, registry},
};

/// `alambic plugin`.
pub fn plugin(cli: &Cli, command: &PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::List { json } => list(&registry(cli)?, *json),
        PluginCommand::Show { name, json } => show(&registry(cli)?, name, *json),
        PluginCommand::Check { path } => check(path),
        PluginCommand::Test { dir, args } => test(dir, args),
        PluginCommand::Install { from, to } => install(from, to.as_deref()),
        PluginCommand::New {
            kind,
            name,
            description,
            plugin_api,
            dir,
        } => {
            let api = plugin_api.as_deref();
            new(*kind, name, description.as_deref(), api, dir)
        }
    }
}

fn check(path: &Path) -> Result<(), Failure> {
    let registry = Registry::of_file(path, prober().as_ref());
    let registry = registry.map_err(|e| config_fault("plugin", e.to_string()))?;
    let checks = check_all(&registry, &BTreeMap::new());
    for check in &checks {
        say!("{check}");
    }
    let failed = checks
        .iter()
        .filter(|c| matches!(c.outcome, Outcome::Failed(_)))
        .count();
    match failed {
        0 => Ok(()),
        n => Err(Failure::Run(anyhow!(
            "{n} of {} checks failed",
            checks.len()
        ))),
    }
}

fn test(dir: &Path, args: &[String]) -> Result<(), Failure> {
    let program = env::current_exe().context("cannot find this program's own file")?;
    let beside = program.with_file_name(TENSORS_FILE);
    let installed = installed_folder().map(|folder| folder.join(TENSORS_FILE));
    let mut candidates = iter::once(beside.clone()).chain(installed);
    let Some(library) = candidates.find(|library| library.is_file()) else {
        let lacks = "not found: `cargo build --release` puts it beside the program, `alambic plugin install` where an installed one finds it";
        return Err(config_fault(
            "plugin test",
            format!("{}: {lacks}", beside.display()),
        ));
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("test").args(args).current_dir(dir);
    let status = cargo.env(TENSORS_VARIABLE, library).status();
    let status = status.with_context(|| format!("cannot run cargo in {}", dir.display()))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::Run(anyhow!("tests of {} failed", dir.display()))),
    }
}

fn new(
    kind: KindArg,
    name: &str,
    description: Option<&str>,
    plugin_api: Option<&str>,
    dir: &Path,
) -> Result<(), Failure> {
    let kind = match kind {
        KindArg::Loss => Kind::LOSS,
        KindArg::Regularizer => Kind::REGULARIZER,
        KindArg::Architecture => Kind::ARCHITECTURE,
        KindArg::Relabeler => Kind::RELABELER,
        KindArg::Matcher => Kind::MATCHER,
        KindArg::Selector => Kind::SELECTOR,
        KindArg::Canvas => Kind::CANVAS,
    };
    let Ok(api) = plugin_api.map_or_else(|| Ok(PluginApi::default()), str::parse::<PluginApi>);
    let written = write_plugin(kind, name, description, &api, dir)
        .map_err(|e| config_fault("plugin new", e.to_string()))?;
    say!("{}", written.display());
    say!(
        "  alambic plugin test    its contract and its gradient; run in its folder, like the next"
    );
    say!("  cargo build --release  then pass its target/release with --plugin-dir");
    Ok(())
}

fn list(registry: &Registry, json: bool) -> Result<(), Failure> {
    if json {
        let rows = registry.components().iter().map(|c| {
            let plugin = &c.plugin;
            json!({
                "kind": c.kind.name(),
                "name": c.name,
                "description": c.description,
                "plugin": plugin.name,
                "version": plugin.version,
                "path": plugin.path,
            })
        });
        say!("{}", Json::Array(rows.collect()));
        return Ok(());
    }
    for kind in Kind::ALL {
        let components = registry.components().iter();
        let own: Vec<&Component> = components.filter(|c| c.kind == kind).collect();
        let width = own.iter().map(|c| c.name.len()).max().unwrap_or(0);
        for c in own {
            let plugin = &c.plugin;
            say!(
                "{:<13} {:<width$}  {} ({} {})",
                kind.name(),
                visible(&c.name),
                visible(&c.description),
                visible(&plugin.name),
                visible(&plugin.version)
            );
        }
    }
    Ok(())
}

fn show(registry: &Registry, name: &str, json: bool) -> Result<(), Failure> {
    let found = registry.named(name);
    if found.is_empty() {
        return Err(config_fault("plugin", unknown(registry, name)));
    }
    for component in found {
        if json {
            say!(
                "{}",
                serde_json::to_string_pretty(&component.schema).context("schema as JSON")?
            );
            continue;
        }
        let plugin = &component.plugin;
        say!(
            "{} \"{}\": {}",
            component.kind.name(),
            visible(&component.name),
            visible(&component.description)
        );
        say!(
            "plugin {} {}, {}",
            plugin.name,
            plugin.version,
            plugin.path.display()
        );
        if let Some(text) = component.schema["description"].as_str() {
            say!("\n{text}");
        }
        print_options(&component.schema);
    }
    Ok(())
}

fn unknown(registry: &Registry, name: &str) -> String {
    let components = registry.components().iter();
    let have: Vec<&str> = components.map(|c| c.name.as_str()).collect();
    format!("unknown component \"{name}\" {}", hint(name, &have))
}

fn print_options(schema: &Json) {
    let options = options(schema);
    if options.is_empty() {
        say!("\nno options");
        return;
    }
    say!("\noptions (params):");
    let width = options.iter().map(|o| o.name.len()).max().unwrap_or(0);
    for OptionWords { name, docs, facts } in options {
        say!("  {name:<width$}  {docs} ({facts})");
    }
}
