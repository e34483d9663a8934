//! A wall clock that is set while pairs are open.

use std::time::{Duration, Instant};

use conniver::record::{Line, Record, WarningCode};

use crate::harness::clock::WallClock;
use crate::harness::load::under_load;
use crate::harness::peers::{echo_server, exchange};
use crate::harness::program::Proxy;

const HOUR: i64 = 3600;

/// How far the clock was set while the pair was open, as its record warns of it, seconds.
fn step(record: &Record) -> Option<i64> {
    let mut warnings = record.warnings.iter().filter(|w| w.code == WarningCode::ClockStep);
    let warning = warnings.next()?;
    assert_eq!((warnings.next(), warning.leg, &*warning.unit), (None, None, "ns"));
    let seconds = ((warning.value + 500_000_000) / 1_000_000_000).cast_signed();
    Some(if warning.text.contains("back") { -seconds } else { seconds })
}

/// Sets the clock by an hour while pairs come and go and one stays: nothing is lost, and no time in
/// the records is anything but what passed.
fn assert_survives(what: &str, seconds: i64) {
    let Some(clock) = WallClock::new(what) else { return };
    let forward = format!("0:{}", echo_server());
    let events = ["--events", "start,open,sample,close,stop", "--sample-interval", "50ms"];
    let proxy = Proxy::start(&mut clock.command(), &[&forward], &events);
    let before = Instant::now();
    let mut open = proxy.connect();
    exchange(&mut open, b"before");
    let after = Instant::now();
    let pairs = under_load(proxy.address(), || {
        proxy.wait_for_closed(20);
        clock.set(seconds);
        // Opened and closed since then.
        let so_far = proxy.wait_for_closed(0);
        proxy.wait_for_closed(so_far + 20);
        exchange(&mut open, b"after");
    });
    let least = after.elapsed();
    let port = open.local_addr().unwrap().port();
    drop(open);
    let records = proxy.wait_for_records(pairs + 1);
    let most = before.elapsed();
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);

    let (stayed, passed): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| record.client_port == Some(port));
    let [stayed] = &stayed[..] else { panic!("{stayed:?}") };
    assert_eq!(passed.len(), pairs);
    assert_eq!(step(stayed), Some(seconds), "{:?}", stayed.warnings);
    assert!((least..most).contains(&stayed.duration), "{least:?} {:?} {most:?}", stayed.duration);
    // Whoever was on his way just then saw the same; the others nothing.
    let saw = passed.iter().filter_map(step).inspect(|&step| assert_eq!(step, seconds)).count();
    assert!(saw <= 8, "{saw} of {pairs} pairs saw the clock being set");
    for record in passed.iter().chain([stayed]) {
        let times = [record.opened_at, record.closed_at.unwrap(), record.client.opened_at];
        assert_eq!(i128::from(times[1] - times[0]).cast_unsigned(), record.duration.as_nanos());
        assert_eq!(times[0], times[2]);
        let closed = record.client.closed_at.unwrap();
        assert!(times[0] < closed && closed <= times[1], "{record:?}");
        let waits = [record.phases.connect, record.phases.first_byte, record.phases.response];
        assert!(waits.into_iter().flatten().all(|wait| wait < record.duration), "{record:?}");
    }
    // What each line says of bytes since the last one sums up to what passed.
    let to_client: u64 = left
        .lines
        .iter()
        .filter_map(|line| match line {
            Line::Sample(sample) if sample.header.id == stayed.id => Some(&sample.delta),
            Line::Open(record) | Line::Close(record) if record.id == stayed.id => {
                Some(&record.delta)
            }
            _ => None,
        })
        .map(|delta| delta.to_client)
        .sum();
    assert_eq!(to_client, "before".len() as u64 + "after".len() as u64);
    // The last line was written on the new time.
    let Some(Line::Stop(stop)) = left.lines.last() else { panic!("{:?}", left.lines.last()) };
    assert_eq!((stop.pairs, stop.lines_lost), (pairs as u64 + 1, 0));
    assert!((least..before.elapsed()).contains(&stop.duration), "{:?}", stop.duration);
    let started = Duration::from_nanos(stayed.opened_at.cast_unsigned()).as_secs().cast_signed();
    let apart = stop.time.as_second() - started - seconds;
    assert!((0..60).contains(&apart), "{apart} s");
}

#[test]
fn a_clock_that_is_set_back_an_hour_under_load_bends_no_duration_and_loses_no_record() {
    let what = "a_clock_that_is_set_back_an_hour_under_load_bends_no_duration_and_loses_no_record";
    assert_survives(what, -HOUR);
}

#[test]
fn a_clock_that_is_set_ahead_an_hour_under_load_bends_no_duration_and_loses_no_record() {
    let what = "a_clock_that_is_set_ahead_an_hour_under_load_bends_no_duration_and_loses_no_record";
    assert_survives(what, HOUR);
}
