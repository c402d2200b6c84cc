//! How much larger than it is stored something may become when it is unpacked: a small file may tell of, and hold, any number of bytes.

/// What may come out of a file of any size, in MiB.
const FREE_MIB: u64 = 256;

/// The most that each stored byte may become beyond that. Encoded images hardly compress; sets of blank ones are small enough for the above.
const PER_BYTE: u64 = 100;

/// The most bytes that so many stored ones may become.
pub(super) fn most(stored: u64) -> u64 {
    (FREE_MIB << 20).saturating_add(stored.saturating_mul(PER_BYTE))
}

/// What is wrong where so many stored bytes become so many, if anything.
pub(super) fn fault(unpacked: u64, stored: u64) -> Option<String> {
    let most = most(stored);
    (unpacked > most).then(|| {
        format!(
            "it unpacks from {stored} to {unpacked} bytes, expected at most {most} ({FREE_MIB} MiB, and {PER_BYTE} bytes for each)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_do_not_become_gigabytes() {
        let most = (256 << 20) + 100 * 75_000;
        assert_eq!(fault(most, 75_000), None);
        let told = fault(most + 1, 75_000).unwrap();
        assert_eq!(
            told,
            "it unpacks from 75000 to 275935457 bytes, expected at most 275935456 (256 MiB, and 100 bytes for each)"
        );
        assert_eq!(fault(u64::MAX, u64::MAX), None);
    }
}
