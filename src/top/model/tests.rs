use super::*;
use crate::record::Awaited;
use crate::top::connection::{Activity, Rates};
use crate::top::order::{Sort, Totals, rows};
use crate::top::samples::{
    RUN, at, close, line, model, open, sample, sample_for, socket_end, socket_sample,
};

fn activity(model: &Model, seq: u64, seconds: f64) -> Activity {
    let (rows, _) = rows(model, at(seconds), Sort::Worst, false, "");
    rows.iter().find(|row| row.connection.key.seq == seq).unwrap().activity
}

fn rates(model: &Model, seq: u64, seconds: f64) -> Rates {
    let (rows, _) = rows(model, at(seconds), Sort::Worst, false, "");
    rows.iter().find(|row| row.connection.key.seq == seq).unwrap().rates.unwrap()
}

/// The connections in the order of the list.
fn order(model: &Model, sort: Sort, filter: &str) -> Vec<u64> {
    let (rows, _) = rows(model, at(10.0), sort, false, filter);
    rows.iter().map(|row| row.connection.key.seq).collect()
}

#[test]
fn a_wait_goes_on_between_two_samples() {
    let stuck = model(&[open(1, 0.0), sample(1, 1.0, [100, 0], Some(("upstream", 0.2)))]);
    let lasts = |seconds: f64| Duration::from_secs_f64(seconds);
    let server = |seconds| Activity::WaitsFor(Awaited::Upstream, lasts(seconds));
    assert_eq!(activity(&stuck, 1, 1.0), server(0.8));
    assert_eq!(activity(&stuck, 1, 31.2), server(31.0));
}

#[test]
fn what_is_not_known_is_told_from_idle() {
    let mut known = model(&[open(1, 0.0)]);
    assert_eq!(activity(&known, 1, 3.0), Activity::Unknown);
    known.apply(&sample(1, 4.0, [100, 100], None));
    assert_eq!(activity(&known, 1, 5.0), Activity::Moves);
    assert_eq!(activity(&known, 1, 9.0), Activity::Quiet(Duration::from_secs(5)));
    known.apply(&sample_for("quiet", 1, 64.0, [0, 0], Some(("idle", 4.0))));
    assert_eq!(activity(&known, 1, 65.0), Activity::Idle(Duration::from_secs(61)));
}

#[test]
fn rates_are_of_the_latest_interval_and_end_with_it() {
    let mut known = model(&[open(1, 0.0), sample(1, 1.0, [0, 0], None)]);
    known.apply(&sample(1, 2.0, [1_000, 50_000], None));
    assert_eq!(rates(&known, 1, 2.5), Rates { to_upstream: 1_000.0, to_client: 50_000.0 });
    // A stall begins between two intervals: its bytes count at the next one.
    known.apply(&sample_for("stall", 1, 2.1, [500, 0], None));
    assert_eq!(rates(&known, 1, 2.5).to_upstream, 1_000.0);
    known.apply(&sample(1, 3.0, [500, 0], None));
    assert_eq!(rates(&known, 1, 3.5), Rates { to_upstream: 1_000.0, to_client: 0.0 });
    assert_eq!(rates(&known, 1, 6.0), Rates::default());
    // After a silence the first sample comes at once: its bytes did not take all that time.
    known.apply(&sample(1, 43.0, [2_000, 0], None));
    assert_eq!(rates(&known, 1, 43.0).to_upstream, 2_000.0);
}

#[test]
fn the_worst_is_first_and_other_orders_are_by_their_column() {
    let known = model(&[
        sample(1, 9.0, [0, 0], Some(("idle", 1.0))),
        sample(2, 9.0, [90_000, 0], None),
        sample(3, 9.0, [1, 1], Some(("upstream", 8.0))),
        sample(4, 9.0, [1, 1], Some(("network-client", 2.0))),
        sample(5, 9.0, [0, 100_000], None),
    ]);
    assert_eq!(order(&known, Sort::Worst, ""), [4, 3, 5, 2, 1]);
    assert_eq!(order(&known, Sort::Up, "")[0], 2);
    assert_eq!(order(&known, Sort::Down, "")[0], 5);
    assert_eq!(order(&known, Sort::Retransmits, ""), [5, 4, 3, 2, 1]);
    assert_eq!(order(&known, Sort::Target, ""), [1, 2, 3, 4, 5]);
    for (filter, found) in [
        ("HOST-3", vec![3]),
        ("program-5", vec![5]),
        ("network", vec![4]),
        ("data", vec![5, 2]),
        ("nowhere", vec![]),
    ] {
        assert_eq!(order(&known, Sort::Worst, filter), found, "{filter}");
    }
    // The sums are over all.
    let (_, totals) = rows(&known, at(9.0), Sort::Worst, false, "nowhere");
    let Totals { open, server, client, network, idle, .. } = totals;
    assert_eq!([open, server, client, network, idle], [5, 1, 0, 1, 1]);
}

