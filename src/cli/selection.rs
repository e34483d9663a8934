//! Options that select sockets of this machine, for `watch` and `top`.

use std::path::PathBuf;

use clap::Args;
use conniver::record::Origin;
use conniver::watch::{Endpoint, Filter};

use super::exit::Failure;
use super::values;

#[derive(Debug, Args)]
pub(super) struct SelectionArgs {
    /// Select sockets that this process holds, and end with it
    #[arg(long, value_name = "PID", value_parser = pid)]
    pid: Option<u32>,

    /// Select sockets created in this cgroup (version 2) or below it: /system.slice/x.service, or its
    /// directory. Linux 5.9
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,

    /// Select connections to this server, at either end of the connection: HOST:PORT, HOST, :PORT or a
    /// network; repeatable, or several separated by commas. PORT may be a range, 8000-8999. Names are
    /// looked up once, at the start
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',')]
    to: Vec<Endpoint>,

    /// Select connections from this client; repeatable, or several separated by commas
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',')]
    from: Vec<Endpoint>,

    /// Select connections that a listener of this machine accepted
    #[arg(long, conflicts_with = "outgoing")]
    listening: bool,

    /// Select connections that this machine opened
    #[arg(long)]
    outgoing: bool,
}

impl SelectionArgs {
    /// What was typed, as what it means.
    pub(super) fn filter(&self) -> Result<Filter, Failure> {
        let mut filter = Filter::default();
        filter.pid = self.pid;
        filter.cgroup.clone_from(&self.cgroup);
        filter.to = resolve(&self.to)?;
        filter.from = resolve(&self.from)?;
        filter.origin = match (self.listening, self.outgoing) {
            (true, _) => Some(Origin::Accepted),
            (_, true) => Some(Origin::Connected),
            (false, false) => None,
        };
        Ok(filter)
    }

    /// The first option that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let options = [
            ("--pid", self.pid.is_some()),
            ("--cgroup", self.cgroup.is_some()),
            ("--to", !self.to.is_empty()),
            ("--from", !self.from.is_empty()),
            ("--listening", self.listening),
            ("--outgoing", self.outgoing),
        ];
        options.into_iter().find_map(|(option, is_given)| is_given.then_some(option))
    }
}

/// The number of a process.
fn pid(text: &str) -> Result<u32, String> {
    if text.contains([',', ' ']) {
        return Err(
            "expected one PID, such as 4711; several processes can be selected by their --cgroup"
                .to_owned(),
        );
    }
    if text.starts_with(|c: char| c.is_alphabetic()) {
        return Err("expected a number such as 4711; pgrep shows the PIDs of a program".to_owned());
    }
    values::number(1..=u32::MAX, 4711)(text)
}

/// Looks up the names among them.
fn resolve(endpoints: &[Endpoint]) -> Result<Vec<Endpoint>, Failure> {
    let resolve = |endpoint: &Endpoint| {
        let name = endpoint.name().unwrap_or_default().to_owned();
        endpoint.clone().resolve().map_err(|error| {
            let text = error.to_string();
            // What the system says, without what std puts in front of it.
            let said = text.strip_prefix("failed to lookup address information: ");
            let said = said.unwrap_or(&text);
            Failure::new(format!("cannot look up '{name}': {said}; give its address instead"))
        })
    };
    endpoints.iter().map(resolve).collect()
}
