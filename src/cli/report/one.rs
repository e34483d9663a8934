//! `report --id`: one connection on one screen.

use std::io;
use std::time::Duration;

use conniver::figures::{human_bytes, human_time, long_time};
use conniver::record::{LimitedBy, Outcome, Printable};
use conniver::report::{Builder, Chosen, Connection, Options, Selection, Socket};

use super::ids::{Matches, jq_command};
use super::progress::Progress;
use super::style::{heading, wrong};
use super::table::table;
use super::{Made, ReportArgs, read_files, time};
use crate::cli::exit::Failure;
use crate::cli::terminal;
use crate::cli::wrap::{unbroken, wrap};

/// The connection's screen.
pub(super) fn show(args: &ReportArgs, id: &str, selection: Selection, progress: Progress) -> Made {
    let mut options = Options::default();
    options.selection = selection;
    options.slowest = 0;
    options.redact = args.redact;
    let mut builder = Builder::new(options);
    let mut matches = Matches::new(id);
    let see = |chosen: &Chosen<'_>| {
        if !chosen.is_socket {
            matches.add(chosen.connection);
        }
    };
    let is_whole = read_files(&args.file, &progress, &mut builder, see) == args.file.len();
    progress.finish();
    let (found, how) = matches.found();
    let text = match &found.first[..] {
        [] => {
            let advice = match builder.finish().lines.sockets {
                0 => "conniver report lists the slowest ones with their ids".to_owned(),
                _ => format!(
                    "of sockets of conniver watch there is no timeline, but their lines: {}",
                    unbroken(&jq_command(id, &args.file))
                ),
            };
            Err(Failure::new(format!("there is no connection with the id '{id}'; {advice}")))
        }
        [one] => {
            let width = terminal::width(io::stdout()).unwrap_or(terminal::USUAL_WIDTH);
            Ok(screen(one, width))
        }
        _ => {
            let (count, ids) = (found.count, found.ids());
            Err(Failure::new(format!("{count} connections have ids that {how} '{id}': {ids}")))
        }
    };
    Made::unjudged(text, is_whole)
}

fn screen(connection: &Connection, width: usize) -> String {
    let mut parts = vec![wrap(&headline(connection), width)];
    parts.push(timeline(connection, width));
    parts.push(sockets(connection, width));
    parts.push(wrap(&verdict(connection), width));
    if !connection.warnings.is_empty() {
        let warnings = connection.warnings.iter().map(|warning| {
            // Brief lines have the code alone.
            let text = match &*warning.text {
                "" => warning.code.to_string(),
                text => Printable(text).to_string(),
            };
            let leg = warning.leg.map(|leg| match leg {
                conniver::record::Leg::Client => "client: ",
                _ => "upstream: ",
            });
            wrap(&format!("  {}{}", leg.unwrap_or_default(), wrong(text)), width)
        });
        let warnings: Vec<_> = warnings.collect();
        parts.push(format!("{}\n{}", heading("Warnings"), warnings.join("\n")));
    }
    parts.join("\n\n")
}

fn headline(connection: &Connection) -> String {
    let program = connection.process.as_ref().and_then(|process| {
        let name = Printable(process.name.as_deref()?).to_string();
        Some(process.pid.map_or(name.clone(), |pid| format!("{name}[{pid}]")))
    });
    let client =
        program.or_else(|| connection.client_host.as_ref().map(|h| Printable(h).to_string()));
    let client = client.unwrap_or_else(|| "a client".to_owned());
    let target = Printable(connection.target.as_deref().unwrap_or("(no target)"));
    let mode = connection.mode.map_or_else(String::new, |mode| format!(", {mode} mode"));
    let via = connection.via.as_ref().map(|via| format!(", via {}", Printable(via)));
    let outcome = match connection.outcome {
        Some(Outcome::Ok) => "ok".to_owned(),
        Some(outcome) => wrong(outcome),
        None => "still open".to_owned(),
    };
    let when = connection.opened_at().map(|at| {
        let at = time::local(at);
        format!("{}, ", at.strftime("%Y-%m-%d %H:%M:%S%.3f %:z"))
    });
    let host = Printable(&connection.host);
    let listener = Printable(&connection.listener);
    let mut text = format!(
        "{}\n{}lasted {}, {outcome}\non {host}, listener {listener}{mode}{}",
        heading(format!("{client} → {target}")),
        when.unwrap_or_default(),
        long_time(connection.duration),
        via.unwrap_or_default(),
    );
    if let Some(tls) = &connection.tls {
        let parts = [&tls.version, &tls.server_name, &tls.alpn];
        let parts: Vec<_> =
            parts.into_iter().flatten().map(|part| Printable(part).to_string()).collect();
        text.push_str(&format!("\nTLS: {}", parts.join(", ")));
    }
    if let Some(http) = &connection.http {
        let method = http.method.as_deref().unwrap_or("?");
        let host = http.host.as_deref().unwrap_or("(no host)");
        let status =
            http.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        text.push_str(&format!("\nHTTP: {} {}: {status}", Printable(method), Printable(host)));
    }
    text.push_str(&format!("\nid {}", Printable(&connection.id)));
    text
}

