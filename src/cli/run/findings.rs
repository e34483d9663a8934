//! What is learnt of the connections, and said at the end.

use std::net::SocketAddr;
use std::time::Duration;

use conniver::expect::{Expectation, Expectations};
use conniver::ingress::Target;
use conniver::record::Record;

use super::summary::Summary;
use crate::cli::exit::{self, Failure};
use crate::cli::expectations;
use crate::cli::terminal;

/// What is known of the connections that have ended.
#[derive(Debug, Default)]
pub(super) struct Findings {
    summary: Summary,
    expectations: Expectations,
}

impl Findings {
    pub(super) fn new(expected: Vec<Expectation>) -> Self {
        Self { summary: Summary::default(), expectations: Expectations::new(expected) }
    }

    /// `has_via`: an option names the parent proxy.
    pub(super) fn add(&mut self, record: &Record, has_via: bool) {
        self.summary.add(record, has_via);
        self.expectations.add(record);
    }

    /// Says what the connections met. `drained` is how long the end took after COMMAND's.
    pub(super) fn say_summary(&self, drained: Duration) {
        let width = terminal::width(std::io::stderr()).unwrap_or(terminal::USUAL_WIDTH);
        exit::say_styled(&self.summary.shown(width, drained));
        if let Some(sentence) = self.summary.parent_failed() {
            Failure::new(sentence).say();
        }
    }

    /// Says why COMMAND may have made no connections; if it failed, those that bypassed the proxy may be the reason.
    /// `forwards`: where listeners forward which target.
    pub(super) fn say_why_none(&self, forwards: &[(SocketAddr, Target)]) {
        if !self.summary.is_empty() {
            return;
        }
        for (address, target) in forwards {
            let sentence = format!("nobody connected to {address}, the listener for {target}");
            Failure::new(sentence).say();
        }
        if forwards.is_empty() {
            Failure::new(
                "programs that ignore http_proxy and https_proxy bypass the proxy; see -L, \
                 --url-var and --intercept",
            )
            .say();
        }
    }

    /// Whether all expectations are met; says which are not.
    pub(super) fn meet_expectations(&self) -> bool {
        expectations::are_met(&self.expectations)
    }
}
