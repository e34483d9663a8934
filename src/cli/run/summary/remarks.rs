//! What is said below the table, in words.

use std::collections::BTreeMap;
use std::time::Duration;

use conniver::figures::human_time;
use conniver::plural::counted;
use conniver::record::{Leg, Mode, Outcome, Phase, Printable, Record, Warning, WarningCode};

use super::row::target;

/// So many different warnings are shown.
const WARNINGS: usize = 10;

/// So many are kept.
const KEPT: usize = 1000;

/// So many targets are named in one sentence.
const NAMED: usize = 5;

/// A wait for open connections is worth a word from here on.
const LONG_DRAIN: Duration = Duration::from_secs(1);

/// What else there is to say of the connections.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    warnings: BTreeMap<(String, &'static str, String), Warned>,
    /// Targets of connections that were still open when the proxy ended, and how many.
    open: (Vec<String>, u64),
    /// How many failed connections COMMAND got an HTTP error for.
    answered: u64,
}

/// The same warning on several connections.
#[derive(Debug)]
struct Warned {
    connections: u64,
    value: u64,
    /// Of the largest value.
    text: String,
}

impl Remarks {
    pub(super) fn add(&mut self, record: &Record) {
        let target = target(record);
        // How soon conniver itself accepts is nothing to COMMAND's network.
        let own = |warning: &&Warning| warning.code != WarningCode::AcceptQueue;
        for warning in record.warnings.iter().filter(own) {
            let side = match warning.leg {
                Some(Leg::Client) => " (COMMAND's side)",
                _ => "",
            };
            let key = (target.clone(), side, code(warning.code));
            if self.warnings.len() >= KEPT && !self.warnings.contains_key(&key) {
                continue;
            }
            let warned = self.warnings.entry(key).or_insert_with(|| Warned {
                connections: 0,
                value: 0,
                text: String::new(),
            });
            warned.connections += 1;
            if warned.text.is_empty() || warning.value > warned.value {
                warned.value = warning.value;
                warned.text = Printable(&warning.text).to_string();
            }
        }
        if record.outcome == Some(Outcome::Shutdown) {
            let (targets, count) = &mut self.open;
            *count += 1;
            if targets.len() < NAMED && !targets.contains(&target) {
                targets.push(target);
            }
        }
        let phase = record.ending.as_ref().map(|ending| ending.phase);
        let is_http = matches!(record.mode, Some(Mode::Connect | Mode::Http));
        if is_http && matches!(phase, Some(Phase::Resolve | Phase::Connect)) {
            self.answered += 1;
        }
    }

    /// The warnings, a line each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let shown = |((target, side, _), warned): (&(String, &str, String), &Warned)| {
            let also = match warned.connections {
                1 => String::new(),
                n => format!("; the same on {}", counted(n - 1, "more connection")),
            };
            format!("{target}{side}: {}{also}", warned.text)
        };
        let mut lines: Vec<_> = self.warnings.iter().take(WARNINGS).map(shown).collect();
        if let Some(more) = self.warnings.len().checked_sub(WARNINGS).filter(|more| *more > 0) {
            lines
                .push(format!("{} in the records (-o FILE)", counted(more as u64, "more warning")));
        }
        lines
    }

    /// What to know of the end, which took `drained` from COMMAND's own; and of what COMMAND saw.
    pub(super) fn sentences(&self, drained: Duration) -> Vec<String> {
        let (targets, open) = &self.open;
        let after = human_time(drained);
        let at_end = match open {
            0 if drained < LONG_DRAIN => None,
            0 => Some(format!(
                "waited {after} after COMMAND's end for connections that were still open; --drain \
                 0 does not wait"
            )),
            _ => {
                let (were, targets) = (if *open == 1 { "was" } else { "were" }, targets.join(", "));
                let hint = match drained < LONG_DRAIN {
                    true => "",
                    false => {
                        "; --drain 0 does not wait for connections that a pool or a background \
                              process keeps"
                    }
                };
                Some(format!(
                    "{} {were} still open {after} after COMMAND's end: {targets}{hint}",
                    counted(*open, "connection")
                ))
            }
        };
        let answered = (self.answered > 0).then(|| {
            "COMMAND got an HTTP error from conniver for each connection that failed; with \
             --url-var or --intercept it gets a connection that is reset"
                .to_owned()
        });
        at_end.into_iter().chain(answered).collect()
    }
}

/// The code as it is in a record.
fn code(code: WarningCode) -> String {
    format!("{code:?}")
}