/// What happened, in order.
fn timeline(connection: &Connection, width: usize) -> String {
    let mut events = events(connection);
    events.sort_by_key(|(at, _)| *at);
    let lines = events.into_iter().map(|(at, text)| {
        let time = human_time(at);
        // What follows a break is under the text.
        let text = wrap(&format!("{}{text}", " ".repeat(12)), width);
        format!("  {time:>8}{}", text.get(10..).unwrap_or_default())
    });
    let lines: Vec<_> = lines.collect();
    format!("{}\n{}", heading("Timeline"), lines.join("\n"))
}

fn events(connection: &Connection) -> Vec<(Duration, String)> {
    let phases = &connection.phases;
    let mut events = Vec::new();
    let queued = match phases.accept_queue {
        Some(queued) if queued >= Duration::from_millis(20) => {
            format!(", after {} in the accept queue", human_time(queued))
        }
        _ => String::new(),
    };
    events.push((Duration::ZERO, format!("client accepted{queued}")));
    let mut now = Duration::ZERO;
    if let Some(request) = phases.request {
        now += request;
        events.push((now, "request for the target read".to_owned()));
    }
    let base = connection.opened_at();
    let since = |at: Option<i64>| {
        let nanos = at?.checked_sub(base?)?;
        Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
    };
    if let Some(resolve) = phases.resolve {
        now += resolve;
        let how = match connection.outcome {
            Some(Outcome::Dns) => "name look-up failed",
            _ => "name looked up",
        };
        events.push((now, format!("{how}, {}", human_time(resolve))));
    }
    let connected = connection.upstream.as_ref().and_then(|leg| since(leg.opened_at));
    let dialled = match (connected, phases.connect) {
        (Some(connected), Some(connect)) => connected.saturating_sub(connect),
        _ => now,
    };
    for attempt in &connection.attempts {
        let addr = attempt.addr.map_or_else(|| "?".to_owned(), |addr| addr.to_string());
        let syns = match attempt.syn_retransmits {
            Some(count @ 1..) => format!(", {count} SYN sent again"),
            _ => String::new(),
        };
        let took = human_time(attempt.duration);
        let text = match (&attempt.error, attempt.outcome) {
            (Some(error), _) => wrong(format!("connecting to {addr} failed: {}", Printable(error))),
            (None, Some(conniver::record::AttemptOutcome::Cancelled)) => {
                format!("connecting to {addr} cancelled")
            }
            _ => format!("connected to {addr}"),
        };
        let end = dialled + attempt.started_after + attempt.duration;
        events.push((end, format!("{text}, {took}{syns}")));
    }
    if connection.attempts.is_empty()
        && let Some(connect) = phases.connect
    {
        let how = match connection.upstream {
            Some(_) => "connected to the upstream".to_owned(),
            None => wrong("connecting to the upstream failed"),
        };
        events.push((now + connect, format!("{how}, {}", human_time(connect))));
    }
    let sides = [("client", Some(&connection.client)), ("upstream", connection.upstream.as_ref())];
    for (side, leg) in sides.into_iter().filter_map(|(side, leg)| Some((side, leg?))) {
        let received = |at: Option<i64>| since(at).filter(|_| leg.rx_bytes > 0);
        let (first, last) = (received(leg.first_rx_at), received(leg.last_rx_at));
        events.extend(first.map(|at| (at, format!("first byte from the {side}"))));
        let is_other = last != first;
        events.extend(last.filter(|_| is_other).map(|at| {
            (at, format!("last byte from the {side}, {} in all", human_bytes(leg.rx_bytes)))
        }));
        events
            .extend(since(leg.rx_eof_at).map(|at| (at, format!("end of stream from the {side}"))));
    }
    if let Some(tls) = &connection.tls
        && let (Some(handshake), Some(began)) =
            (tls.handshake, since(connection.client.first_rx_at))
    {
        events.push((
            began + handshake,
            format!("TLS handshake finished, {}", human_time(handshake)),
        ));
    }
    if let Some(turns) = &connection.turns {
        for turn in &turns.slowest {
            let Some(at) = since(Some(turn.at)) else { continue };
            // A turn that is all there is stands in the lines around it.
            let number = if turns.count > 1 { "one of the longest waits" } else { "request" };
            events.push((
                at,
                format!(
                    "{number}: answered after {}, {} of that in transit ({} there, {} back)",
                    human_time(turn.wait),
                    human_time(turn.network),
                    human_bytes(turn.request_bytes),
                    human_bytes(turn.answer_bytes)
                ),
            ));
        }
    }
    events.push((connection.duration, format!("closed: {}", ending(connection))));
    events
}

