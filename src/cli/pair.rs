//! What `proxy` and `run` are told alike: how pairs are dialled, relayed and recorded.

use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use conniver::proxy::{Events, Family, ParseViaError, Settings, Via};
use conniver::record::Detail;

use super::exit;

#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// Which lines to write, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "close")]
    events: Vec<Event>,

    /// How far apart the sample lines of a connection are while bytes pass
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    sample_interval: Duration,

    /// How much they tell: brief is some 1 kB a pair, normal 5 kB, full has all that the kernel knows
    #[arg(long, value_name = "LEVEL", default_value = "full")]
    detail: DetailArg,

    /// Put the kernel's structures into every record as they are, in hexadecimal (sysInfoRaw)
    #[arg(long)]
    raw: bool,

    /// Put this into every record; repeatable, the last value of a KEY counts
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label)]
    label: Vec<(String, String)>,

    /// The machine's name in every record, instead of its own
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    /// Do not look for the local programs that are clients
    #[arg(long)]
    no_process: bool,

    /// Longest time to look up and connect to a target: 10s, 500ms; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    connect_timeout: Duration,

    /// Reach targets through a parent proxy: [http|socks5|socks5h]://[USER:PASSWORD@]HOST[:PORT].
    /// HTTP (CONNECT) and socks5h hand it names, socks5 looks them up here
    #[arg(long, value_name = "URL")]
    via: Option<ViaArg>,

    /// Reach targets by their IPv4 addresses alone
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,

    /// Reach targets by their IPv6 addresses alone
    #[arg(short = '6', long)]
    ipv6: bool,

    /// How long connections may go on that are still open at the end
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    drain: Duration,

    /// How long to wait, after the last byte, until the peers have acknowledged everything
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    linger: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Event {
    Start,
    Open,
    Sample,
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

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// `5s`, `250ms`, `1m 30s`; a bare number is seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let seconds = || text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    let friendly = || Duration::try_from(text.parse::<jiff::SignedDuration>().ok()?).ok();
    seconds()
        .or_else(friendly)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "expected a time such as 5s, 250ms or 1m, a year at most".to_owned())
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    const SHORTEST: Duration = Duration::from_millis(10);
    match parse_duration(text)? {
        interval if interval < SHORTEST => Err("expected at least 10ms".to_owned()),
        interval => Ok(interval),
    }
}

/// What `--via` was given. It is judged after clap, which would repeat a malformed URL, password
/// and all.
#[derive(Debug, Clone)]
pub(super) struct ViaArg(Result<Via, ParseViaError>);

impl FromStr for ViaArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.parse()))
    }
}

impl ViaArg {
    /// Wrong usage ends the program, as everywhere.
    pub(super) fn or_exit(&self) -> Via {
        let refuse = |error| exit::invalid_value("--via <URL>", error);
        self.0.clone().unwrap_or_else(refuse)
    }
}

impl PairArgs {
    /// What was typed, as what it means.
    pub(super) fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.process = !self.no_process;
        settings.connect_timeout = self.connect_timeout;
        settings.family = match (self.ipv4, self.ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            (false, false) => Family::Any,
        };
        settings.tunnel_via = self.via.as_ref().map(ViaArg::or_exit);
        settings.http_via.clone_from(&settings.tunnel_via);
        settings.drain = self.drain;
        settings.linger = self.linger;
        settings.events = Events::NONE;
        for event in &self.events {
            *match event {
                Event::Start => &mut settings.events.start,
                Event::Open => &mut settings.events.open,
                Event::Sample => &mut settings.events.sample,
                Event::Close => &mut settings.events.close,
                Event::Stop => &mut settings.events.stop,
            } = true;
        }
        settings.sample_interval = self.sample_interval;
        settings.detail = self.detail.into();
        settings.raw = self.raw;
        settings.labels = self.label.iter().cloned().collect();
        if let Some(host) = &self.host {
            settings.host.clone_from(host);
        }
        settings
    }
}
