//! The jq programs in scripts/: what they compute from recorded lines is what Rust computes from the
//! same, for every detail.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use conniver::record::{self, BriefLine, BriefRecord, By, Delta, How, LimitedBy, Outcome, Phase};

use crate::harness::forwarding::Forwarding;
use crate::harness::peers::{deaf_port, echo_server, exchange, noise, read_until_reset, reset};
use crate::harness::program::{BINARY, Proxy, wait_until};
use crate::harness::{has_tool, run};

const DETAILS: [&str; 3] = ["brief", "normal", "full"];

/// What a recipe should print of these lines.
type Compute = fn(&[BriefLine<'static>]) -> Rows;

/// Numbers by the texts in front of them.
type Rows = BTreeMap<Vec<String>, Vec<Option<f64>>>;

fn lines(file: &Path) -> Vec<BriefLine<'static>> {
    let bytes = std::fs::read(file).unwrap();
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    record::read_brief(&bytes[..whole]).map(Result::unwrap).collect()
}

fn closed<'l>(lines: &'l [BriefLine<'static>]) -> impl Iterator<Item = &'l BriefRecord<'static>> {
    lines.iter().filter_map(|line| match line {
        BriefLine::Close(record) => Some(&**record),
        _ => None,
    })
}

/// A run with pairs of many kinds, until it has the lines of all that have ended; one is still open.
fn a_run(detail: &str) -> (Proxy, TcpStream) {
    let (_held, deaf) = deaf_port();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let targets = [
        echo_server().to_string(),
        echo_server().to_string(),
        deaf.to_string(),
        silent.local_addr().unwrap().to_string(),
        "no-such-host.invalid:80".to_owned(),
        "localhost:9".to_owned(),
    ];
    let forwards = targets.map(|target| format!("0:{target}"));
    let args = ["-vv", "--events", "start,open,sample,close", "--detail", detail];
    let args = [&args[..], &["--sample-interval", "10ms", "--label", "a=b"]].concat();
    let proxy =
        Proxy::start(&mut Command::new(BINARY), &forwards.each_ref().map(String::as_str), &args);
    let connect = |listener: usize| TcpStream::connect(proxy.addresses()[listener]).unwrap();
    let mut ended = 0;

    for (echo, pairs) in [(0, 7), (1, 3)] {
        for pair in 0..pairs {
            let mut client = connect(echo);
            exchange(&mut client, &noise(100 * (pair + 1)));
            if pair == 0 {
                proxy.wait_to_hear("the client ");
            }
            ended += 1;
        }
    }
    // It is refused, its name is unknown, and nobody listens there.
    for failing in [2, 4, 5] {
        read_until_reset(&mut connect(failing));
        ended += 1;
    }
    for bytes in [0, 10] {
        let mut client = connect(0);
        exchange(&mut client, &noise(bytes));
        reset(client);
        ended += 1;
    }
    // Of what is sent to a peer that does not read, something is lost when it resets.
    let client = connect(3);
    let (upstream, _) = silent.accept().unwrap();
    client.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while (&client).write(&noise(65_536)).is_ok() {}
    reset(upstream);
    wait_until("the client is reset", || (&client).write(b"x").is_err());
    ended += 1;

    let mut open = connect(1);
    exchange(&mut open, &noise(70_000));
    wait_until("all have ended, and the open one has a sample", || {
        let lines = lines(&proxy.records_file());
        let samples: u64 = lines
            .iter()
            .map(|line| match line {
                BriefLine::Sample(sample) if sample.client.tx_bytes == 70_000 => 1,
                _ => 0,
            })
            .sum();
        closed(&lines).count() == ended && samples > 0
    });
    (proxy, open)
}

/// What a recipe prints: so many texts in each row, then numbers; rows with the largest of this
/// column first.
fn rows_of(recipe: &str, file: &Path, texts: usize, largest: usize, args: &[&str]) -> Rows {
    let recipe = format!("{}/scripts/{recipe}.jq", env!("CARGO_MANIFEST_DIR"));
    let printed = run("jq", &[&["-rnf", &recipe], args, &[file.to_str().unwrap()]].concat());
    let mut last = f64::INFINITY;
    let rows = printed.lines().skip(1).map(|row| {
        let cells: Vec<&str> = row.split('\t').collect();
        let (keys, numbers) = cells.split_at(texts);
        let numbers: Vec<_> = numbers.iter().map(|number| number.parse::<f64>().ok()).collect();
        let this = numbers[largest].unwrap_or(f64::NEG_INFINITY);
        assert!(this <= last, "{recipe}: {printed}");
        last = this;
        (keys.iter().map(|key| (*key).to_owned()).collect(), numbers)
    });
    let rows: Rows = rows.collect();
    assert_eq!(rows.len() + 1, printed.lines().count(), "no row twice: {printed}");
    rows
}

fn assert_same(found: &Rows, expected: &Rows) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, expected) in expected {
        let found = &found[key];
        let close = |(found, expected): (&Option<f64>, &Option<f64>)| match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() <= 1e-9 * expected.abs(),
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(close), "{key:?}: {found:?}, {expected:?}");
    }
}

