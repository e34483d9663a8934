//! What a record says of a connection against what was done to it.

use std::time::Duration;

use serde_json::Value;

use super::Case;
use super::imposed::{Span, Turns, Who};

/// The outcome of one comparison.
#[derive(Debug)]
pub(crate) struct Judgment {
    /// As the record has it.
    pub(crate) limited_by: String,
    pub(crate) is_named_right: bool,
    /// In the order of [`Who::ALL`], ms; none where nothing can be compared.
    deviations: [Option<f64>; 7],
    /// What is wrong with the record, or with the experiment.
    pub(crate) complaints: Vec<String>,
}

impl Judgment {
    /// Of an experiment that did not come to its end.
    pub(crate) fn panicked() -> Self {
        Self {
            limited_by: "panicked".into(),
            is_named_right: false,
            deviations: [None; 7],
            complaints: vec!["EXPERIMENT FAILED: panicked".into()],
        }
    }

    pub(crate) fn deviation(&self, who: Who) -> Option<f64> {
        self.deviations[who as usize]
    }
}

/// A duration of the record; none where the key is absent or null.
fn duration(value: &Value) -> Option<Duration> {
    value.as_u64().map(Duration::from_nanos)
}

impl Case {
    pub(crate) fn judge(&self) -> Judgment {
        let verdict = &self.record["verdict"];
        let imposed = &self.imposed;
        let mut complaints = imposed.failures.clone();
        let limited_by = verdict["limitedBy"].as_str().unwrap_or("no verdict").to_owned();
        let is_named_right = imposed.names.contains(&limited_by.as_str());
        if !is_named_right {
            complaints.push(format!("{limited_by} is named, not {}", imposed.names.join(" or ")));
        }
        let mut deviations = [None; 7];
        for who in Who::ALL {
            let Some(found) = duration(&verdict["time"][who.key()]) else {
                complaints.push(format!("there is no verdict.time.{}", who.key()));
                continue;
            };
            let Some(span) = imposed.times[who as usize] else { continue };
            deviations[who as usize] = Some(span.deviation(found));
            if !span.is_met_by(found) {
                complaints.push(format!("verdict.time.{} is off its span", who.key()));
            }
        }
        self.judge_sums(&mut complaints);
        self.judge_share(&mut complaints);
        judge_turns(&imposed.turns, &self.record["turns"], &mut complaints);
        self.judge_warnings(&mut complaints);
        if !complaints.is_empty() && std::env::var_os("CAUSE_VERBOSE").is_some() {
            self.explain(&complaints);
        }
        Judgment { limited_by, is_named_right, deviations, complaints }
    }

    /// All that there is to know of a comparison that failed.
    fn explain(&self, complaints: &[String]) {
        let parts = ["verdict", "turns", "warnings", "phases", "ending", "duration"];
        for part in parts {
            println!("      {part}: {}", self.record[part]);
        }
        println!("      imposed: {:?}\n      complaints: {complaints:?}", self.imposed);
    }

    /// Every moment is charged once.
    fn judge_sums(&self, complaints: &mut Vec<String>) {
        let verdict = &self.record["verdict"];
        let time = |who: Who| duration(&verdict["time"][who.key()]).unwrap_or_default();
        let charged: Duration =
            Who::ALL.into_iter().filter(|who| *who != Who::Idle).map(time).sum();
        let active = duration(&verdict["active"]).unwrap_or_default();
        if charged != active {
            complaints.push("the six durations do not add up to active".into());
        }
        let whole = duration(&self.record["duration"]).unwrap_or_default();
        if active + time(Who::Idle) > whole {
            complaints.push("active and idle are longer than the connection".into());
        }
        if self.imposed.whole.is_some_and(|span| !span.is_met_by(active + time(Who::Idle))) {
            complaints.push("active and idle do not end with the last wait".into());
        }
    }

    fn judge_share(&self, complaints: &mut Vec<String>) {
        let verdict = &self.record["verdict"];
        let named = Who::ALL.into_iter().find(|who| {
            let name = match who {
                Who::NetworkClient => "network-client",
                Who::NetworkUpstream => "network-upstream",
                who => who.key(),
            };
            verdict["limitedBy"].as_str() == Some(name)
        });
        let share = verdict["share"].as_f64();
        let expected = named.and_then(|who| {
            let active = verdict["active"].as_f64()?;
            Some(verdict["time"][who.key()].as_f64()? / active)
        });
        let agrees = match (share, expected) {
            (Some(share), Some(expected)) => (share - expected).abs() < 1e-6,
            (share, expected) => share.is_none() && expected.is_none(),
        };
        if !agrees {
            complaints.push("share is not the named one's part of active".into());
        }
    }

    fn judge_warnings(&self, complaints: &mut Vec<String>) {
        let (required, forbidden) = self.imposed.warnings;
        let warnings = self.record["warnings"].as_array().map_or(&[][..], Vec::as_slice);
        let has = |code: &str| warnings.iter().any(|warning| warning["code"] == code);
        for code in required.iter().filter(|code| !has(code)) {
            complaints.push(format!("there is no warning {code}"));
        }
        for code in forbidden.iter().filter(|code| has(code)) {
            complaints.push(format!("there is a warning {code}"));
        }
    }
}