#[test]
fn the_program_is_known_from_the_first_sample_that_tells_it() {
    let mut known = model(&[open(1, 0.0)]);
    let program = |model: &Model| model.connections().next().unwrap().program.clone();
    assert_eq!(program(&known), None);
    known.apply(&sample(1, 1.0, [1, 1], None));
    assert_eq!(program(&known).as_deref(), Some("program-1"));
    let connection = known.connections().next().unwrap();
    assert_eq!(connection.client_address.as_deref(), Some("127.0.0.1:40001"));
    assert_eq!((connection.rtt(), connection.retransmits()), (Some(250_000), Some(2)));
    // In samples a key that has not changed is absent.
    let quiet = serde_json::json!({"duration": 2_000_000_000, "reason": "quiet", "waitingFor": null,
        "client": {"rxBytes": 1, "txBytes": 1, "info": {}},
        "upstream": {"rxBytes": 1, "txBytes": 1, "info": {"rtt": 260_000}}});
    known.apply(&line("sample", 1, 2.0, &quiet));
    let connection = known.connections().next().unwrap();
    assert_eq!((connection.rtt(), connection.retransmits()), (Some(260_000), Some(2)));
}

#[test]
fn closed_connections_are_forgotten_except_the_one_that_is_looked_at() {
    let mut known = model(&[open(1, 0.0), open(2, 0.0), sample(1, 1.0, [1, 1], None)]);
    let key = known.connections().find(|known| known.key.seq == 1).unwrap().key;
    known.pin(Some(key));
    known.apply(&close(1, 2.0, "reset", Some("ECONNRESET")));
    known.apply(&close(2, 2.0, "ok", None));
    assert_eq!((known.connections().count(), known.closed), (0, 2));
    assert_eq!(known.get(key).unwrap().ended.as_deref(), Some("reset ECONNRESET"));
    known.pin(None);
    assert!(known.get(key).is_none());
}

#[test]
fn failures_are_those_of_the_last_minute_alike_ones_together() {
    let mut known = model(&[
        close(1, 0.0, "refused", Some("ECONNREFUSED")),
        close(2, 30.0, "ok", None),
        close(3, 31.0, "dns", Some("EAI_NONAME")),
        close(3, 32.0, "dns", Some("EAI_NONAME")),
        close(4, 33.0, "shutdown", None),
        line("refused", 0, 34.0, &serde_json::json!({"count": 100, "reasons": [], "clients": []})),
    ]);
    known.forget_old(at(40.0));
    assert_eq!(known.failure_count(), 103);
    let groups = known.failures();
    let groups: Vec<_> = groups.iter().map(|group| (&*group.latest.what, group.count)).collect();
    assert_eq!(groups, [("dns EAI_NONAME", 2), ("refused ECONNREFUSED", 1)]);
    known.forget_old(at(70.0));
    assert_eq!(known.failure_count(), 102);
    known.forget_old(at(100.0));
    assert_eq!(known.failure_count(), 0);
    let failure = close(1, 101.0, "dns", None);
    for _ in 0..3 * MAX_FAILURES {
        known.apply(&failure);
    }
    assert_eq!((known.failures.len(), known.failure_count()), (MAX_FAILURES, 3_000));
}

#[test]
fn connections_of_a_proxy_that_is_gone_are_forgotten() {
    let mut known = model(&[open(1, 0.0), sample(1, 1.0, [1, 1], None), open(2, 0.0)]);
    known.forget_old(at(170.0));
    assert_eq!(known.connections().count(), 2);
    // Neither has had the sample that comes at least once a minute.
    known.forget_old(at(182.0));
    assert_eq!(known.connections().count(), 0);

    let mut known = model(&[open(1, 0.0), open(2, 0.0)]);
    known.apply(&line("stop", 0, 1.0, &serde_json::json!({"duration": 1, "pairs": 2})));
    assert_eq!(known.connections().count(), 0);
    assert!(known.runs.is_empty(), "{RUN}");
}

#[test]
fn missing_samples_are_noticed_and_never_by_mistake() {
    // A proxy with the default events: lines of ended connections alone.
    let start = || line("start", 0, 0.0, &serde_json::json!({}));
    assert!(model(&[start(), close(1, 5.0, "ok", None)]).lacks_samples());
    // It was open before the first line.
    assert!(!model(&[close(1, 0.5, "ok", None)]).lacks_samples());
    // So short that no sample was due.
    assert!(!model(&[start(), open(1, 1.0), close(1, 2.0, "ok", None)]).lacks_samples());
    let mut opened = model(&[open(1, 0.0)]);
    opened.forget_old(at(60.0));
    assert!(!opened.lacks_samples());
    opened.forget_old(at(80.0));
    assert!(opened.lacks_samples());
    assert_eq!(opened.connections().count(), 1);
}

