//! `alambic data fetch` against a real web server on this machine: broken lines, changed files, bad archives.

mod archives;
mod server;

use std::{fs, net::TcpListener, path::Path, process::Command};

use crate::common::{Answer, files};
use alambic::data::fetch::{DataSet, Watch, fetch};
use server::{Server, Site};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The program, without the proxy that this machine may have.
fn data(arguments: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alambic"));
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    let output = command.arg("data").args(arguments).output();
    Answer::of(output.expect("the program starts"))
}

/// `alambic data fetch SET` from a server.
fn program(set: &str, to: &Path, server: &Server) -> Answer {
    let to = to.to_str().expect("a plain path");
    data(&["fetch", set, "--to", to, "--from", server.address()])
}

fn tiny(to: &Path, server: &Server) -> Answer {
    program("tiny-imagenet", to, server)
}

/// Lines for the eye, collected.
#[derive(Default)]
struct Lines(Vec<String>);

impl Watch for Lines {
    fn note(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }
    fn begin(&mut self, _work: &str, _position: u64, _total: u64, _unit: &str) {}
    fn at(&mut self, _position: u64) {}
    fn end(&mut self) {}
}

/// The library's way, for sets with a checksum of the test's own.
fn library(set: &DataSet, to: &Path, server: &Server) -> Result<Lines, String> {
    let mut lines = Lines::default();
    fetch(set, to, Some(server.address()), &mut lines).map_err(|error| format!("{error:#}"))?;
    Ok(lines)
}

