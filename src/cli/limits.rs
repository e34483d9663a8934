//! How much the proxy takes on, and how long it is patient.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use conniver::proxy::{Keepalive, Settings, SocketOptions};

use super::descriptors;
use super::exit::Failure;
use super::pair::parse_duration;

#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// How many connections may be open at a time; others wait to be accepted. By default as many as
    /// there are descriptors for
    #[arg(long, value_name = "N")]
    max_connections: Option<NonZeroUsize>,

    /// How many connections a client's address may have at a time; others are reset
    #[arg(long, value_name = "N")]
    max_per_client: Option<NonZeroUsize>,

    /// End connections on which nothing has moved for so long, either way
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    idle_timeout: Option<Duration>,

    /// End connections that have lasted so long
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    lifetime: Option<Duration>,

    /// Ask a silent peer after so long whether it is still there; 0 never asks
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    keepalive: Duration,

    /// From one such question to the next
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    keepalive_interval: Duration,

    /// How many of them a peer may leave unanswered
    #[arg(long, value_name = "N", default_value_t = 6)]
    keepalive_probes: u32,

    /// Longest time that sent data may stay unacknowledged (TCP_USER_TIMEOUT). Linux; by default the
    /// system gives up after a quarter of an hour or so
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    user_timeout: Option<Duration>,
}

/// A time that ends something: none at all would end it at once.
fn parse_bound(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("it must be longer than 0".to_owned()),
        duration => Ok(duration),
    }
}

impl LimitArgs {
    pub(super) fn apply(&self, settings: &mut Settings) -> Result<(), Failure> {
        let keepalive = (self.keepalive > Duration::ZERO).then_some(Keepalive {
            idle: self.keepalive,
            interval: self.keepalive_interval,
            probes: self.keepalive_probes,
        });
        let options = SocketOptions::new(keepalive, self.user_timeout);
        settings.sockets = options.map_err(Failure::new)?;
        settings.limits.connections = descriptors::connections(self.max_connections);
        settings.limits.per_client = self.max_per_client;
        settings.limits.idle = self.idle_timeout;
        settings.limits.lifetime = self.lifetime;
        Ok(())
    }
}
