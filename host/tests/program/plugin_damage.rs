//! Plugin files whose damage shows only when the system maps them, relocates them or runs their initialisers: whoever opens them dies.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{
    common::Answer,
    support::{fixture, folder_of},
};

/// Tags of the dynamic section.
const STRING_TABLE: u64 = 5;
const RELOCATIONS: u64 = 7;
const RELOCATIONS_BYTES: u64 = 8;
const INITIALISERS: u64 = 25;
/// Types of program headers.
const LOADED: u32 = 1;
const DYNAMIC: u32 = 2;

/// A plugin file that can be damaged.
#[derive(Clone)]
struct Elf(Vec<u8>);

impl Elf {
    fn of(path: &Path) -> Self {
        Self(fs::read(path).expect("a plugin"))
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Program headers of a type: offset in the file, address, bytes in the file.
    fn segments(&self, kind: u32) -> Vec<[u64; 3]> {
        let first = self.word(32) as usize;
        let count = u16::from_le_bytes([self.0[56], self.0[57]]) as usize;
        let headers = (0..count).map(|i| first + i * 56);
        let of_kind = headers.filter(|&at| self.0[at..at + 4] == kind.to_le_bytes());
        of_kind
            .map(|at| [self.word(at + 8), self.word(at + 16), self.word(at + 32)])
            .collect()
    }

    /// Where in the file an address is.
    fn offset(&self, address: u64) -> usize {
        let segments = self.segments(LOADED).into_iter();
        let mut holds =
            segments.filter(|[_, start, bytes]| (*start..start + bytes).contains(&address));
        let [offset, start, _] = holds.next().expect("an address in the file");
        (offset + address - start) as usize
    }

    /// Where in the file the value of a dynamic entry is.
    fn entry(&self, tag: u64) -> usize {
        let [offset, _, bytes] = self.segments(DYNAMIC)[0];
        let mut entries = (offset as usize..(offset + bytes) as usize).step_by(16);
        entries
            .find(|&at| self.word(at) == tag)
            .expect("a dynamic entry")
            + 8
    }

    /// Where in the file the address of its first initialiser is, in the relocation that writes it.
    fn first_initialiser(&self) -> usize {
        let place = self.word(self.entry(INITIALISERS));
        let table = self.offset(self.word(self.entry(RELOCATIONS)));
        let bytes = self.word(self.entry(RELOCATIONS_BYTES)) as usize;
        let mut relocations = (table..table + bytes).step_by(24);
        relocations
            .find(|&at| self.word(at) == place)
            .expect("a relocation")
            + 16
    }
}

/// A sound plugin and damaged copies of it: file names, and how each ends a process.
fn damaged() -> (TempDir, Vec<(&'static str, &'static str)>) {
    let sound = fixture("second", &[]);
    let folder = folder_of(&[&sound]);
    let whole = Elf::of(&fixture("nasty", &[]));
    let wild = 0x7fff_ffff_0000_u64.to_le_bytes();
    let mut kinds = Vec::new();
    let mut write = |name: &'static str, how: &'static str, damage: &dyn Fn(&mut Elf)| {
        let mut elf = whole.clone();
        damage(&mut elf);
        fs::write(folder.path().join(name), &elf.0).expect("a file");
        kinds.push((name, how));
    };
    write("a-relocations.so", "SIGSEGV", &|elf| {
        elf.put(elf.entry(RELOCATIONS), &wild)
    });
    write("b-strings.so", "SIGSEGV", &|elf| {
        elf.put(elf.entry(STRING_TABLE), &wild)
    });
    // In the middle of the ELF header, which is mapped and no code.
    write("c-initialiser.so", "SIGSEGV", &|elf| {
        elf.put(elf.first_initialiser(), &8_u64.to_le_bytes())
    });
    // An instruction that there is not.
    write(
        "z-code.so",
        if cfg!(target_arch = "x86_64") {
            "SIGILL"
        } else {
            "SIG"
        },
        &|elf| {
            let code = elf.offset(elf.word(elf.first_initialiser()));
            elf.put(
                code,
                &if cfg!(target_arch = "x86_64") {
                    [0x0f, 0x0b, 0x0f, 0x0b]
                } else {
                    [0; 4]
                },
            );
        },
    );
    (folder, kinds)
}

/// `alambic` with the plugins of a folder and what an empty cache folder remembers.
fn alambic(plugins: &Path, cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alambic"));
    command
        .env_remove("ALAMBIC_PLUGINS")
        .env_remove("ALAMBIC_CACHE")
        .env("XDG_CACHE_HOME", cache);
    command.arg("--plugin-dir").arg(plugins);
    command
}

fn answer(command: &mut Command) -> Answer {
    Answer::of(command.output().expect("the program starts"))
}

fn hash(elf: &Elf) -> String {
    let digest = Sha256::digest(&elf.0);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn remembered(cache: &Path) -> String {
    let folder = fs::read_dir(cache.join("alambic")).expect("a cache folder");
    let mut files: Vec<PathBuf> = folder
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    fs::read_to_string(files.remove(0)).expect("a file")
}

#[test]
fn damaged_plugins_are_named_and_left_out() {
    let (folder, kinds) = damaged();
    let cache = tempfile::tempdir().unwrap();
    // Twice: the second time the sound ones are known.
    for _ in 0..2 {
        let listed = answer(alambic(folder.path(), cache.path()).args(["plugin", "list"])).done();
        for (name, how) in &kinds {
            let line = listed.stderr.lines().find(|line| line.contains(name));
            let line = line.unwrap_or_else(|| panic!("{name}: {}", listed.stderr));
            let parts = [
                "warning: plugin skipped: ",
                "opening it ends the process (signal ",
                how,
                "build it again",
            ];
            assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        }
        assert!(listed.stdout.contains("feature-mean"), "{}", listed.stdout);
    }
    for (name, how) in kinds {
        let mut command = alambic(folder.path(), cache.path());
        let checked = answer(
            command
                .args(["plugin", "check"])
                .arg(folder.path().join(name)),
        );
        checked.refused(2, &[name, "opening it ends the process", how]);
    }
}

#[test]
fn what_is_remembered_is_the_content_and_not_the_name() {
    let sound = fixture("nasty", &[]);
    let folder = folder_of(&[&sound]);
    let cache = tempfile::tempdir().unwrap();
    let list = || answer(alambic(folder.path(), cache.path()).args(["plugin", "list"])).done();
    for _ in 0..2 {
        assert!(!list().stderr.contains("nasty"));
        assert!(remembered(cache.path()).contains(&hash(&Elf::of(&sound))));
    }
    // The same name, length and time.
    let path = folder.path().join(sound.file_name().unwrap());
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let mut elf = Elf::of(&path);
    elf.put(elf.first_initialiser(), &8_u64.to_le_bytes());
    fs::write(&path, &elf.0).unwrap();
    fs::File::open(&path).unwrap().set_modified(time).unwrap();
    let told = list().stderr;
    assert!(
        told.contains("libnasty.so: opening it ends the process"),
        "{told}"
    );
    assert!(!remembered(cache.path()).contains(&hash(&elf)));
}

#[test]
fn without_a_cache_folder_plugins_are_opened_all_the_same() {
    let folder = folder_of(&[&fixture("second", &[])]);
    let mut command = alambic(folder.path(), Path::new("/proc/no-such-folder"));
    let listed = answer(command.args(["plugin", "list"])).done();
    assert!(listed.stdout.contains("feature-mean"), "{}", listed.stdout);
    let mut command = alambic(folder.path(), Path::new("relative"));
    let listed = answer(command.env_remove("HOME").args(["plugin", "list"])).done();
    assert!(listed.stdout.contains("feature-mean"), "{}", listed.stdout);
    assert!(!Path::new("relative").exists());
}
