//! Open pairs are seen by their samples.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use conniver::proxy::{Listener, Settings};
use conniver::record::{Awaited, Leg, Line, Record, Sample, SampleReason, WarningCode};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::contract::assert_keys;
use crate::harness::forwarding::{Ends, Forwarding};
use crate::harness::namespace::{Namespace, available};
use crate::harness::noise::{Noise, receive, send};
use crate::harness::peers::{self, noise};
use crate::harness::program::{BINARY, PATIENCE, Proxy, read_lines, wait_until};
use crate::harness::run;
use crate::harness::within::{lines_of, lines_within};
use crate::http_kept::origin::{Client, Origin};

const SAMPLE: &str = "event schema time host labels runId seq id mode listener target duration reason leg process \
    client upstream waitingFor delta line";
const SAMPLED_LEG: &str = "rxBytes txBytes writeBlocked info";

fn samples(proxy: &Proxy) -> Vec<Sample> {
    let lines = read_lines(&proxy.records_file()).into_iter();
    let samples = lines.filter_map(|line| match line {
        Line::Sample(sample) => Some(*sample),
        _ => None,
    });
    samples.collect()
}

fn wait_for_sample(proxy: &Proxy, reason: SampleReason) -> Sample {
    let mut found = None;
    wait_until(&format!("a sample for {reason:?} comes"), || {
        found = samples(proxy).into_iter().find(|sample| sample.reason == reason);
        found.is_some()
    });
    found.unwrap()
}

/// One request and one answer of another size.
fn exchange(ends: &Ends) {
    for (mut from, mut to, bytes) in
        [(&ends.client, &ends.upstream, 100), (&ends.upstream, &ends.client, 30_000)]
    {
        from.write_all(&noise(bytes)).unwrap();
        to.read_exact(&mut vec![0; bytes]).unwrap();
    }
}

fn of_pair(lines: &[Line], seq: u64) -> (Vec<&Sample>, Option<&Record>) {
    let of_this = lines.iter().filter_map(|line| match line {
        Line::Sample(sample) if sample.header.seq == seq => Some(&**sample),
        _ => None,
    });
    let closed = lines.iter().find_map(|line| match line {
        Line::Close(record) if record.seq == seq => Some(&**record),
        _ => None,
    });
    (of_this.collect(), closed)
}

#[test]
fn interval_samples_show_growing_bytes_and_the_deltas_of_all_lines_add_up() {
    let args = ["--events", "open,sample,close", "--sample-interval", "10ms"];
    let forwarding = Forwarding::new(&args);
    let ends = forwarding.pair();
    wait_until("there are samples", || {
        exchange(&ends);
        samples(&forwarding.proxy).len() >= 5
    });
    drop(ends);
    forwarding.proxy.wait_for_records(1);
    let lines = read_lines(&forwarding.proxy.records_file());

    let (samples, closed) = of_pair(&lines, 1);
    let closed = closed.unwrap();
    for two in samples.windows(2) {
        // One may stand between a request and its answer; and while an acknowledgement is waited for,
        // there may be several of the same bytes.
        let [before, after] = [two[0], two[1]].map(|sample| {
            let (to_client, to_upstream) = (sample.client.tx_bytes, sample.upstream.tx_bytes);
            [to_client, to_upstream, to_client + to_upstream]
        });
        assert!(before[0] <= after[0] && before[1] <= after[1] && before[2] <= after[2]);
        assert!(two[0].duration < two[1].duration && two[0].header.id == two[1].header.id);
    }
    assert!(samples[0].client.tx_bytes < samples.last().unwrap().client.tx_bytes);
    for sample in &samples {
        assert_eq!((sample.reason, sample.leg), (SampleReason::Interval, None));
    }
    let deltas = lines.iter().map(|line| match line {
        Line::Open(record) | Line::Close(record) => record.delta,
        Line::Sample(sample) => sample.delta,
        other => panic!("{other:?}"),
    });
    let sum =
        deltas.fold((0, 0), |sum, delta| (sum.0 + delta.to_upstream, sum.1 + delta.to_client));
    assert_eq!(sum, (closed.upstream.as_ref().unwrap().tx_bytes, closed.client.tx_bytes));
    let last = samples.last().unwrap();
    assert_eq!(closed.client.tx_bytes - last.client.tx_bytes, closed.delta.to_client);
}

