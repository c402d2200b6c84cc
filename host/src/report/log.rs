//! A stage's metrics log: JSON lines, one record a line, cut back to a checkpoint on resume.
//!
//! A record is complete once its line break is written. A last line that is not, which a kill leaves behind, is dropped.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::append::{AppendFile, read_or_empty};

/// A metrics log, open for appending.
#[derive(Debug)]
pub struct LogWriter {
    file: AppendFile,
    content: Sha256,
    bytes: u64,
}

/// The beginning of a log: how long it is, and its SHA-256.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    bytes: u64,
    sha256: String,
}

impl Beginning {
    fn new(bytes: u64, content: Sha256) -> Self {
        let digest = content.finalize();
        Self {
            bytes,
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// Whether the log at `path` still begins so.
    ///
    /// # Errors
    /// Fails when the file is there and cannot be read.
    pub fn is_at(&self, path: &Path) -> Result<bool> {
        let text = read_or_empty(path)?;
        let beginning = usize::try_from(self.bytes).ok().and_then(|n| text.get(..n));
        Ok(beginning.is_some_and(|b| Self::new(self.bytes, Sha256::new_with_prefix(b)) == *self))
    }
}

impl LogWriter {
    /// Starts an empty log, replacing an existing one.
    ///
    /// # Errors
    /// Fails when the folder is missing or cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        Self::with_content(path, b"")
    }

    /// Continues a log with only the records that `keep` accepts, byte for byte as they were; a missing log is created.
    ///
    /// # Errors
    /// Fails when the file cannot be read or written, or holds a complete line that is not JSON.
    pub fn resume(path: &Path, keep: impl Fn(&Value) -> bool) -> Result<Self> {
        let text = read_or_empty(path)?;
        let mut kept = Vec::with_capacity(text.len());
        for (line, record) in records(&text, path)? {
            if keep(&record) {
                kept.extend_from_slice(line);
                kept.push(b'\n');
            }
        }
        Self::with_content(path, &kept)
    }

    fn with_content(path: &Path, content: &[u8]) -> Result<Self> {
        Ok(Self {
            file: AppendFile::with_content(path, content)?,
            content: Sha256::new_with_prefix(content),
            bytes: content.len() as u64,
        })
    }

    /// All records so far.
    pub fn so_far(&self) -> Beginning {
        Beginning::new(self.bytes, self.content.clone())
    }

    /// Appends a record as one line. What is not finite becomes null, since JSON has no NaN.
    ///
    /// # Errors
    /// Fails when the record is no JSON value (a map with keys that are not strings, say) or the file cannot be written.
    pub fn append(&mut self, record: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(record).context("metrics record")?;
        line.push(b'\n');
        self.content.update(&line);
        self.bytes += line.len() as u64;
        self.file.append(&line)
    }

    /// Makes all records outlive a crash of the machine.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.sync()
    }
}

/// The records of a log; none if there is no file.
///
/// # Errors
/// Fails when the file cannot be read, or holds a complete line that is not JSON.
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let text = read_or_empty(path)?;
    let records = records(&text, path)?.into_iter();
    Ok(records.map(|(_, record)| record).collect())
}

/// The complete lines of a log, with what they hold.
fn records<'t>(text: &'t [u8], path: &Path) -> Result<Vec<(&'t [u8], Value)>> {
    let complete = text.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
    let lines = text[..complete].split(|&byte| byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(idx, line)| {
            let record = serde_json::from_slice(line).with_context(|| {
                format!("{}: line {} is not a JSON record", path.display(), idx + 1)
            })?;
            Ok((line, record))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[derive(Serialize)]
    struct Record {
        step: u64,
        loss: f64,
    }

    #[test]
    fn resume_keeps_what_the_checkpoint_knows_and_cuts_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = LogWriter::create(&path).unwrap();
        for step in 0..4 {
            log.append(&Record { step, loss: 1.5 }).unwrap();
        }
        log.flush().unwrap();
        // The kept lines stay as they were written, spaces included.
        let text = fs::read_to_string(&path).unwrap().replacen(':', ": ", 1) + r#"{"step":4,"lo"#;
        fs::write(&path, text).unwrap();
        assert_eq!(read(&path).unwrap().len(), 4);

        let mut log =
            LogWriter::resume(&path, |record| record["step"].as_u64() <= Some(1)).unwrap();
        log.append(&Record {
            step: 2,
            loss: f64::NAN,
        })
        .unwrap();
        log.flush().unwrap();
        let expected =
            "{\"step\": 0,\"loss\":1.5}\n{\"step\":1,\"loss\":1.5}\n{\"step\":2,\"loss\":null}\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(read(&path).unwrap()[2]["loss"], Value::Null);
    }

    #[test]
    fn a_log_that_has_changed_begins_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = LogWriter::create(&path).unwrap();
        log.append(&Record { step: 0, loss: 1. }).unwrap();
        let beginning = log.so_far();
        log.append(&Record { step: 1, loss: 2. }).unwrap();
        log.flush().unwrap();
        assert!(beginning.is_at(&path).unwrap());
        let resumed = LogWriter::resume(&path, |record| record["step"] == 0).unwrap();
        assert_eq!(resumed.so_far(), beginning);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("1.0", "1.1")).unwrap();
        assert!(!beginning.is_at(&path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!beginning.is_at(&path).unwrap());
    }

    #[test]
    fn a_missing_or_torn_only_log_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        assert!(read(&path).unwrap().is_empty());
        LogWriter::resume(&path, |_| true).unwrap();
        fs::write(&path, r#"{"step": 1"#).unwrap();
        assert!(read(&path).unwrap().is_empty());
        LogWriter::resume(&path, |_| true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_broken_line_in_the_middle_is_an_error_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        fs::write(&path, "{}\n\nnot json\n{}\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("log.jsonl: line 3 is not a JSON record"),
            "{error}"
        );
        assert!(LogWriter::resume(&path, |_| true).is_err());
    }
}
