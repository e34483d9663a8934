//! Findings on connections that fail before there is one: refused, and unknown names.

use super::super::connection::Connection;
use super::sightings::Sightings;
use super::words::connections;
use super::{Evidence, Finding, Rule, Target, Words};
use crate::record::Outcome;

/// Failures from which on a finding is told.
const FEW: u64 = 3;

/// Connections that never came about.
#[derive(Debug, Default)]
pub(super) struct Failures {
    refused: Sightings,
    unknown: Sightings,
    /// Connections that reached the target.
    reached: u64,
}

impl Evidence for Failures {
    fn see(&mut self, connection: &Connection) {
        let code = connection.ending.as_ref().and_then(|end| end.error_code.as_deref());
        self.reached += u64::from(connection.upstream.is_some());
        match (connection.outcome, code) {
            (Some(Outcome::Refused), _) => self.refused.add(connection),
            // Other codes tell of the resolver, not of the name.
            (Some(Outcome::Dns), Some("EAI_NONAME")) => self.unknown.add(connection),
            _ => {}
        }
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        let mut findings = Vec::new();
        let kinds = [(&self.refused, Rule::Refused), (&self.unknown, Rule::UnknownName)];
        for (seen_in, rule) in kinds {
            let count = seen_in.count();
            if count < FEW || count * 100 < of.connections {
                continue;
            }
            let all = connections(of.connections);
            let is_always = self.reached == 0;
            let words = match rule {
                Rule::Refused => Words {
                    seen: format!("{count} of {all} to {} were refused", of.name),
                    usually: match is_always {
                        true => {
                            "nothing listens on this port there: a server that is down, or a wrong port; or a firewall that rejects"
                        }
                        false => {
                            "a server that is restarted now and then, or one machine of several that is down"
                        }
                    },
                    next: "on the server: ss -ltn, and the log of the service at these times",
                },
                _ => Words {
                    seen: format!(
                        "{count} of {all} to {} failed: the name does not exist",
                        of.name
                    ),
                    usually: match is_always {
                        true => {
                            "a name that is mistyped, was removed, or is known in another network alone (VPN, container)"
                        }
                        false => "name servers that disagree, one of them without this name",
                    },
                    next: "dig NAME, and dig @SERVER NAME for each nameserver of /etc/resolv.conf; search domains there",
                },
            };
            findings.push(of.finding(rule, seen_in, words));
        }
        findings
    }
}