#[test]
fn memory_is_bounded() {
    let mut known = Model::default();
    let mut opened = open(0, 0.0);
    for seq in 0..MAX_CONNECTIONS as u64 + 10 {
        opened.seq = seq;
        known.apply(&opened);
    }
    assert_eq!((known.connections().count(), known.unshown), (MAX_CONNECTIONS, 10));
    let mut one = Model::default();
    for second in 0..1_000 {
        one.apply(&sample(1, f64::from(second), [1, 1], None));
        one.apply(&line("turn", 1, f64::from(second), &serde_json::json!({"at": 1, "wait": 2})));
    }
    let connection = one.connections().next().unwrap();
    assert_eq!((connection.history.len(), connection.turns.len()), (60, 8));
    let long = "x".repeat(1 << 20);
    let long = serde_json::json!({"target": long});
    let long = model(&[line("open", 1, 0.0, &long)]);
    assert!(long.connections().all(|known| known.target.as_ref().unwrap().len() < 300));
}

#[test]
fn the_first_sample_of_a_socket_tells_its_rates_if_its_age_is_known() {
    // It has come since the dump a second before.
    let new = socket_sample(1, 0.0, None, Some(1.0), [50_000, 1_000]);
    let known = model(&[new]);
    assert_eq!(rates(&known, 1, 0.0), Rates { to_upstream: 50_000.0, to_client: 1_000.0 });
    assert_eq!(activity(&known, 1, 0.0), Activity::Moves);

    // Older than the watch: these are the bytes of its whole life.
    let mut known = model(&[socket_sample(1, 10.0, None, None, [1 << 40, 1 << 40])]);
    let row = |known: &Model, seconds| rows(known, at(seconds), Sort::Worst, false, "").0[0].rates;
    assert_eq!(row(&known, 10.0), None);
    // The kernel tells that it sent three seconds ago.
    assert_eq!(activity(&known, 1, 11.0), Activity::Quiet(Duration::from_secs(4)));
    known.apply(&socket_sample(1, 11.0, None, None, [3_000, 0]));
    assert_eq!(row(&known, 11.0), Some(Rates { to_upstream: 3_000.0, to_client: 0.0 }));
    // Without a sample nothing has moved.
    assert_eq!(
        row(&model(&[socket_sample(1, 10.0, None, None, [9, 9])]), 14.0),
        Some(Rates::default())
    );
}

#[test]
fn sockets_are_sorted_filtered_and_told_apart_from_connections() {
    let connected = Some("connected");
    let mut known = model(&[
        socket_sample(1, 9.0, connected, Some(1.0), [0, 10]),
        socket_sample(2, 9.0, connected, Some(1.0), [90_000, 0]),
        socket_sample(3, 9.0, Some("accepted"), None, [1, 1]),
    ]);
    assert!(known.has_only_sockets());
    assert_eq!(order(&known, Sort::Worst, "")[0], 2);
    assert_eq!(order(&known, Sort::Lost, ""), [3, 2, 1]);
    assert_eq!(order(&known, Sort::Retransmits, ""), [3, 2, 1]);
    assert_eq!(order(&known, Sort::Target, ""), [1, 2, 3]);
    assert_eq!(order(&known, Sort::Target, "192.0.2.2"), [2]);
    assert_eq!(order(&known, Sort::Target, ":40000"), [1, 2, 3]);
    known.apply(&sample(4, 9.0, [1, 1], None));
    assert!(!known.has_only_sockets());
    assert_eq!(order(&known, Sort::Target, "host-4"), [4]);
}

#[test]
fn ended_sockets_are_counted_and_resets_and_refusals_are_failures() {
    let mut known = model(&[
        socket_sample(1, 0.0, None, Some(1.0), [1, 1]),
        socket_end(1, 1.0, Some("fin"), Some("ESTABLISHED")),
        socket_end(2, 2.0, Some("reset"), None),
        socket_end(3, 2.0, Some("refused"), None),
        socket_end(4, 2.0, None, None),
    ]);
    assert_eq!((known.connections().count(), known.closed, known.failure_count()), (0, 4, 2));
    assert_eq!(known.failures()[0].latest.target.as_deref(), Some("192.0.2.3:443"));
    assert!(!known.lacks_samples());

    known.apply(&line("overflow", 0, 3.0, &serde_json::json!({"overflows": 7})));
    known.forget_old(at(60.0));
    assert_eq!(known.overflows(), Some(7));
    known.forget_old(at(64.0));
    assert_eq!(known.overflows(), None);
}

#[test]
fn missing_samples_of_a_watch_are_noticed() {
    let start = || line("start", 0, 0.0, &serde_json::json!({"listeners": []}));
    assert!(model(&[start()]).has_only_sockets());
    // No dump has shown it: it has no sample in any case.
    assert!(!model(&[start(), socket_end(1, 5.0, Some("fin"), None)]).lacks_samples());
    assert!(
        model(&[start(), socket_end(1, 5.0, Some("fin"), Some("ESTABLISHED"))]).lacks_samples()
    );
}
