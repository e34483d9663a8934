//! How much the proxy takes on, and how long it is patient.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use conniver::proxy::{Keepalive, Settings, SocketOptions};

use super::descriptors;
use super::exit::Failure;
use super::values;

#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// Maximum number of open connections; others wait to be accepted. By default, and with 0, as
    /// many as the limit on file descriptors allows
    #[arg(long, value_name = "N", value_parser = values::limit)]
    max_connections: Option<usize>,

    /// Maximum number of open connections per client address; others are reset. By default, and
    /// with 0, there is no limit
    #[arg(long, value_name = "N", value_parser = values::limit)]
    max_per_client: Option<usize>,

    /// Close connections on which no byte has moved in either direction for TIME. By default, and
    /// with 0, there is no limit
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    idle_timeout: Option<Duration>,

    /// Close connections older than TIME. By default, and with 0, there is no limit
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    lifetime: Option<Duration>,

    /// Idle time before keepalive probes are sent, at least 1s; 0 disables them
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = keepalive)]
    keepalive: Duration,

    /// Interval between keepalive probes, at least 1s
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::duration_from(SECOND, "1s"))]
    keepalive_interval: Duration,

    /// Unanswered keepalive probes before the connection is closed, 1 to 127
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = values::number(1..=127_u32, 6))]
    keepalive_probes: u32,

    /// Maximum time that sent data may remain unacknowledged (TCP_USER_TIMEOUT). Linux; by default,
    /// and with 0, the system gives up after about 15 minutes
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    user_timeout: Option<Duration>,
}

/// The kernel counts keepalive's times in seconds.
const SECOND: Duration = Duration::from_secs(1);

fn keepalive(text: &str) -> Result<Duration, String> {
    match values::duration(text)? {
        idle if idle.is_zero() || idle >= SECOND => Ok(idle),
        _ => Err("expected at least 1s, or 0 to disable keepalive probes".to_owned()),
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
        let most = |typed: Option<usize>| typed.and_then(NonZeroUsize::new);
        settings.limits.connections = descriptors::connections(most(self.max_connections));
        settings.limits.per_client = most(self.max_per_client);
        settings.limits.idle = self.idle_timeout;
        settings.limits.lifetime = self.lifetime;
        Ok(())
    }
}
