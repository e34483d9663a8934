//! Fuzzing of files of records: findings must not depend on how the input is split.

use std::io::Read;

use serde_json::Value;

use super::{BriefLine, Check, read, read_brief};

/// A file of records in one piece, and again in pieces, whose length the first byte says.
pub fn check(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    let whole = checked(bytes, bytes.len());
    assert_eq!(checked(bytes, usize::from(piece).max(bytes.len() / 16)), whole);
    assert!(whole.iter().all(|finding| !finding.contains(char::is_control)), "{whole:?}");
    // Whole lines are lines in brief as well. What is written of one, which may be less than was read
    // (a time's digits, a duration that nothing lasts), is written of what reads back from it.
    for (line, in_brief) in read(bytes).zip(read_brief(bytes)) {
        let Ok(line) = line else { continue };
        assert_eq!(in_brief.ok(), Some(BriefLine::from(&line)));
        let written = line.to_json().unwrap_or_default();
        assert_eq!(serde_json::from_str::<Value>(&written).ok(), serde_json::to_value(&line).ok());
        let again = read(written.as_bytes()).next().and_then(Result::ok);
        assert_eq!(again.and_then(|line| line.to_json().ok()), Some(written));
    }
}

fn checked(bytes: &[u8], piece: usize) -> Vec<String> {
    let mut check = Check::default();
    // Reading from memory does not fail.
    let _ = check.read("file", Pieces { bytes, piece: piece.max(1) });
    let checked = check.finish();
    let counts = format!("{} {} {} {}", checked.lines, checked.runs, checked.closed, checked.found);
    let findings = checked.findings.iter().map(ToString::to_string);
    let remarks = checked.remarks.iter().map(ToString::to_string);
    findings.chain(remarks).chain([counts]).collect()
}

struct Pieces<'b> {
    bytes: &'b [u8],
    piece: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let room = self.piece.min(buffer.len());
        buffer.get_mut(..room).map_or(Ok(0), |room| self.bytes.read(room))
    }
}
