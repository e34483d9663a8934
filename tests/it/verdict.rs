//! Who was slow: each test makes somebody slow and reads who it was.

use conniver::record::{Basis, Direction, LimitedBy, Record, Verdict, VerdictTime};

use crate::harness::namespace::available;
use crate::harness::peers::{echo_server, exchange};
use crate::harness::program::{BINARY, Proxy};
use crate::harness::{causes, has_tool, run};

fn verdict_of(record: Record) -> Verdict {
    record.verdict.unwrap()
}

#[track_caller]
fn assert_limited(record: Record, by: LimitedBy, basis: Option<Basis>) -> Verdict {
    let verdict = verdict_of(record);
    assert_eq!((verdict.limited_by, verdict.basis), (by, basis), "{verdict:#?}");
    verdict
}

fn networks(what: &str) -> bool {
    available(what) && has_tool("tc", what)
}

#[test]
fn a_client_that_reads_slowly_is_named() {
    let verdict = assert_limited(
        causes::a_client_that_reads_slowly(),
        LimitedBy::Client,
        Some(Basis::Sender),
    );
    assert_eq!(verdict.direction, Some(Direction::ToClient));
}

#[test]
fn an_upstream_that_thinks_is_named() {
    let basis = Some(Basis::Receiver);
    assert_limited(causes::an_upstream_that_thinks(), LimitedBy::Upstream, basis);
}

#[test]
fn an_upstream_that_sends_slowly_is_named() {
    let basis = Some(Basis::Receiver);
    assert_limited(causes::an_upstream_that_sends_slowly(), LimitedBy::Upstream, basis);
}

#[test]
fn a_client_that_uploads_slowly_is_named() {
    let basis = Some(Basis::Receiver);
    let verdict = assert_limited(causes::a_client_that_uploads_slowly(), LimitedBy::Client, basis);
    assert_eq!(verdict.direction, Some(Direction::ToUpstream));
}

#[test]
fn the_time_in_which_a_client_asks_for_nothing_is_nobodys() {
    let record = causes::a_client_that_idles_between_instant_answers();
    let verdict = assert_limited(record, LimitedBy::None, None);
    assert!(verdict.time.idle > verdict.active * 10, "{verdict:#?}");
}

#[test]
fn a_proxy_that_is_paused_while_little_comes_names_itself() {
    assert_limited(causes::a_proxy_that_is_paused_while_little_comes(), LimitedBy::Proxy, None);
}

#[test]
fn a_proxy_that_is_paused_in_a_fast_stream_names_itself() {
    assert_limited(causes::a_proxy_that_is_paused_in_a_fast_stream(), LimitedBy::Proxy, None);
}

#[test]
fn of_a_short_exchange_too_little_is_known_to_name_anybody() {
    assert_limited(causes::a_short_exchange_without_pauses(), LimitedBy::None, None);
}

#[test]
fn a_rate_limited_path_in_the_direction_of_sending_is_named() {
    if !networks("a_rate_limited_path_in_the_direction_of_sending_is_named") {
        return;
    }
    let basis = Some(Basis::Sender);
    let to_client = [
        causes::a_rate_limited_path_to_the_client(),
        causes::a_rate_limited_path_to_the_client_under_cubic(),
    ];
    for record in to_client {
        assert_limited(record, LimitedBy::NetworkClient, basis);
    }
    let to_upstream = [
        causes::a_rate_limited_path_to_the_upstream(),
        causes::a_rate_limited_path_to_the_upstream_under_cubic(),
    ];
    for record in to_upstream {
        assert_limited(record, LimitedBy::NetworkUpstream, basis);
    }
}

#[test]
fn a_sender_that_paces_is_named_and_not_the_path() {
    if !networks("a_sender_that_paces_is_named_and_not_the_path") {
        return;
    }
    let record = causes::a_sender_that_paces_over_a_rate_limited_path();
    assert_limited(record, LimitedBy::Upstream, Some(Basis::Receiver));
}

#[test]
fn a_sender_that_paces_small_messages_over_a_path_of_40_ms_is_named_and_not_the_path() {
    if !networks(
        "a_sender_that_paces_small_messages_over_a_path_of_40_ms_is_named_and_not_the_path",
    ) {
        return;
    }
    let basis = Some(Basis::Receiver);
    let over = causes::a_sender_that_paces_small_messages_over_a_long_path();
    let verdict = assert_limited(over, LimitedBy::Upstream, basis);
    // What the kernel's timers alone would make of it.
    assert!(verdict.evidence.busy_time > verdict.active / 2, "{verdict:#?}");
    let from = causes::a_sender_that_paces_small_messages_from_afar();
    assert_limited(from, LimitedBy::Upstream, basis);
}

