//! The ELF header of a file, read before the file is opened as a library.
//!
//! `dlopen` maps a file without looking at its length, and a truncated one ends the process with SIGBUS; so all that the header
//! promises is compared with what is there.

/// The machine number of this program in ELF headers.
const MACHINE: u16 = if cfg!(target_arch = "aarch64") {
    183
} else {
    62
};

const SHARED_OBJECT: u16 = 3;
const LOADED_SEGMENT: u32 = 1;
const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;

/// Why a file cannot be a shared library of this machine.
#[derive(Debug, PartialEq, Eq)]
pub enum ElfFault {
    /// It is something else.
    NotShared(String),
    /// It ends too early: bytes there, bytes promised.
    Truncated(u64, u64),
}

/// Checks kind, machine and length.
///
/// # Errors
/// What is not as it must be.
pub fn check(file: &[u8]) -> Result<(), ElfFault> {
    let not = |what: &str| Err(ElfFault::NotShared(what.to_owned()));
    if !file.starts_with(b"\x7fELF") {
        return not(if file.is_empty() {
            "the file is empty"
        } else {
            "it does not start with an ELF header"
        });
    }
    if file.len() < HEADER_BYTES {
        return Err(ElfFault::Truncated(file.len() as u64, HEADER_BYTES as u64));
    }
    if file[4..6] != [2, 1] {
        return not("it is not a 64-bit little-endian ELF file");
    }
    let (kind, machine) = (half(file, 16), half(file, 18));
    if kind != SHARED_OBJECT {
        return not("it is another kind of ELF file: an object file or a program");
    }
    if machine != MACHINE {
        return not(&format!(
            "it is built for ELF machine {machine}, this program for {MACHINE}"
        ));
    }
    let promised = promised_bytes(file);
    match file.len() as u64 {
        there if there < promised => Err(ElfFault::Truncated(there, promised)),
        _ => Ok(()),
    }
}

/// The end of the last thing that the header and the program headers mention.
fn promised_bytes(file: &[u8]) -> u64 {
    let table = |offset: usize, size: usize, count: usize| {
        word(file, offset)
            .saturating_add(u64::from(half(file, size)) * u64::from(half(file, count)))
    };
    let (segments, sections) = (table(32, 54, 56), table(40, 58, 60));
    let mut end = segments.max(sections);
    let step = usize::from(half(file, 54)).max(SEGMENT_BYTES);
    let first = usize::try_from(word(file, 32)).unwrap_or(usize::MAX);
    for segment in 0..usize::from(half(file, 56)) {
        let at = first.saturating_add(segment * step);
        let Some(header) = file.get(at..at.saturating_add(SEGMENT_BYTES)) else {
            break;
        };
        if u32::from_le_bytes([header[0], header[1], header[2], header[3]]) == LOADED_SEGMENT {
            end = end.max(word(header, 8).saturating_add(word(header, 32)));
        }
    }
    end
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shared object of one loaded segment of 100 bytes at offset 200, and 2 section headers at offset 300.
    fn small() -> Vec<u8> {
        let mut file = vec![0; 428];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let mut put = |at: usize, value: u64, bytes: usize| {
            file[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
        };
        put(16, 3, 2);
        put(18, u64::from(MACHINE), 2);
        for (at, value) in [(32, 64), (40, 300), (64 + 8, 200), (64 + 32, 100)] {
            put(at, value, 8);
        }
        for (at, value) in [(54, 56), (56, 1), (58, 64), (60, 2), (64, 1)] {
            put(at, value, 2);
        }
        file
    }

    #[test]
    fn a_whole_file_passes_and_every_shorter_one_does_not() {
        let file = small();
        assert_eq!(check(&file), Ok(()));
        for length in HEADER_BYTES..file.len() {
            assert_eq!(
                check(&file[..length]),
                Err(ElfFault::Truncated(length as u64, 428)),
                "{length}"
            );
        }
    }

    #[test]
    fn segments_count_where_sections_are_stripped() {
        let mut file = small();
        file[40..48].fill(0);
        file[60..62].fill(0);
        assert_eq!(check(&file[..300]), Ok(()));
        assert_eq!(check(&file[..299]), Err(ElfFault::Truncated(299, 300)));
    }

    #[test]
    fn other_files_are_told_apart() {
        let told = |file: &[u8]| match check(file) {
            Err(ElfFault::NotShared(what)) => what,
            other => panic!("{other:?}"),
        };
        assert!(told(b"").contains("empty"));
        assert!(told(b"#!/bin/sh").contains("ELF header"));
        let with = |at: usize, value: u8| {
            let mut file = small();
            file[at] = value;
            told(&file)
        };
        assert!(with(4, 1).contains("64-bit"));
        assert!(with(16, 2).contains("program"));
        assert!(with(18, 7).contains("machine 7"));
    }
}