#[test]
fn a_sample_has_exactly_its_keys_and_tells_only_what_has_changed() {
    let args = ["--events", "sample", "--sample-interval", "10ms"];
    let forwarding = Forwarding::new(&args);
    let ends = forwarding.pair();
    wait_until("there are samples", || {
        exchange(&ends);
        samples(&forwarding.proxy).len() >= 5
    });
    let schema: Value = serde_json::from_str(&run(BINARY, &["schema"])).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let text = std::fs::read_to_string(forwarding.proxy.records_file()).unwrap();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let values: Vec<Value> = whole.map(|line| serde_json::from_str(line).unwrap()).collect();
    for value in &values {
        if let Err(error) = validator.validate(value) {
            panic!("at {}: {error}", error.instance_path());
        }
        assert_keys(value, SAMPLE, "a sample");
        assert_keys(&value["client"], SAMPLED_LEG, "a leg of a sample");
    }
    let info = |sample: usize| values[sample]["client"]["info"].as_object().unwrap();
    assert_eq!(info(0)["state"], "ESTABLISHED");
    assert_eq!(info(0).len(), 19, "all of them at first: {:?}", info(0));
    assert!(!info(1).contains_key("state") && !info(1).contains_key("txOptions"), "{:?}", info(1));
    // What is told is another value than was told last.
    let mut told = info(0).clone();
    for sample in 1..values.len() {
        for (key, value) in info(sample) {
            assert_ne!(told.insert(key.clone(), value.clone()).as_ref(), Some(value), "{key}");
        }
    }
}

#[test]
fn a_quiet_pair_writes_no_samples_for_a_while() {
    let args = ["--events", "sample", "--sample-interval", "10ms"];
    let forwarding = Forwarding::new(&args);
    let silent = forwarding.pair();
    let quiet = forwarding.pair();
    exchange(&quiet);
    let busy = forwarding.pair();
    wait_until("the busy one has many samples", || {
        exchange(&busy);
        of_pair(&read_lines(&forwarding.proxy.records_file()), 3).0.len() >= 30
    });
    let lines = read_lines(&forwarding.proxy.records_file());
    assert_eq!(of_pair(&lines, 1).0.len(), 0, "nothing ever passed");
    // A delayed acknowledgement may have been waited for.
    let of_quiet = of_pair(&lines, 2).0;
    assert!((1..10).contains(&of_quiet.len()), "{of_quiet:?}");
    assert_eq!(of_quiet.last().unwrap().client.tx_bytes, 30_000);
    // They still work.
    exchange(&quiet);
    exchange(&silent);
}

/// A client that has little room to receive.
fn narrow_client(proxy: &Proxy) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    socket.connect(&proxy.address().into()).unwrap();
    socket.into()
}

#[test]
fn the_onset_of_a_zero_window_and_then_a_stall_is_told_once_and_all_the_bytes_arrive() {
    let args = ["--events", "sample,close", "--sample-interval", "1h"];
    let forwarding = Forwarding::new(&args);
    let Ends { client, upstream } = forwarding.pair_of(narrow_client(&forwarding.proxy));
    // Nobody reads yet.
    let sender = std::thread::spawn(move || send(&upstream, &mut Noise::seeded(6), 20_000_000));
    let sample = wait_for_sample(&forwarding.proxy, SampleReason::ZeroWindow);
    assert_eq!(sample.leg, Some(Leg::Client));
    let stalled = wait_for_sample(&forwarding.proxy, SampleReason::Stall);
    assert_eq!(stalled.leg, Some(Leg::Client));
    assert!(stalled.client.write_blocked.unwrap().as_millis() >= 1000, "{stalled:?}");
    assert_eq!(samples(&forwarding.proxy).len(), 2, "each once, and no interval was over");

    let received = receive(&client);
    assert_eq!(received, sender.join().unwrap());
    drop(client);
    let closed = forwarding.proxy.the_record();
    assert_eq!(closed.client.tx_bytes, 20_000_000);
    let full = closed.warnings.iter().find(|warning| warning.code == WarningCode::ZeroWindow);
    let full = full.expect("the record warns of it");
    assert!(full.leg == Some(Leg::Client) && full.value >= 1_000_000_000, "{full:?}");
    let before: u64 = samples(&forwarding.proxy).iter().map(|sample| sample.delta.to_client).sum();
    assert_eq!(before + closed.delta.to_client, 20_000_000);
}