#[test]
fn a_client_elsewhere_that_reads_slowly_is_named_and_not_the_path() {
    if !networks("a_client_elsewhere_that_reads_slowly_is_named_and_not_the_path") {
        return;
    }
    let basis = Some(Basis::Sender);
    for record in [
        causes::a_client_on_another_machine_that_reads_slowly(),
        causes::a_client_on_another_machine_that_reads_slowly_under_cubic(),
        causes::a_client_far_away_that_reads_slowly(),
        causes::a_client_far_away_that_reads_slowly_under_cubic(),
    ] {
        assert_limited(record, LimitedBy::Client, basis);
    }
}

#[test]
fn a_long_path_that_loses_packets_is_named_where_the_proxy_sends() {
    if !networks("a_long_path_that_loses_packets_is_named_where_the_proxy_sends") {
        return;
    }
    let basis = Some(Basis::Sender);
    let to_client = [
        causes::a_long_lossy_path_to_the_client_under_cubic(),
        causes::a_long_lossy_path_to_the_client_under_bbr(),
    ];
    for record in to_client {
        assert_limited(record, LimitedBy::NetworkClient, basis);
    }
    let to_upstream = [
        causes::a_long_lossy_path_to_the_upstream_under_cubic(),
        causes::a_long_lossy_path_to_the_upstream_under_bbr(),
    ];
    for record in to_upstream {
        assert_limited(record, LimitedBy::NetworkUpstream, basis);
    }
}

#[test]
fn a_long_path_that_loses_packets_is_never_taken_for_a_program_where_the_proxy_receives() {
    if !networks(
        "a_long_path_that_loses_packets_is_never_taken_for_a_program_where_the_proxy_receives",
    ) {
        return;
    }
    for record in [
        causes::a_long_lossy_path_from_the_upstream_under_cubic(),
        causes::a_long_lossy_path_from_the_upstream_under_bbr(),
        causes::a_long_path_from_the_upstream_that_loses_little(),
    ] {
        let verdict = verdict_of(record);
        let may_be = [LimitedBy::NetworkUpstream, LimitedBy::None];
        assert!(may_be.contains(&verdict.limited_by), "{verdict:#?}");
        assert!(verdict.evidence.rx_out_of_order > Some(0), "{verdict:#?}");
    }
}

#[test]
fn of_a_fast_clean_transfer_no_path_is_named() {
    let verdict = verdict_of(causes::a_fast_clean_transfer());
    let paths = [LimitedBy::NetworkClient, LimitedBy::NetworkUpstream];
    assert!(!paths.contains(&verdict.limited_by), "{verdict:#?}");
}

#[test]
fn all_times_but_idle_make_up_the_active_one() {
    let verdict = verdict_of(causes::an_upstream_that_thinks());
    let VerdictTime { resolver, client, upstream, network_client, network_upstream, proxy, .. } =
        verdict.time;
    let sum = resolver + client + upstream + network_client + network_upstream + proxy;
    assert_eq!(sum, verdict.active);
    assert_eq!(verdict.share, Some(upstream.div_duration_f64(verdict.active)));
}

#[test]
fn evidence_is_null_without_payload_as_its_reference_says() {
    let proxy = Proxy::forwarding_to(echo_server(), &[]);
    drop(proxy.connect());
    let nothing = verdict_of(proxy.wait_for_records(1).remove(0)).evidence;
    let figures = (nothing.tx_buffer_limited, nothing.retransmits, nothing.rx_out_of_order);
    assert_eq!((figures, nothing.received_ce), ((None, None, None), None));
    exchange(&mut proxy.connect(), b"x");
    let something = verdict_of(proxy.wait_for_records(2).remove(1)).evidence;
    assert_eq!(something.retransmits, Some(0), "this system tells: {something:?}");

    let printed = run(BINARY, &["schema", "--markdown"]);
    let (_, reference) = printed.split_once("# `verdict.evidence`").unwrap();
    for key in ["txBufferLimited", "retransmits", "rxOutOfOrder", "receivedCE"] {
        let row = reference.lines().find(|line| line.starts_with(&format!("| `{key}` |"))).unwrap();
        assert!(row.contains(", and without payload."), "{row}");
    }
}
