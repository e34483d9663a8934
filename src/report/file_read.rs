//! What became of a file that was read.

use crate::record::{BadLine, Compression, Finding};

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FileRead {
    /// Its name.
    pub name: String,
    /// Lines, but empty ones.
    pub lines: u64,
    /// Lines that end too early; the last one of a file that is still written is one.
    pub torn: u64,
    /// Lines that are no records.
    pub bad: u64,
    /// Lines that are of a later version, or no records.
    #[serde(skip)]
    pub(super) unknown: u64,
    /// What is wrong with the first line that is no record.
    #[serde(skip)]
    first_bad: Option<BadLine>,
    /// `gzip` or `zstd` if it is compressed and ends too early.
    #[serde(serialize_with = "compression")]
    pub truncated: Option<Compression>,
    /// `gzip` or `zstd` if it is compressed and damaged.
    #[serde(serialize_with = "compression")]
    pub damaged: Option<Compression>,
}

impl FileRead {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            lines: 0,
            torn: 0,
            bad: 0,
            unknown: 0,
            first_bad: None,
            truncated: None,
            damaged: None,
        }
    }

    pub(super) fn add_bad(&mut self, what: BadLine) {
        self.first_bad.get_or_insert(what);
        match what {
            BadLine::Torn => self.torn += 1,
            _ => self.bad += 1,
        }
    }

    /// That no line of the file is a record, if that is so. An empty file has nothing wrong.
    pub fn no_records(&self) -> Option<Finding> {
        let (file, lines) = (self.name.clone(), self.lines);
        if lines == 0 || self.torn + self.bad + self.unknown < lines {
            return None;
        }
        let first = self.first_bad.unwrap_or(BadLine::NoRecord);
        first.is_foreign_file(lines).then_some(Finding::NoRecords {
            file,
            lines,
            first,
            missing: None,
        })
    }
}

fn compression<S: serde::Serializer>(how: &Option<Compression>, s: S) -> Result<S::Ok, S::Error> {
    match how {
        Some(how) => s.collect_str(how),
        None => s.serialize_none(),
    }
}