#[test]
fn a_retransmission_timeout_and_the_stall_behind_it_are_told() {
    if !available("a_retransmission_timeout_and_the_stall_behind_it_are_told") {
        return;
    }
    let namespace = Namespace::new();
    let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let args = ["--events", "sample", "--sample-interval", "1h"];
    let forwarding = Forwarding::to(listener, &mut namespace.command(BINARY), &args);
    let client = namespace.enter(|| TcpStream::connect(forwarding.proxy.address()).unwrap());
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut ends = forwarding.pair_of(client);
    exchange(&ends);
    namespace.swallow(&ends.client);
    ends.upstream.write_all(b"nobody gets this").unwrap();
    let sample = wait_for_sample(&forwarding.proxy, SampleReason::RetransmissionTimeout);
    assert_eq!(sample.leg, Some(Leg::Client));
    let stalled = wait_for_sample(&forwarding.proxy, SampleReason::Stall);
    assert_eq!(stalled.leg, Some(Leg::Client));
    let reasons: Vec<_> = samples(&forwarding.proxy).iter().map(|sample| sample.reason).collect();
    assert_eq!(reasons, [SampleReason::RetransmissionTimeout, SampleReason::Stall], "each once");
}

/// What a proxy in this process writes with these settings while `work` has a client of an echo server.
async fn lines_with(
    settings: Settings,
    work: impl FnOnce(&mut TcpStream, &Path) + Send + 'static,
) -> Vec<Line> {
    let work = |proxy, file: &Path| work(&mut TcpStream::connect(proxy).unwrap(), file);
    lines_within(settings, |proxy| proxy, work).await.0
}

fn quiet_ones(lines: &[Line]) -> Vec<&Sample> {
    let samples = of_pair(lines, 1).0.into_iter();
    samples.filter(|sample| sample.reason == SampleReason::Quiet).collect()
}

fn assert_apart(samples: &[&Sample], least: Duration) {
    for two in samples.windows(2) {
        let apart = two[1].duration - two[0].duration;
        assert!(apart >= least, "{apart:?}");
    }
}

#[tokio::test]
async fn a_quiet_pair_is_sampled_at_a_slow_pace_and_a_busy_one_at_its_own() {
    const QUIET: Duration = Duration::from_millis(150);
    let mut settings = Settings::default();
    settings.events.sample = true;
    settings.sample_interval = Duration::from_millis(10);
    settings.quiet_sample_interval = QUIET;
    let lines = lines_with(settings, |client, file| {
        let wait_for = |count: usize| {
            wait_until("quiet samples come", || quiet_ones(&read_lines(file)).len() >= count);
        };
        // Nothing has ever passed; then something, and then nothing again.
        wait_for(3);
        assert_eq!(peers::exchange(client, &noise(1000)).len(), 1000);
        wait_for(5);
    })
    .await;
    let (samples, closed) = of_pair(&lines, 1);
    let quiet = quiet_ones(&lines);
    assert_apart(&quiet, QUIET);
    for sample in &quiet {
        assert_eq!((sample.leg, sample.delta.to_client, sample.delta.to_upstream), (None, 0, 0));
    }
    assert_eq!(quiet.last().unwrap().client.tx_bytes, 1000);
    // What passed was told long before the pair counted as quiet.
    let told = samples.iter().position(|sample| sample.delta.to_client > 0).unwrap();
    assert_eq!(samples[told].reason, SampleReason::Interval);
    let after = quiet.iter().find(|sample| sample.duration > samples[told].duration).unwrap();
    assert!(after.duration - samples[told].duration >= QUIET);
    assert_eq!(closed.unwrap().delta.to_client, 0);
}

