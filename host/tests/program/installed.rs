//! An installed program: how it finds its plugins, what shells and `man` are told of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    common::Answer,
    support::{fixture, folder_of},
};

/// A copy of the program in `bin` of a folder, as `cargo install` leaves it: alone.
struct Installed(tempfile::TempDir);

impl Installed {
    fn new() -> Self {
        let prefix = tempfile::tempdir().unwrap();
        let program = prefix.path().join("bin/alambic");
        fs::create_dir(prefix.path().join("bin")).unwrap();
        let built = env!("CARGO_BIN_EXE_alambic");
        // A link where the file system allows one: the program is large.
        if fs::hard_link(built, &program).is_err() {
            fs::copy(built, &program).unwrap();
        }
        Self(prefix)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(below)
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        let mut program = Command::new(self.path("bin/alambic"));
        program.args(arguments);
        program.env("ALAMBIC_PLUGINS", self.path("none"));
        Answer::of(program.output().unwrap())
    }

    fn install(&self, file: &Path) -> Answer {
        self.run(&["plugin", "install", file.to_str().unwrap()])
    }
}

#[test]
fn an_empty_registry_says_where_it_looked_and_how_to_name_a_place() {
    let installed = Installed::new();
    let answer = installed.run(&["plugin", "list"]).done();
    let none = installed.path("none").display().to_string();
    let [bin, lib] = ["bin", "lib/alambic/plugins"].map(|below| installed.path(below));
    for part in [
        format!("looked in {none} (no such folder), {}, ", bin.display()),
        format!("{} (no such folder)", lib.display()),
        "--plugin-dir or ALAMBIC_PLUGINS".to_owned(),
        "`alambic plugin install`".to_owned(),
    ] {
        assert!(answer.stderr.contains(&part), "{part}: {}", answer.stderr);
    }
    assert_eq!(answer.stdout, "");
}

#[test]
fn a_program_in_bin_finds_the_plugins_in_lib() {
    let installed = Installed::new();
    let nasty = fixture("nasty", &[]);
    installed.install(&nasty).done();
    let copy = installed.path("lib/alambic/plugins/libnasty.so");
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&nasty).unwrap());
    let list = installed.run(&["plugin", "list"]).done();
    assert!(list.stdout.contains("ordinary"), "{}", list.stdout);
    assert!(!list.stderr.contains("no plugins found"), "{}", list.stderr);
    // Of a folder, what is no plugin stays; what is installed is installed again.
    let second = folder_of(&[&fixture("second", &[]), &fixture("stranger", &[]), &nasty]);
    installed.install(second.path()).done();
    installed.install(&copy).done();
    let files = fs::read_dir(installed.path("lib/alambic/plugins")).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["libnasty.so", "libsecond.so"]);
}

#[test]
fn nothing_is_installed_where_one_file_is_unfit() {
    let installed = Installed::new();
    let [nasty, stranger] = ["nasty", "stranger"].map(|name| fixture(name, &[]));
    let mut arguments = vec!["plugin", "install"];
    arguments.extend([&nasty, &stranger].map(|file| file.to_str().unwrap()));
    let empty = installed.path("bin");
    arguments.push(empty.to_str().unwrap());
    let parts = [
        "libstranger.so",
        "lacks the symbol",
        "bin: no plugins in it",
        "2 errors",
    ];
    installed.run(&arguments).refused(2, &parts);
    assert!(!installed.path("lib").exists());
}

#[test]
fn every_shell_is_told_of_every_command() {
    let installed = Installed::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = installed.run(&["completions", shell]).done().stdout;
        for word in ["export-weights", "plugin-dir", "install"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    installed
        .run(&["completions", "csh"])
        .refused(2, &["invalid value 'csh'", "zsh"]);
}

#[test]
fn every_command_has_a_manual_page() {
    let installed = Installed::new();
    let dir = installed.path("share/man/man1");
    installed.run(&["man", dir.to_str().unwrap()]).done();
    for (page, part) in [
        ("alambic.1", "synthetic"),
        ("alambic-run.1", "keep\\-state"),
        ("alambic-plugin-new.1", "plugin\\-api"),
        ("alambic-data-fetch.1", "mirror"),
    ] {
        let text = fs::read_to_string(dir.join(page)).unwrap();
        assert!(text.contains(part), "{page}: {text}");
    }
}