/// Adds these numbers to a row's.
fn add(rows: &mut Rows, key: &[&str], numbers: &[f64]) {
    let key = key.iter().map(|key| (*key).to_owned()).collect();
    let row = rows.entry(key).or_insert_with(|| vec![Some(0.0); numbers.len()]);
    for (sum, number) in row.iter_mut().zip(numbers) {
        *sum = sum.map(|sum| sum + number);
    }
}

fn target<'r>(record: &'r BriefRecord<'static>) -> &'r str {
    record.target.as_deref().unwrap_or("-")
}

fn millis(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

fn slowest_targets(lines: &[BriefLine<'static>]) -> Rows {
    let mut rows = Rows::new();
    let mut connects: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for record in closed(lines) {
        let failed = record.ending.as_ref().unwrap().phase != Phase::Relay;
        add(&mut rows, &[target(record)], &[1.0, f64::from(u8::from(failed))]);
        connects.entry(target(record)).or_default().extend(record.phases.connect);
    }
    for (target, mut connects) in connects {
        connects.sort();
        // The smallest one that 95 % do not exceed.
        let p95 = connects.iter().find(|connect| {
            let within = connects.iter().filter(|other| other <= connect).count();
            within * 100 >= connects.len() * 95
        });
        rows.get_mut(&vec![target.to_owned()]).unwrap().push(p95.map(|p95| millis(*p95)));
    }
    rows
}

fn retransmission_rate(lines: &[BriefLine<'static>]) -> Rows {
    let mut rows = Rows::new();
    for record in closed(lines) {
        let Some(info) = record.upstream.as_ref().and_then(|leg| leg.closed_info.as_ref()) else {
            continue;
        };
        let segments = f64::from(info.sys_info.data_segs_out.unwrap());
        add(&mut rows, &[target(record)], &[1.0, segments, info.retransmits.unwrap() as f64]);
    }
    for row in rows.values_mut() {
        let (segments, again) = (row[1].unwrap(), row[2].unwrap());
        row.push((segments > 0.0).then(|| 100.0 * again / segments));
    }
    rows
}

fn who_resets(lines: &[BriefLine<'static>]) -> Rows {
    let mut rows = Rows::new();
    for record in closed(lines) {
        let ending = record.ending.as_ref().unwrap();
        if ending.first_how == How::Reset {
            add(&mut rows, &[target(record), &ending.first_by.to_string()], &[1.0]);
        }
    }
    for (key, row) in &mut rows {
        row.push(Some(closed(lines).filter(|record| target(record) == key[0]).count() as f64));
    }
    rows
}

fn undelivered(lines: &[BriefLine<'static>]) -> Rows {
    let mut rows = Rows::new();
    for record in closed(lines) {
        let of = |delivered: &Option<record::BriefDelivered>| {
            delivered.as_ref().and_then(|delivered| delivered.undelivered).unwrap_or(0) as f64
        };
        let lost = [of(&record.delivery.to_upstream), of(&record.delivery.to_client)];
        if lost != [0.0, 0.0] {
            add(&mut rows, &[target(record)], &[1.0, lost[0], lost[1]]);
        }
    }
    rows
}

fn dns_time(lines: &[BriefLine<'static>]) -> Rows {
    let mut rows = Rows::new();
    for record in closed(lines) {
        let Some(resolve) = record.phases.resolve else { continue };
        let failed = f64::from(u8::from(record.outcome == Some(Outcome::Dns)));
        add(&mut rows, &[target(record)], &[1.0, failed, millis(resolve)]);
    }
    for (key, row) in &mut rows {
        let of_this = closed(lines).filter(|record| target(record) == key[0]);
        row.push(of_this.filter_map(|record| record.phases.resolve).max().map(millis));
    }
    rows
}

fn top_talkers(lines: &[BriefLine<'static>]) -> Rows {
    let mut rows = Rows::new();
    let mut seen = std::collections::BTreeSet::new();
    for line in lines {
        let (id, target, Delta { to_upstream, to_client, .. }) = match line {
            BriefLine::Open(record) | BriefLine::Close(record) => {
                (&*record.id, target(record), record.delta)
            }
            BriefLine::Sample(sample) => {
                (sample.header.id.as_str(), sample.header.target.as_deref().unwrap(), sample.delta)
            }
            _ => continue,
        };
        let is_new = f64::from(u8::from(seen.insert(id)));
        add(&mut rows, &[target], &[is_new, to_upstream as f64, to_client as f64]);
    }
    rows
}

fn bytes_by_process(lines: &[BriefLine<'static>]) -> Rows {
    let mut rows = Rows::new();
    for record in closed(lines) {
        let name = record.process.as_ref().and_then(|process| process.name.as_deref());
        let (sent, received) = (record.client.rx_bytes as f64, record.client.tx_bytes as f64);
        add(&mut rows, &[name.unwrap_or("-")], &[1.0, sent, received]);
    }
    rows
}

fn limiters(lines: &[BriefLine<'static>]) -> Rows {
    let mut rows = Rows::new();
    for verdict in closed(lines).filter_map(|record| record.verdict.as_ref()) {
        let active = verdict.active.as_secs_f64();
        let named = active * verdict.share.unwrap_or(0.0);
        let limiter = serde_json::to_value(verdict.limited_by).unwrap();
        if verdict.limited_by != LimitedBy::None {
            add(&mut rows, &[limiter.as_str().unwrap()], &[1.0, named]);
        }
        let unnamed = f64::from(u8::from(verdict.limited_by == LimitedBy::None));
        add(&mut rows, &["none"], &[unnamed, active - named]);
    }
    let all: f64 = rows.values().map(|row| row[1].unwrap()).sum();
    for row in rows.values_mut() {
        row.push((all > 0.0).then(|| 100.0 * row[1].unwrap() / all));
    }
    rows
}

#[test]
fn the_recipes_compute_from_lines_of_every_detail_what_is_in_them() {
    if !has_tool("jq", "the_recipes_compute_from_lines_of_every_detail_what_is_in_them") {
        return;
    }
    for detail in DETAILS {
        let (proxy, _open) = a_run(detail);
        let file = proxy.records_file();
        let lines = lines(&file);
        let all: [(&str, usize, usize, Compute); 8] = [
            ("slowest-targets", 1, 2, slowest_targets),
            ("retransmission-rate", 1, 3, retransmission_rate),
            ("who-resets", 2, 0, who_resets),
            ("undelivered", 1, 1, undelivered),
            ("dns-time", 1, 2, dns_time),
            ("top-talkers", 1, 1, top_talkers),
            ("bytes-by-process", 1, 1, bytes_by_process),
            ("limiters", 1, 1, limiters),
        ];
        for (recipe, texts, largest, expected) in all {
            let expected = expected(&lines);
            assert_same(&rows_of(recipe, &file, texts, largest, &[]), &expected);
            // None of them is right about nothing; verdicts are told of transfers that take longer.
            assert!(!expected.is_empty() || recipe == "limiters", "{detail}: {recipe}");
        }
        let resets = who_resets(&lines);
        assert!(resets.keys().any(|key| key[1] == By::Client.to_string()), "{resets:?}");
        assert!(undelivered(&lines).values().any(|row| row[1] > Some(0.0)), "nothing was lost");
        let future = rows_of("top-talkers", &file, 1, 1, &["--arg", "since", "9999"]);
        assert_eq!(future, Rows::new());
    }
}

#[test]
fn the_share_of_a_limiter_is_of_the_active_time_of_all_pairs() {
    if !has_tool("jq", "the_share_of_a_limiter_is_of_the_active_time_of_all_pairs") {
        return;
    }
    let forwarding = Forwarding::new(&[]);
    drop(forwarding.pair());
    forwarding.proxy.wait_for_records(1);
    let mut line: serde_json::Value = serde_json::from_str(
        std::fs::read_to_string(forwarding.proxy.records_file()).unwrap().trim_end(),
    )
    .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("verdicts.ndjson");
    let mut text = String::new();
    for (limiter, share, active) in [
        ("client", Some(0.75), 2_000_000_000_u64),
        ("client", Some(1.0), 1_000_000_000),
        ("none", None, 1_000_000_000),
        ("proxy", Some(0.5), 4_000_000_000),
    ] {
        line["verdict"] =
            serde_json::json!({"limitedBy": limiter, "share": share, "active": active});
        text.push_str(&format!("{line}\n"));
    }
    std::fs::write(&file, text).unwrap();
    let found = rows_of("limiters", &file, 1, 1, &[]);
    let expected =
        [("client", [2.0, 2.5, 31.25]), ("none", [1.0, 3.5, 43.75]), ("proxy", [1.0, 2.0, 25.0])];
    let expected =
        expected.map(|(limiter, row)| (vec![limiter.to_owned()], row.map(Some).to_vec()));
    assert_same(&found, &expected.into_iter().collect());
}

#[test]
fn every_recipe_is_tested_here_and_says_how_to_use_it() {
    let this = include_str!("recipes.rs");
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    for entry in std::fs::read_dir(scripts).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jq") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(this.contains(&format!("(\"{name}\", ")), "{name}");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(&format!("jq -rnf scripts/{name}.jq records.ndjson")), "{name}");
        }
    }
}
