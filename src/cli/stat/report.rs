//! What is printed of a URL for people.

use std::fmt::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use conniver::columns::shorten_middle;
use conniver::figures::human_bytes;
use conniver::plural::counted;
use conniver::record::stat::{Certificate, Exchange, Stat, Tls};
use conniver::record::{
    Attempt, AttemptOutcome, Basis, LimitedBy, Outcome, Printable, Report, Verdict,
};

use super::drawing;
use crate::cli::wrap::wrap;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const ATTENTION: Style = AnsiColor::Yellow.on_default();
const DIMMED: Style = Style::new().dimmed();

/// Hosts are not shortened beyond this, with their ports.
const SHORTEST_HOST: usize = 20;

/// All of it: every exchange with its head, drawing and figures, in lines of at most `width`. Header
/// fields, and words that are longer, are left as they are.
pub(super) fn whole(stat: &Stat, width: usize) -> String {
    let mut text = String::new();
    for exchange in &stat.redirects {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}\n", Whole { exchange, width });
    }
    let _ = write!(text, "{}", Whole { exchange: &stat.exchange, width });
    if stat.exchange.http.status.is_some() {
        let bytes = human_bytes(stat.exchange.http.body_bytes);
        let _ = match &stat.saved_to {
            Some(file) => {
                let file = Printable(file);
                let saved = match stat.exchange.outcome {
                    Outcome::Ok => format!("\nbody: {bytes}, saved to {file}"),
                    _ => format!("\nbody: {bytes} received; {file} is incomplete"),
                };
                text.write_str(&wrap(&saved, width))
            }
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

struct Whole<'e> {
    exchange: &'e Exchange,
    width: usize,
}

/// A URL whose host is shortened until it has room, as far as that is of use; never its port.
fn url_within(url: &str, width: usize) -> String {
    let whole = Printable(url).to_string();
    let too_long = whole.chars().count().saturating_sub(width);
    let Some((scheme, rest)) = whole.split_once("://").filter(|_| too_long > 0) else {
        return whole;
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let room = authority.chars().count().saturating_sub(too_long).max(SHORTEST_HOST);
    format!("{scheme}://{}{path}", shorten_middle(authority, room))
}

impl fmt::Display for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exchange, width } = *self;
        let method = Printable(&exchange.http.method).to_string();
        let room = width.saturating_sub(method.chars().count() + 1);
        write!(f, "{method} {}", url_within(&exchange.url, room))?;
        let mut head = String::new();
        connection(&mut head, exchange, width)?;
        if let Some(tls) = &exchange.tls {
            handshake(&mut head, tls)?;
        }
        f.write_str(&wrap(&head, width))?;
        if let Some(status) = exchange.http.status {
            let version = exchange.http.version.as_deref().unwrap_or("HTTP");
            write!(f, "\n\n{GOOD}{} {status}{GOOD:#}", Printable(version))?;
            for header in &exchange.http.headers {
                let (name, value) = (Printable(&header.name), Printable(&header.value));
                write!(f, "\n{DIMMED}{name}:{DIMMED:#} {value}")?;
            }
        }
        write!(f, "\n\n{}", drawing::draw(exchange, width))?;
        let mut figures = String::new();
        if let Some(leg) = &exchange.upstream {
            tcp(&mut figures, leg, rtt_at_end(exchange))?;
        }
        if let Some(verdict) = &exchange.verdict {
            write!(figures, "\n{}", Limiter { verdict, is_direct: exchange.via.is_none() })?;
        }
        for warning in &exchange.warnings {
            write!(figures, "\n{ATTENTION}warning: {}{ATTENTION:#}", Printable(&warning.text))?;
        }
        f.write_str(&wrap(&figures, width))
    }
}

fn connection(f: &mut String, exchange: &Exchange, width: usize) -> fmt::Result {
    if let Some(leg) = &exchange.upstream
        && let (Some(remote), Some(local)) = (leg.remote_addr, leg.local_addr)
    {
        write!(f, "\nconnected to {remote} from {local}")?;
        if let Some(via) = &exchange.via {
            write!(f, ", the parent proxy {}", url_within(via, width.saturating_sub(4)))?;
        }
    }
    for attempt in &exchange.attempts {
        if let Some(error) = &attempt.error {
            write!(f, "\n{ATTENTION}{}: {}{ATTENTION:#}", attempt.addr, Printable(error))?;
        } else if attempt.outcome == AttemptOutcome::Cancelled {
            let Attempt { addr, duration, .. } = attempt;
            let why = match exchange.attempts.iter().any(|a| a.outcome == AttemptOutcome::Ok) {
                true => "another address connected first",
                false => "out of time",
            };
            write!(f, "\n{DIMMED}{addr}: abandoned after {duration:.1?}, {why}{DIMMED:#}")?;
        }
    }
    Ok(())
}

fn handshake(f: &mut String, tls: &Tls) -> fmt::Result {
    let parts = [&tls.version, &tls.cipher, &tls.key_exchange, &tls.alpn];
    let parts: Vec<_> = parts.into_iter().flatten().map(String::as_str).collect();
    if !parts.is_empty() {
        write!(f, "\n{}", Printable(parts.join(", ")))?;
    }
    if let Some(Certificate { subject, issuer, names, not_after, .. }) = tls.certificates.first() {
        write!(f, "\ncertificate: {}", Printable(subject))?;
        if !names.is_empty() {
            write!(f, ", for {}", Printable(&names.join(", ")))?;
        }
        write!(f, ", issued by {}, valid until {not_after}", Printable(issuer))?;
    }
    match (tls.verified, &tls.verify_error) {
        (Some(false), Some(error)) => {
            write!(f, "\n{ATTENTION}not trusted: {}{ATTENTION:#}", Printable(error))
        }
        (Some(true), _) => f.write_str(", trusted"),
        _ => Ok(()),
    }
}

fn tcp(f: &mut String, leg: &Report, rtt_at_end: Option<Duration>) -> fmt::Result {
    let (opened, closed) = (leg.opened_info.as_ref(), leg.closed_info.as_ref());
    let linux = closed.and_then(|info| info.sys_info.linux());
    write!(f, "\n\nTCP: ")?;
    let mut times = Vec::new();
    for (when, rtt) in [
        ("at start", opened.and_then(|info| info.rtt)),
        ("at end", rtt_at_end),
        ("minimum", linux.and_then(|linux| linux.min_rtt)),
    ] {
        times.extend(rtt.map(|rtt| format!("{rtt:.1?} {when}")));
    }
    if !times.is_empty() {
        write!(f, "RTT {}\n     ", times.join(", "))?;
    }
    let (sent, received) = (human_bytes(leg.tx_bytes), human_bytes(leg.rx_bytes));
    write!(f, "{sent} sent, {received} received")?;
    if let Some(count) = closed.and_then(|info| info.retransmits) {
        write!(f, ", {}", counted(count, "retransmission"))?;
    }
    if let Some(rate) = linux.and_then(|linux| linux.delivery_rate) {
        write!(f, ", delivery rate when sending {}/s", human_bytes(rate))?;
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
                write!(f, "{peer}, {beyond}or the path from it")
            }
            (LimitedBy::Upstream, _) => write!(f, "{peer} read the request slowly"),
            (LimitedBy::NetworkUpstream, Some(Basis::Receiver)) => {
                write!(f, "the path from {peer}: packet loss or congestion (ECN) marks")
            }
            (LimitedBy::NetworkUpstream, _) => write!(f, "the path to {peer} and back"),
            _ => f.write_str("this machine"),
        }
    }
}
