//! What is printed of a URL for people.

use std::fmt::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use conniver::record::stat::{Certificate, Exchange, Stat, Tls};
use conniver::record::{Basis, LimitedBy, Outcome, Report, Verdict};

use super::drawing;
use crate::cli::units::human_bytes;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const ATTENTION: Style = AnsiColor::Yellow.on_default();
const DIMMED: Style = Style::new().dimmed();

/// All of it: every exchange with its head, drawing and figures.
pub(super) fn whole(stat: &Stat) -> String {
    let mut text = String::new();
    for exchange in &stat.redirects {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}\n", Whole(exchange));
    }
    let _ = write!(text, "{}", Whole(&stat.exchange));
    if stat.exchange.http.status.is_some() {
        let bytes = human_bytes(stat.exchange.http.body_bytes);
        let _ = match &stat.saved_to {
            Some(file) => write!(text, "\nbody: {bytes}, saved to {}", printable(file)),
            None => write!(text, "\nbody: {bytes}, discarded"),
        };
    }
    text
}

/// A line of it.
pub(super) fn brief(stat: &Stat) -> String {
    let exchange = &stat.exchange;
    let phases = &exchange.phases;
    let mut parts = Vec::new();
    for (name, duration) in [
        ("DNS", phases.resolve),
        ("TCP", phases.connect),
        ("TLS", phases.tls),
        ("server", phases.server),
        ("transfer", phases.transfer),
        ("total", Some(exchange.duration)),
        ("RTT", rtt_at_end(exchange)),
    ] {
        parts.extend(duration.map(|duration| format!("{name} {duration:.1?}")));
    }
    let status = match (exchange.http.status, exchange.outcome) {
        (Some(status), Outcome::Ok) => format!("{GOOD}{status}{GOOD:#}"),
        (_, outcome) => format!("{BAD}{outcome}{BAD:#}"),
    };
    format!("{}: {status}  {}", stat.seq, parts.join(", "))
}

pub(super) fn rtt_at_end(exchange: &Exchange) -> Option<Duration> {
    exchange.upstream.as_ref()?.undisturbed_rtt()
}

/// What a server or a file's name says, without what a terminal would take for a command.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

struct Whole<'e>(&'e Exchange);

impl fmt::Display for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exchange = self.0;
        write!(f, "{} {}", exchange.http.method, exchange.url)?;
        connection(f, exchange)?;
        if let Some(tls) = &exchange.tls {
            handshake(f, tls)?;
        }
        if let Some(status) = exchange.http.status {
            let version = exchange.http.version.as_deref().unwrap_or("HTTP");
            write!(f, "\n\n{GOOD}{version} {status}{GOOD:#}")?;
            for header in &exchange.http.headers {
                let value = printable(&header.value);
                write!(f, "\n{DIMMED}{}:{DIMMED:#} {value}", header.name)?;
            }
        }
        let Some(leg) = &exchange.upstream else { return Ok(()) };
        write!(f, "\n\n{}", drawing::draw(&exchange.phases, exchange.url.starts_with("https:")))?;
        tcp(f, leg, rtt_at_end(exchange))?;
        if let Some(verdict) = &exchange.verdict {
            write!(f, "\n{}", Limiter { verdict, is_direct: exchange.via.is_none() })?;
        }
        for warning in &exchange.warnings {
            write!(f, "\n{ATTENTION}warning: {}{ATTENTION:#}", warning.text)?;
        }
        Ok(())
    }
}

fn connection(f: &mut fmt::Formatter<'_>, exchange: &Exchange) -> fmt::Result {
    if let Some(leg) = &exchange.upstream
        && let (Some(remote), Some(local)) = (leg.remote_addr, leg.local_addr)
    {
        write!(f, "\nconnected to {remote} from {local}")?;
        if let Some(via) = &exchange.via {
            write!(f, ", the parent proxy {via}")?;
        }
    }
    for attempt in &exchange.attempts {
        if let Some(error) = &attempt.error {
            write!(f, "\n{ATTENTION}{}: {error}{ATTENTION:#}", attempt.addr)?;
        }
    }
    Ok(())
}

fn handshake(f: &mut fmt::Formatter<'_>, tls: &Tls) -> fmt::Result {
    let parts = [&tls.version, &tls.cipher, &tls.key_exchange, &tls.alpn];
    let parts: Vec<_> = parts.into_iter().flatten().map(|part| printable(part)).collect();
    if !parts.is_empty() {
        write!(f, "\n{}", parts.join(", "))?;
    }
    if let Some(Certificate { subject, issuer, names, not_after, .. }) = tls.certificates.first() {
        write!(f, "\ncertificate: {}", printable(subject))?;
        if !names.is_empty() {
            write!(f, ", for {}", printable(&names.join(", ")))?;
        }
        write!(f, ", by {}, until {not_after}", printable(issuer))?;
    }
    match (tls.verified, &tls.verify_error) {
        (Some(false), Some(error)) => write!(f, "\n{ATTENTION}not trusted: {error}{ATTENTION:#}"),
        (Some(true), _) => f.write_str(", trusted"),
        _ => Ok(()),
    }
}

fn tcp(f: &mut fmt::Formatter<'_>, leg: &Report, rtt_at_end: Option<Duration>) -> fmt::Result {
    let (opened, closed) = (leg.opened_info.as_ref(), leg.closed_info.as_ref());
    let linux = closed.and_then(|info| info.sys_info.linux());
    write!(f, "\n\nTCP: ")?;
    let mut times = Vec::new();
    for (when, rtt) in [
        ("at start", opened.and_then(|info| info.rtt)),
        ("at end", rtt_at_end),
        ("smallest", linux.and_then(|linux| linux.min_rtt)),
    ] {
        times.extend(rtt.map(|rtt| format!("{rtt:.1?} {when}")));
    }
    if !times.is_empty() {
        write!(f, "RTT {}\n     ", times.join(", "))?;
    }
    let (sent, received) = (human_bytes(leg.tx_bytes), human_bytes(leg.rx_bytes));
    write!(f, "{sent} sent, {received} received")?;
    if let Some(count) = closed.and_then(|info| info.retransmits) {
        write!(f, ", {count} retransmissions")?;
    }
    if let Some(rate) = linux.and_then(|linux| linux.delivery_rate) {
        write!(f, ", delivery rate of sending {}/s", human_bytes(rate))?;
    }
    Ok(())
}

/// Who was slow, in the word of the record and in others.
struct Limiter<'v> {
    verdict: &'v Verdict,
    is_direct: bool,
}

impl fmt::Display for Limiter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { limited_by, share, active, basis, .. } = self.verdict;
        write!(f, "verdict: {limited_by}")?;
        let Some(share) = share else { return Ok(()) };
        let peer = if self.is_direct { "the server" } else { "the parent proxy" };
        let beyond = if self.is_direct { "" } else { "what is behind it, " };
        write!(f, ", {:.0} % of {active:.1?}: ", share * 100.0)?;
        match (limited_by, basis) {
            (LimitedBy::Upstream, Some(Basis::Receiver)) => {
                write!(f, "{peer}, {beyond}or the path from there")
            }
            (LimitedBy::Upstream, _) => write!(f, "{peer} took slowly what was sent"),
            (LimitedBy::NetworkUpstream, Some(Basis::Receiver)) => {
                write!(f, "the path from {peer}, which lost packets or marked them for congestion")
            }
            (LimitedBy::NetworkUpstream, _) => write!(f, "the path to {peer} and back"),
            _ => f.write_str("this machine"),
        }
    }
}
