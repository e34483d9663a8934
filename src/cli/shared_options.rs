//! What `proxy` and `run` are told alike: how pairs are dialled, relayed and recorded.

use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use conniver::proxy::{Events, Family, ParseViaError, Settings, Via};
use conniver::record::Detail;

use super::{usage, values};

#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// Types of lines to write, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "close")]
    events: Vec<Event>,

    /// Interval between sample lines while a connection transfers data, at least 10ms; while it is
    /// idle, at least a minute. Needs sample in --events
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::duration_from(Settings::SHORTEST_SAMPLE_INTERVAL, "10ms"))]
    sample_interval: Duration,

    /// Write only turns that waited at least TIME for their answer. Needs turn in --events
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = values::duration)]
    turn_min: Duration,

    /// Level of detail: brief (about 1 kB per record), normal (5 kB) or full (everything the kernel
    /// reports)
    #[arg(long, value_name = "LEVEL", default_value = "full")]
    detail: DetailArg,

    /// Add the kernel's TCP information structures to every record, unparsed, in hexadecimal
    /// (sysInfoRaw)
    #[arg(long)]
    raw: bool,

    /// Add a label to every record; repeatable. If a KEY is repeated, its last value counts
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::label)]
    label: Vec<(String, String)>,

    /// Host name in every record, instead of the machine's own
    #[arg(long, value_name = "NAME", value_parser = values::host)]
    host: Option<String>,

    /// Do not look up the local process of each client
    #[arg(long)]
    no_process: bool,

    /// Maximum time to resolve and connect to a target: 10s, 500ms; a number without a unit is
    /// seconds; 0 means no limit
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    connect_timeout: Duration,

    /// Connect through a parent proxy: [http|socks5|socks5h]://[USER:PASSWORD@]HOST[:PORT]. With
    /// http (CONNECT) and socks5h the parent resolves names, with socks5 conniver does
    #[arg(long, value_name = "URL")]
    via: Option<ViaArg>,

    /// Connect to targets over IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,

    /// Connect to targets over IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,

    /// Maximum time for open connections to finish at shutdown; 0 ends them at once
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = values::duration)]
    drain: Duration,

    /// Maximum time to wait, after the last byte, until the peers have acknowledged everything; 0
    /// disables waiting
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    linger: Duration,
}

/// A kind of line, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Event {
    Start,
    Open,
    Sample,
    Turn,
    Close,
    Stop,
}

/// A [`Detail`], as it is typed.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum DetailArg {
    Brief,
    Normal,
    Full,
}

impl From<DetailArg> for Detail {
    fn from(typed: DetailArg) -> Self {
        match typed {
            DetailArg::Brief => Self::Brief,
            DetailArg::Normal => Self::Normal,
            DetailArg::Full => Self::Full,
        }
    }
}

/// What `--via` was given. It is judged after clap, which would repeat a malformed URL, password
/// and all.
#[derive(Debug, Clone)]
pub(super) struct ViaArg(Result<Via, String>);

/// What somebody types who wants no parent proxy.
const NO_PARENT: [&str; 5] = ["", "none", "direct", "off", "no"];

impl FromStr for ViaArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        if NO_PARENT.iter().any(|no| text.eq_ignore_ascii_case(no)) {
            return Ok(Self(Err(
                "expected the URL of a parent proxy; to connect without one, omit --via, and \
                 where http_proxy or https_proxy names one for run or stat, set no_proxy='*'"
                    .to_owned(),
            )));
        }
        Ok(Self(text.parse().map_err(|error: ParseViaError| error.to_string())))
    }
}

impl ViaArg {
    /// Wrong usage ends the program, as everywhere.
    pub(super) fn or_exit(&self) -> Via {
        let refuse = |error| usage::invalid_value("--via <URL>", error);
        self.0.clone().unwrap_or_else(refuse)
    }
}

impl PairArgs {
    /// The parent proxy. Wrong usage ends the program.
    pub(super) fn via(&self) -> Option<Via> {
        self.via.as_ref().map(ViaArg::or_exit)
    }

    pub(super) fn family(&self) -> Family {
        match (self.ipv4, self.ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            (false, false) => Family::Any,
        }
    }

    /// What was typed, as what it means.
    pub(super) fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.process = !self.no_process;
        settings.connect_timeout = self.connect_timeout;
        settings.family = self.family();
        settings.tunnel_via = self.via();
        settings.http_via.clone_from(&settings.tunnel_via);
        settings.forward_via.clone_from(&settings.tunnel_via);
        settings.drain = self.drain;
        settings.linger = self.linger;
        settings.events = Events::NONE;
        for event in &self.events {
            *match event {
                Event::Start => &mut settings.events.start,
                Event::Open => &mut settings.events.open,
                Event::Sample => &mut settings.events.sample,
                Event::Turn => &mut settings.events.turn,
                Event::Close => &mut settings.events.close,
                Event::Stop => &mut settings.events.stop,
            } = true;
        }
        settings.sample_interval = self.sample_interval;
        settings.turn_min = self.turn_min;
        settings.detail = self.detail.into();
        settings.raw = self.raw;
        settings.labels = self.label.iter().cloned().collect();
        if let Some(host) = &self.host {
            settings.host.clone_from(host);
        }
        settings
    }
}