fn judge_turns(expected: &Turns, turns: &Value, complaints: &mut Vec<String>) {
    if turns.is_null() {
        if expected.count.as_ref().is_some_and(|count| !count.contains(&0)) {
            complaints.push("there are no turns".into());
        }
        return;
    }
    let unanswered = turns["unanswered"].as_u64();
    if let Some(count) = &expected.count {
        match turns["count"].as_u64() {
            Some(found) if count.contains(&found) => {}
            found => complaints.push(format!("turns.count is {found:?}, not in {count:?}")),
        }
    }
    if expected.unanswered.is_some() && unanswered != expected.unanswered {
        complaints.push(format!("turns.unanswered is {unanswered:?}"));
    }
    if let Some(shape) = expected.shape
        && turns["shape"] != shape
    {
        complaints.push(format!("turns.shape is {}, not {shape}", turns["shape"]));
    }
    if let Some(span) = expected.wait_max {
        judge_wait(span, turns, complaints);
    }
}

fn judge_wait(span: Span, turns: &Value, complaints: &mut Vec<String>) {
    match duration(&turns["wait"]["max"]) {
        Some(found) if span.is_met_by(found) => {}
        Some(_) => complaints.push("turns.wait.max is off its span".into()),
        None => complaints.push("there is no turns.wait.max".into()),
    }
    // The turns with the longest waits are told one by one.
    if let Some(slowest) = turns["slowest"].as_array() {
        let waits = slowest.iter().map(|turn| duration(&turn["wait"]));
        if waits.max().flatten() != duration(&turns["wait"]["max"]) {
            complaints.push("turns.slowest lacks the longest wait".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::imposed::Imposed;
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A server that thought for 400 ms after the client's pause of 100 ms, told rightly.
    fn case() -> Case {
        let record = json!({
            "duration": 501_000_000,
            "verdict": {
                "limitedBy": "upstream", "share": 0.8, "active": 500_000_000,
                "time": {
                    "resolver": 0, "client": 0, "upstream": 400_000_000, "networkClient": 0,
                    "networkUpstream": 100_000_000, "proxy": 0, "idle": 1_000_000,
                },
            },
            "turns": {
                "count": 1, "unanswered": 0, "shape": "exchange", "wait": { "max": 400_000_000 },
                "slowest": [{ "wait": 400_000_000 }],
            },
            "warnings": [{ "code": "windowLimited" }],
        });
        let mut imposed = Imposed::on(&["upstream"])
            .time(Who::Upstream, ms(390))
            .time(Who::NetworkUpstream, ms(80)..=ms(90))
            .whole(ms(500))
            .turns(Turns::answered(1, ms(400)));
        imposed.warnings = (&["windowLimited"], &["zeroWindow"]);
        Case { record, imposed }
    }

    fn complaints_when(change: impl FnOnce(&mut Case)) -> Vec<String> {
        let mut case = case();
        change(&mut case);
        case.judge().complaints
    }

    #[test]
    fn right_record_has_no_complaints() {
        let judgment = case().judge();
        assert_eq!(judgment.complaints, [""; 0]);
        assert!(judgment.is_named_right);
        assert_eq!(judgment.deviation(Who::Upstream), Some(10.0));
        assert_eq!(judgment.deviation(Who::NetworkUpstream), Some(10.0));
        assert_eq!(judgment.deviation(Who::Proxy), Some(0.0));
    }

    #[test]
    fn each_wrong_figure_is_complained_of() {
        let set = |pointer: &'static str, value: Value| {
            complaints_when(|case| *case.record.pointer_mut(pointer).unwrap() = value)
        };
        for (pointer, value, complaint) in [
            ("/verdict/limitedBy", json!("client"), "client is named, not upstream"),
            ("/verdict/share", json!(0.7), "share is not the named one's part of active"),
            ("/verdict/share", json!(null), "share is not the named one's part of active"),
            ("/verdict/active", json!(500_000_001), "the six durations do not add up to active"),
            ("/verdict/time/idle", json!(null), "there is no verdict.time.idle"),
            ("/verdict/time/idle", json!(21_000_000), "verdict.time.idle is off its span"),
            ("/verdict/time/upstream", json!(428_000_000), "the six durations do not add up"),
            ("/verdict/time/upstream", json!(430_000_000), "verdict.time.upstream is off its span"),
            ("/verdict/time/networkUpstream", json!(59_000_000), "networkUpstream is off its span"),
            ("/duration", json!(500_000_000), "active and idle are longer than the connection"),
            ("/turns", json!(null), "there are no turns"),
            ("/turns/count", json!(2), "turns.count is Some(2), not in 1..=1"),
            ("/turns/unanswered", json!(1), "turns.unanswered is Some(1)"),
            ("/turns/shape", json!("mixed"), "turns.shape is \"mixed\", not exchange"),
            ("/turns/wait/max", json!(350_000_000), "turns.wait.max is off its span"),
            ("/turns/wait/max", json!(null), "there is no turns.wait.max"),
            ("/turns/slowest/0/wait", json!(1), "turns.slowest lacks the longest wait"),
            ("/warnings/0/code", json!("zeroWindow"), "there is a warning zeroWindow"),
            ("/warnings/0/code", json!("retransmits"), "there is no warning windowLimited"),
            ("/verdict", json!(null), "no verdict is named, not upstream"),
        ] {
            let complaints = set(pointer, value.clone());
            let is_there = complaints.iter().any(|made| made.contains(complaint));
            assert!(is_there, "{pointer} {value}: {complaints:?}");
        }
        let late = complaints_when(|case| case.imposed.whole = Some(ms(600).into()));
        assert_eq!(late, ["active and idle do not end with the last wait"]);
        let failed = complaints_when(|case| {
            case.imposed = case.imposed.clone().provided(false, "it works");
        });
        assert_eq!(failed, ["EXPERIMENT FAILED: it is not so that it works"]);
    }
}