fn ending(connection: &Connection) -> String {
    let Some(end) = &connection.ending else { return "not known how".to_owned() };
    let first = format!("{} {}", end.first_by.in_words(), end.first_how.in_words());
    let mut text = format!("{first} first");
    if let (Some(second_by), Some(second_how)) = (end.second_by, end.second_how) {
        text.push_str(&format!(", {} {}", second_by.in_words(), second_how.in_words()));
        text.push_str(
            &end.gap.map_or_else(String::new, |gap| format!(" {} later", human_time(gap))),
        );
    }
    let error = end.error.as_ref().or(end.error_code.as_ref());
    if let Some(error) = error.filter(|_| connection.outcome != Some(Outcome::Ok)) {
        text.push_str(&format!("; {}", wrong(Printable(error))));
    }
    text
}

/// Both sockets, side by side.
fn sockets(connection: &Connection, width: usize) -> String {
    type Figure = fn(&Socket) -> Option<String>;
    let figures: [(&str, Figure); 14] = [
        ("peer", |leg| leg.remote_addr.map(|addr| addr.to_string())),
        ("received", |leg| Some(human_bytes(leg.rx_bytes))),
        ("sent", |leg| Some(human_bytes(leg.tx_bytes))),
        ("RTT", |leg| leg.undisturbed_rtt().map(human_time)),
        ("smallest RTT", |leg| leg.min_rtt().map(human_time)),
        ("segments sent", |leg| {
            leg.closed_info.as_ref()?.sys_info.data_segs_out.map(|n| n.to_string())
        }),
        ("sent again", |leg| leg.retransmits(0).map(|count| count.to_string())),
        ("lost", |leg| leg.lost.map(|count| count.to_string())),
        ("timeouts", |leg| leg.closed_info.as_ref()?.sys_info.total_rto.map(|n| n.to_string())),
        ("out of order", |leg| {
            leg.closed_info.as_ref()?.sys_info.rx_out_of_order.map(|n| n.to_string())
        }),
        ("write blocked", |leg| leg.write_blocked.map(human_time)),
        ("window limited", |leg| {
            leg.closed_info.as_ref()?.sys_info.rx_window_limited.map(human_time)
        }),
        ("MSS", |leg| leg.closed_info.as_ref()?.tx_mss.map(|mss| format!("{mss} B"))),
        ("congestion", |leg| leg.closed_info.as_ref()?.sys_info.cc_algorithm.clone()),
    ];
    let cell = |figure: Figure, leg: Option<&Socket>| {
        leg.and_then(figure).map_or_else(|| "-".to_owned(), |text| Printable(text).to_string())
    };
    let rows = figures.into_iter().map(|(name, figure)| {
        let client = cell(figure, Some(&connection.client));
        vec![name.to_owned(), client, cell(figure, connection.upstream.as_ref())]
    });
    let undelivered =
        [&connection.delivery.to_client, &connection.delivery.to_upstream].map(|side| {
            let bytes = side.as_ref().and_then(|side| side.undelivered);
            bytes.map_or_else(|| "-".to_owned(), human_bytes)
        });
    let [client, upstream] = undelivered;
    let mut rows: Vec<_> = rows.collect();
    rows.push(vec!["not acknowledged".to_owned(), client, upstream]);
    // What is known of neither is not said.
    rows.retain(|row| row.iter().skip(1).any(|cell| cell != "-"));
    table(&["sockets", "client", "upstream"], &[], &rows, width)
}

fn verdict(connection: &Connection) -> String {
    let Some(verdict) = &connection.verdict else {
        return "Nobody can be named as slow: the kernel's figures are missing.".to_owned();
    };
    let active = human_time(verdict.active);
    let mut text = match (verdict.limited_by, verdict.share) {
        (LimitedBy::None, _) | (_, None) => match verdict.active {
            Duration::ZERO => "Nobody waited for anybody.".to_owned(),
            short if short < LimitedBy::MIN_ACTIVE => {
                format!("{active} in which somebody waited are too short to say for whom.")
            }
            _ => format!("Of the {active} in which somebody waited, nobody certainly took half."),
        },
        (party, Some(share)) => {
            let party = heading(party.in_words());
            format!("Most of the waiting was for {party}: {:.0} % of {active}.", share * 100.0)
        }
    };
    if let Some(parts) = &verdict.time {
        let parts = [
            ("resolver", parts.resolver),
            ("client", parts.client),
            ("upstream", parts.upstream),
            ("network to the client", parts.network_client),
            ("network to the upstream", parts.network_upstream),
            ("proxy", parts.proxy),
            ("idle", parts.idle),
        ];
        let parts = parts.iter().filter(|(_, time)| *time >= Duration::from_micros(100));
        let parts: Vec<_> =
            parts.map(|(name, time)| format!("{name} {}", human_time(*time))).collect();
        if !parts.is_empty() {
            text.push_str(&format!("\nTime: {}.", parts.join(", ")));
        }
    }
    if let Some(turns) = &connection.turns {
        text.push_str(&match turns.wait {
            Some(wait) => format!(
                "\nTurns: {}, waits p50 {}, p99 {}, max {}.",
                turns.count,
                human_time(wait.p50),
                human_time(wait.p99),
                human_time(wait.max)
            ),
            None => format!("\nTurns: {}, several at once.", turns.count),
        });
    }
    text
}