/// Names in a folder, hidden ones included.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |e: std::io::Result<fs::DirEntry>| e.expect("an entry").file_name();
    let mut names: Vec<String> = entries
        .map(|e| name(e).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_broken_connection_is_resumed_within_one_command() {
    let archive = archives::tiny_imagenet();
    let half = archive.len() / 2;
    let server = Server::start(Site {
        cuts: vec![half],
        ..Site::of(archive)
    });
    let dir = folder();
    let to = dir.path().join("new/data");
    let answer = tiny(&to, &server).done();
    let stderr = &answer.stderr;
    let range = Some(format!("bytes={half}-"));
    assert_eq!(server.asked("range:"), [None, range], "{stderr}");
    let tag = Some("\"1\"".to_owned());
    assert_eq!(server.asked("if-range:"), [None, tag]);
    assert!(stderr.contains(&format!("resuming after {half} bytes")));
    assert!(stderr.contains("no checksum is published"), "{stderr}");
    assert!(stderr.contains("warning: this differs from the published set"));
    assert_eq!(names(&to), ["tiny-imagenet"]);

    // What is printed is a table that an experiment takes, of a set that the program reads.
    let table: toml::Table = answer.stdout.parse().expect("TOML");
    let data_table = &table["data"];
    assert_eq!(data_table["resolution"].as_integer(), Some(64));
    for (key, counts) in [("train", [2, 1]), ("test", [1, 1])] {
        let path = data_table[key].as_str().expect("a path");
        let info = data(&["info", path, "--json"]).done();
        let info: serde_json::Value = serde_json::from_str(&info.stdout).expect("JSON");
        let classes = &info["splits"][0]["classes"];
        for (class, (name, count)) in ["n01", "n02"].iter().zip(counts).enumerate() {
            assert_eq!(classes[class]["name"], **name, "{info}");
            assert_eq!(classes[class]["count"], count, "{info}");
        }
    }
}

#[test]
fn a_second_command_goes_on_where_the_first_stopped() {
    let archive = archives::cifar100();
    let set = archives::cifar100_set(&archive);
    let server = Server::start(Site {
        cuts: vec![5000],
        fails: Some((1, 403)),
        ..Site::of(archive)
    });
    let dir = folder();
    let error = library(&set, dir.path(), &server).err().expect("half");
    assert!(error.contains("got status 403"), "{error}");
    let part = dir.path().join("cifar-100-binary.tar.gz.part");
    assert_eq!(fs::metadata(&part).expect("it is kept").len(), 5000);

    server.site().fails = None;
    library(&set, dir.path(), &server).expect("it is whole");
    let range = Some("bytes=5000-".to_owned());
    assert_eq!(server.asked("range:"), [None, range.clone(), range]);
    assert_eq!(names(dir.path()), ["cifar100"]);
    let test = fs::read(dir.path().join("cifar100/test.bin")).expect("a file");
    assert_eq!(test, archives::noise(1, 2 * 3074));
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let archive = archives::cifar100();
    let set = archives::cifar100_set(&archive);
    let server = Server::start(Site {
        cuts: vec![5000],
        ranges: false,
        ..Site::of(archive)
    });
    let dir = folder();
    let lines = library(&set, dir.path(), &server).expect("it is whole").0;
    assert_eq!(server.site().requests.len(), 2);
    assert!(lines.iter().any(|l| l.contains("from the start")));
}

#[test]
fn versions_of_a_file_are_not_glued_together() {
    let archive = archives::cifar100();
    let set = archives::cifar100_set(&archive);
    // A server that keeps to `If-Range` sends the new file at once; one that does not is found out by the tag it tells.
    for (conditions, num_requests) in [(true, 3), (false, 4)] {
        let server = Server::start(Site {
            cuts: vec![5000],
            fails: Some((1, 403)),
            conditions,
            ..Site::of(archives::noise(3, archive.len()))
        });
        let dir = folder();
        library(&set, dir.path(), &server).err().expect("half");
        {
            let mut site = server.site();
            (site.body, site.etag, site.fails) = (archive.clone(), "\"2\"", None);
        }
        library(&set, dir.path(), &server).expect("the checksum is the new file's");
        assert_eq!(server.site().requests.len(), num_requests);
    }
}

#[test]
fn a_wrong_checksum_is_told_and_the_file_set_aside() {
    let server = Server::start(Site::of(archives::cifar100()));
    let dir = folder();
    let answer = program("cifar100", dir.path(), &server);
    let parts = [
        "wrong checksum: got MD5",
        "expected 03b5dce01913d631647c71ecec9e9cb8",
        "cifar-100-binary.tar.gz.bad",
        "--from",
    ];
    answer.refused(1, &parts);
    let expected = [".cifar100.lock", "cifar-100-binary.tar.gz.bad"];
    assert_eq!(names(dir.path()), expected);
    assert_eq!(answer.stdout, "");
}

#[test]
fn truncated_archives_are_told_with_file_and_place() {
    let whole = archives::cifar100();
    let cut = whole[..whole.len() - 3000].to_vec();
    let set = archives::cifar100_set(&cut);
    let server = Server::start(Site::of(cut));
    let dir = folder();
    let error = library(&set, dir.path(), &server).err().expect("half");
    for part in [
        "cifar-100-binary.tar.gz: damaged in \"cifar-100-binary/train.bin\", at byte",
        "truncated",
        "cifar-100-binary.tar.gz.bad",
    ] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    assert!(!dir.path().join("cifar100").exists());

    let zip = archives::tiny_imagenet();
    let server = Server::start(Site::of(zip[..zip.len() - 100].to_vec()));
    let dir = folder();
    let parts = ["tiny-imagenet-200.zip: got", "truncated", ".zip.bad"];
    tiny(dir.path(), &server).refused(1, &parts);
    let expected = [".tiny-imagenet.lock", "tiny-imagenet-200.zip.bad"];
    assert_eq!(names(dir.path()), expected);
}

#[test]
fn servers_that_are_not_there_or_have_no_such_file() {
    let dir = folder();
    let to = dir.path().to_str().expect("a plain path");
    let server = Server::start(Site {
        fails: Some((0, 404)),
        ..Site::of(Vec::new())
    });
    let parts = [server.address(), "got status 404", "expected 200", "--from"];
    tiny(dir.path(), &server).refused(1, &parts);

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!(
        "http://{}/set",
        listener.local_addr().expect("a bound port")
    );
    drop(listener);
    let answer = data(&["fetch", "cifar10", "--to", to, "--from", &address]);
    answer.refused(1, &[&address, "connection refused", "check the network"]);

    let answer = data(&["fetch", "cifar10", "--to", to, "--from", "ftp://a/b"]);
    answer.refused(2, &["--from: got \"ftp://a/b\"", "cifar-10-binary.tar.gz"]);
}

#[test]
fn a_whole_set_is_left_alone_and_a_broken_one_is_told() {
    let server = Server::start(Site::of(archives::tiny_imagenet()));
    let dir = folder();
    let first = tiny(dir.path(), &server).done();
    let before = files(dir.path());
    let second = tiny(dir.path(), &server).done();
    assert!(second.stderr.contains("already exists and is complete"));
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(files(dir.path()), before);
    assert_eq!(server.site().requests.len(), 1);

    fs::remove_file(dir.path().join("tiny-imagenet/words.txt")).expect("it is there");
    let parts = ["incomplete: no file words.txt", "--to"];
    tiny(dir.path(), &server).refused(1, &parts);
    assert_eq!(server.site().requests.len(), 1);
}

#[test]
fn an_archive_that_lies_there_is_unpacked_and_kept() {
    let archive = archives::cifar100();
    let set = archives::cifar100_set(&archive);
    let server = Server::start(Site::of(Vec::new()));
    let dir = folder();
    fs::write(dir.path().join(set.archive), &archive).expect("a file");
    // And what an earlier process left when it was killed.
    fs::create_dir(dir.path().join(".part-cifar100")).expect("a folder");
    library(&set, dir.path(), &server).expect("it is whole");
    assert_eq!(names(dir.path()), ["cifar-100-binary.tar.gz", "cifar100"]);
    assert!(server.site().requests.is_empty());
}
