//! Receivers of a download's progress.

/// Shows lines and progress; the command line does it on stderr.
pub trait Watch {
    /// A line to read.
    fn note(&mut self, line: &str);
    /// Work begins that counts from `position` to `total`, in `unit`s.
    fn begin(&mut self, work: &str, position: u64, total: u64, unit: &str);
    /// The work has come to `position`.
    fn at(&mut self, position: u64);
    /// The work is done.
    fn end(&mut self);
}

/// Bytes in MiB, the unit of progress, rounded up.
pub(super) fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Keeps the lines, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Notes(pub Vec<String>);

#[cfg(test)]
impl Watch for Notes {
    fn note(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }
    fn begin(&mut self, _work: &str, _position: u64, _total: u64, _unit: &str) {}
    fn at(&mut self, _position: u64) {}
    fn end(&mut self) {}
}
