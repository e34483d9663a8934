//! Whether a file holds records, told by its first bytes.

use serde::Deserialize;
use uuid::Uuid;

/// How every line begins. Between these are the event's word and the schema's number.
const BEGIN: [&[u8]; 3] = [b"{\"event\":\"", b"\",\"schema\":", b",\"time\":\""];

/// Keys that every line has, in any order.
#[derive(Deserialize)]
struct CommonKeys {
    #[serde(rename = "event")]
    _event: String,
    #[serde(rename = "schema")]
    _schema: u32,
    #[serde(rename = "runId")]
    _run_id: Uuid,
}

/// What the beginning of a line is.
#[derive(Debug, PartialEq, Eq)]
enum Begin {
    Record,
    /// Less than what tells a record from other JSON.
    Torn,
    Foreign,
}

/// Whether a file that begins with these bytes holds records, or nothing: blanks and zeros, which a line that was
/// never completed and a power failure leave. The first line may be torn.
pub(crate) fn may_hold_records(head: &[u8]) -> bool {
    for line in head.split(|byte| *byte == b'\n') {
        match begin(trimmed(line)) {
            Begin::Record => return true,
            Begin::Foreign => return false,
            // The next line tells.
            Begin::Torn => {}
        }
    }
    true
}

fn trimmed(line: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    line.get(start..).unwrap_or_default()
}

fn begin(line: &[u8]) -> Begin {
    let mut rest = line;
    for part in BEGIN {
        let Some(after) = rest.strip_prefix(part) else {
            return if part.starts_with(rest) { Begin::Torn } else { begin_in_other_order(line) };
        };
        let word = after.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        rest = after.get(word..).unwrap_or_default();
    }
    Begin::Record
}

/// Another program, such as jq, may have written the line with blanks, or its keys in another order.
fn begin_in_other_order(line: &[u8]) -> Begin {
    match serde_json::from_slice::<CommonKeys>(line) {
        Ok(_) => Begin::Record,
        Err(_) => Begin::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_torn_ones_are_told_from_other_files() {
        let record = r#"{"event":"close","schema":1,"time":"2026-01-01T00:00:00Z","#;
        for at in 0..record.len() {
            let torn = record.get(..at).unwrap();
            assert!(may_hold_records(torn.as_bytes()), "{torn}");
            let continued = format!("{torn}\n{record}");
            assert!(may_hold_records(continued.as_bytes()), "{continued}");
            let blanked = format!("\0\0{}\n{record}", " ".repeat(at));
            assert!(may_hold_records(blanked.as_bytes()), "{blanked}");
        }
        let sorted = r#"{"duration": 0, "event": "stop", "runId": "00000000-0000-7000-8000-000000000000", "schema": 2}"#;
        assert!(may_hold_records(sorted.as_bytes()));
        for foreign in [
            "{}",
            "{\n  \"name\": \"app\"\n}\n",
            "{\"log\":{\"entries\":[]}}",
            "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\"}",
            "{\"event\":\"login\",\"schema\":1}\n",
            "{\"event\":\"start\",\"time\":1}\n",
            "{\"event\":\"log in\"}\n",
            "{\"level\":\"info\",\"event\":\"close\"}\n",
            "{\"event\":\"open\"}\n",
            "[1]",
            "a,b\n",
            "\n\nx",
        ] {
            assert!(!may_hold_records(foreign.as_bytes()), "{foreign}");
        }
    }
}