#[test]
fn samples_say_who_is_waited_for() {
    let args = ["--events", "sample", "--sample-interval", "10ms"];
    let forwarding = Forwarding::new(&args);
    // A request that is not answered.
    let mut hung = forwarding.pair();
    hung.client.write_all(b"?").unwrap();
    hung.upstream.read_exact(&mut [0]).unwrap();
    // An answer that is not read.
    let stuck = forwarding.pair();
    stuck.upstream.set_nonblocking(true).unwrap();
    while (&stuck.upstream).write(&[0; 100_000]).is_ok() {}
    let waited_for = |seq: u64| {
        let mut last = None;
        wait_until("a sample says whom", || {
            let samples = samples(&forwarding.proxy);
            let mut waiting =
                samples.iter().filter(|s| s.header.seq == seq).filter_map(|s| s.waiting_for);
            last = waiting.next_back();
            last.is_some()
        });
        last.unwrap()
    };
    assert_eq!(waited_for(1).who, Awaited::Upstream);
    let stuck = waited_for(2);
    assert_eq!(stuck.who, Awaited::Client);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let since = Duration::from_nanos(stuck.since.try_into().unwrap());
    assert!(since + stuck.duration <= now && now - since < PATIENCE, "{stuck:?}");
}

#[tokio::test]
async fn a_quiet_pair_is_sampled_no_more_often_than_a_busy_one() {
    const INTERVAL: Duration = Duration::from_millis(200);
    let mut settings = Settings::default();
    settings.events.sample = true;
    settings.sample_interval = INTERVAL;
    settings.quiet_sample_interval = Duration::from_millis(1);
    let lines = lines_with(settings, |_, file| {
        wait_until("quiet samples come", || quiet_ones(&read_lines(file)).len() >= 3);
    })
    .await;
    let quiet = quiet_ones(&lines);
    assert_apart(&quiet, INTERVAL);
    assert!(quiet[0].duration >= INTERVAL, "{:?}", quiet[0].duration);
}

#[tokio::test]
async fn a_pair_that_waits_for_its_clients_return_is_sampled_without_its_clients_socket() {
    let mut settings = Settings::default();
    settings.events.sample = true;
    settings.sample_interval = Duration::from_millis(10);
    settings.quiet_sample_interval = Duration::from_millis(20);
    let listener = Listener::proxy(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let without_client = |lines: &[Line]| {
        let samples = of_pair(lines, 1).0.into_iter();
        let waiting = samples.filter(|sample| sample.client.info.is_none());
        waiting.cloned().collect::<Vec<_>>()
    };
    let work = move |proxy, file: &Path| {
        let (a, b) = (Origin::new("A"), Origin::new("B"));
        let mut client = Client::on(TcpStream::connect(proxy).unwrap());
        client.ask(&a.get("/", ""));
        client.ask(&b.get("/", ""));
        wait_until("the first pair is sampled while it waits", || {
            without_client(&read_lines(file)).len() >= 2
        });
        assert_eq!(client.ask(&a.get("/", "")), "A 1.2 /");
    };
    let (lines, _) = lines_of(listener, settings, |proxy| proxy, work).await;
    let waiting = without_client(&lines);
    let quiet = waiting.last().unwrap();
    assert_eq!((quiet.reason, quiet.leg), (SampleReason::Quiet, None));
    assert!(quiet.upstream.info.is_some());
    let (samples, closed) = of_pair(&lines, 1);
    let told: u64 = samples.iter().map(|sample| sample.delta.to_client).sum();
    let closed = closed.unwrap();
    assert_eq!(told + closed.delta.to_client, closed.client.tx_bytes);
}

#[test]
fn an_interval_too_short_is_wrong_usage() {
    let output = Command::new(BINARY)
        .args(["proxy", "-L", "0:127.0.0.1:9", "--sample-interval", "1ms"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("expected at least 10ms"), "{said}");
}
