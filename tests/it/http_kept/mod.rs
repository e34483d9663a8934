//! Several requests on one client connection in http mode: requests to one target share a pair, and
//! another target has a pair of its own.

pub(crate) mod origin;
mod programs;
mod upstreams;

use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::time::{Duration, Instant};

use conniver::record::{By, How, Mode, Outcome, Record};
use nix::sys::signal::Signal;

use self::origin::{Client, Origin};
use crate::harness::lossy_path::{self, Path};
use crate::harness::namespace::{Namespace, available};
use crate::harness::program::{BINARY, Proxy};
use crate::harness::queues::Queues;

/// How a pair ended first.
fn first_end(record: &Record) -> (By, How) {
    let ending = record.ending.as_ref().unwrap();
    (ending.first_by, ending.first_how)
}

fn turns(record: &Record) -> u64 {
    record.turns.as_ref().map_or(0, |turns| turns.count)
}

/// Records in the order of their pairs.
fn by_pair(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(|record| record.seq);
    records
}

/// What one side sent is what the other got, and all of it was acknowledged.
fn assert_is_whole(record: &Record) {
    let (client, upstream) = (&record.client, record.upstream.as_ref().unwrap());
    assert_eq!(
        client.rx_bytes - client.own_rx_bytes,
        upstream.tx_bytes - upstream.own_tx_bytes,
        "to upstream"
    );
    assert_eq!(
        upstream.rx_bytes - upstream.own_rx_bytes,
        client.tx_bytes - client.own_tx_bytes,
        "to client"
    );
    let delivery = record.delivery.to_client.as_ref().unwrap();
    assert_eq!((delivery.written, delivery.undelivered), (client.tx_bytes, Some(0)));
    assert_eq!(client.lost, Some(0));
    assert!(record.closed_at.unwrap() - record.opened_at >= 0);
}

#[test]
fn requests_to_one_target_share_a_pair() {
    let (a, proxy) = (Origin::new("A"), Proxy::serving(&[]));
    let mut client = Client::of(&proxy);
    assert_eq!(client.ask(&a.get("/one", "")), "A 1.1 /one");
    client.send(&a.get("/two", "").replacen("GET", "HEAD", 1));
    assert!(client.read_head().contains("\r\nContent-Length: 10\r\n"));
    let chunked = client.ask(&a.get("/chunked", ""));
    assert_eq!(chunked, "e;x\r\nA 1.3 /chunked\r\n0\r\nX: y\r\n\r\n");
    let body = "b".repeat(700_000);
    let post = a.get("/body", &format!("Content-Length: {}\r\n", body.len()));
    assert_eq!(client.ask(&format!("{}{body}", post.replacen("GET", "POST", 1))), "700000 bytes");
    let expecting = a.get("/body", "Content-Length: 3\r\nExpect: 100-continue\r\n");
    client.send(&expecting.replacen("GET", "PUT", 1));
    assert_eq!(client.read_head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    assert_eq!(client.read().1, "3 bytes");
    client.send(&a.get("/interim", "Proxy-Connection: keep-alive\r\n"));
    assert_eq!(client.read_head(), "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
    assert_eq!(client.read().1, "A 1.6 /interim");
    // Some clients end a body with an empty line that belongs to nothing.
    client.send("\r\n");
    let head = client.ask(&a.get("/head", "Proxy-Connection: keep-alive\r\nX: y\r\n"));
    let address = a.address;
    assert_eq!(head, format!("GET /head HTTP/1.1\r\nHost: {address}\r\nX: y\r\n\r\n"));
    drop(client);
    let record = proxy.the_record();
    // The 100 ends a turn of its own: the client waited for it.
    assert_eq!((a.connections(), turns(&record)), (1, 8));
    assert_eq!((record.outcome, record.previous.as_deref()), (Some(Outcome::Ok), None));
    assert_eq!(first_end(&record), (By::Client, How::Fin));
    let http = record.http.as_ref().unwrap();
    assert_eq!((http.method.as_deref(), http.status), (Some("GET"), Some(200)));
    assert!(record.warnings.is_empty(), "{:?}", record.warnings);
    assert_is_whole(&record);
}

#[test]
fn alternating_targets_have_a_pair_each() {
    let (a, b, proxy) = (Origin::new("A"), Origin::new("B"), Proxy::serving(&[]));
    let mut client = Client::of(&proxy);
    for count in 1..=20 {
        assert_eq!(client.ask(&a.get("/", "")), format!("A 1.{count} /"));
        assert_eq!(client.ask(&b.get("/", "")), format!("B 1.{count} /"));
    }
    drop(client);
    let records = by_pair(proxy.wait_for_records(2));
    assert_eq!((records.len(), a.connections(), b.connections()), (2, 1, 1));
    for (record, origin) in records.iter().zip([&a, &b]) {
        assert_eq!(record.target, origin.target());
        assert_eq!((record.outcome, turns(record)), (Some(Outcome::Ok), 20));
        assert_eq!((record.mode, first_end(record)), (Some(Mode::Http), (By::Client, How::Fin)));
        assert_eq!(record.client_port, records[0].client_port);
        assert!(record.warnings.is_empty(), "{:?}", record.warnings);
        assert_is_whole(record);
    }
    let [first, second] = &records[..] else { panic!() };
    assert_eq!((&first.previous, &second.previous), (&None, &Some(first.id.clone())));
    assert!(first.phases.accept_queue.is_some() && second.phases.accept_queue.is_none());
    assert!(second.opened_at > first.opened_at && second.phases.request.is_some());
    assert_eq!(second.client.first_rx_at, Some(second.opened_at));
}

#[test]
fn four_pairs_wait_and_a_fifth_takes_the_oldest_ones_place() {
    let origins = ["A", "B", "C", "D", "E", "F"].map(Origin::new);
    let proxy = Proxy::serving(&[]);
    let mut client = Client::of(&proxy);
    for _ in 0..2 {
        for origin in &origins[..5] {
            client.ask(&origin.get("/", ""));
        }
    }
    assert!(origins[..5].iter().all(|origin| origin.connections() == 1));
    // Five wait now; that of A has waited for longest.
    client.ask(&origins[5].get("/", ""));
    let record = proxy.the_record();
    assert_eq!((record.target.clone(), turns(&record)), (origins[0].target(), 2));
    assert_eq!(
        (record.outcome, first_end(&record)),
        (Some(Outcome::Ok), (By::Client, How::Switched))
    );
    assert_is_whole(&record);
    assert_eq!(client.ask(&origins[0].get("/again", "")), "A 2.1 /again");
    assert_eq!(client.ask(&origins[4].get("/again", "")), "E 1.3 /again");
    drop(client);
    assert_eq!(proxy.stop().records().len(), 7);
}

#[test]
fn pipelined_requests_are_answered_in_order_wherever_they_are_split() {
    let (a, b, proxy) = (Origin::new("A"), Origin::new("B"), Proxy::serving(&[]));
    let post = "Content-Length: 5\r\n";
    let all = [
        a.get("/one", ""),
        format!("{}hello", a.get("/body", post).replacen("GET", "POST", 1)),
        b.get("/two", ""),
        a.get("/three", ""),
        a.get("/four", "Connection: close\r\n"),
    ]
    .concat();
    let bodies = ["A 1 /one", "5 bytes", "B 1 /two", "A 3 /three", "A 4 /four"];
    let cuts: Vec<_> = (0..all.len()).collect();
    let wrong: Vec<_> = std::thread::scope(|scope| {
        let run = |cuts: &[usize]| {
            let mut wrong = Vec::new();
            for &cut in cuts {
                let mut client = Client::of(&proxy);
                let (first, second) = all.split_at(cut);
                client.send(first);
                Queues::open().wait_until_read(client.0.get_ref(), cut);
                client.send(second);
                let got: Vec<_> = bodies.iter().map(|_| client.read().1).collect();
                // Without the number of the connection.
                let plain = |body: &String| match body.split_once('.') {
                    Some((name, rest)) => format!("{} {rest}", &name[..1]),
                    None => body.clone(),
                };
                let got: Vec<_> = got.iter().map(plain).collect();
                if got != bodies || !client.read_to_end().is_empty() {
                    wrong.push(format!("{cut}: {got:?}"));
                }
            }
            wrong
        };
        let threads: Vec<_> =
            cuts.chunks(cuts.len() / 8 + 1).map(|cuts| scope.spawn(move || run(cuts))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let records = proxy.wait_for_records(2 * all.len());
    assert_eq!((a.connections(), b.connections()), (all.len(), all.len()));
    for record in &records {
        let expected = if record.target == a.target() { 4 } else { 1 };
        assert_eq!((record.outcome, turns(record)), (Some(Outcome::Ok), expected));
    }
}

#[test]
fn clients_of_http_1_0_keep_their_connection_if_they_ask_for_it() {
    let (a, proxy) = (Origin::new("A"), Proxy::serving(&[]));
    let url = a.url("/");
    for field in ["Connection: Keep-Alive", "Proxy-Connection: keep-alive"] {
        let mut client = Client::of(&proxy);
        for count in 1..=2 {
            client.send(&format!("GET {url} HTTP/1.0\r\n{field}\r\n\r\n"));
            let (head, body) = client.read();
            assert!(head.contains("\r\nConnection: keep-alive\r\n"), "{head}");
            assert!(body.ends_with(&format!(".{count} /")), "{body}");
        }
        client.send(&format!("GET {} HTTP/1.0\r\n{field}\r\n\r\n", a.url("/head")));
        let (_, sent) = client.read();
        assert!(sent.contains("\r\nConnection: keep-alive\r\n"), "{sent}");
        assert!(!sent.contains("Proxy-"), "{sent}");
        // Chunks would have no end for it.
        client.send(&format!("GET {} HTTP/1.0\r\n{field}\r\n\r\n", a.url("/chunked")));
        assert!(client.read().0.contains("\r\nConnection: close\r\n"));
        assert_eq!(client.read_to_end(), "");
    }
    for request in [
        format!("GET {url} HTTP/1.0\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: x\r\nProxy-Connection: close\r\n\r\n"),
    ] {
        let mut client = Client::of(&proxy);
        client.send(&request);
        let (head, _) = client.read();
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        assert_eq!(client.read_to_end(), "");
    }
}

#[test]
fn an_upgrade_after_other_requests_becomes_a_tunnel() {
    let (a, proxy) = (Origin::new("A"), Proxy::serving(&[]));
    let mut client = Client::of(&proxy);
    client.ask(&a.get("/", ""));
    client.send(&a.get("/upgrade", "Connection: Upgrade\r\nUpgrade: x\r\n"));
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("Connection: Upgrade"), "{head}");
    client.send("GET http://nobody.invalid/ HTTP/1.1\r\n\r\n");
    client.0.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_to_end(), "GET http://nobody.invalid/ HTTP/1.1\r\n\r\n");
    let record = proxy.the_record();
    assert_eq!((a.connections(), record.outcome), (1, Some(Outcome::Ok)));
}

#[test]
fn a_connection_may_become_a_tunnel_to_another_target() {
    let (a, b, proxy) = (Origin::new("A"), Origin::new("B"), Proxy::serving(&[]));
    let mut client = Client::of(&proxy);
    client.ask(&a.get("/", ""));
    client.send(&format!("CONNECT {} HTTP/1.1\r\n\r\n", b.address));
    assert!(client.read_head().starts_with("HTTP/1.1 200 "));
    assert_eq!(client.ask("GET /in HTTP/1.1\r\n\r\n"), "B 1.1 /in");
    drop(client);
    let records = by_pair(proxy.wait_for_records(2));
    assert_eq!(first_end(&records[0]), (By::Client, How::Switched));
    assert_eq!(records[1].mode, Some(Mode::Connect));
    assert_eq!(records[1].previous.as_ref(), Some(&records[0].id));
    assert_is_whole(&records[1]);
}

#[test]
fn authentication_of_a_connection_works() {
    let (a, b, proxy) = (Origin::new("A"), Origin::new("B"), Proxy::serving(&[]));
    let mut clients = [(); 2].map(|()| Client::of(&proxy));
    // Interleaved: each client has a connection of its own.
    for client in &mut clients {
        client.send(&a.get("/login", ""));
        assert!(client.read_head().starts_with("HTTP/1.1 401 "));
    }
    for (client, number) in clients.iter_mut().zip(1..) {
        client.ask(&b.get("/", ""));
        assert_eq!(
            client.ask(&a.get("/login", "Authorization: NTLM x\r\n")),
            format!("A {number}.2 /login")
        );
    }
}

#[test]
fn rules_are_checked_for_every_target() {
    let (a, b) = (Origin::new("A"), Origin::new("B"));
    let proxy = Proxy::serving(&["--deny", &b.address.to_string()]);
    let mut client = Client::of(&proxy);
    client.ask(&a.get("/", ""));
    client.send(&b.get("/", ""));
    let (head, body) = client.read();
    assert!(
        head.starts_with("HTTP/1.1 403 ") && head.contains("Connection: close"),
        "{head}{body}"
    );
    assert_eq!((client.read_to_end().as_str(), b.connections()), ("", 0));
    drop(client);
    let records = by_pair(proxy.wait_for_records(2));
    assert_eq!(records[1].outcome, Some(Outcome::Denied));
    assert_eq!(records[1].previous.as_ref(), Some(&records[0].id));
}

#[test]
fn a_malformed_further_request_is_answered_and_recorded() {
    let (a, proxy) = (Origin::new("A"), Proxy::serving(&[]));
    let mut client = Client::of(&proxy);
    client.ask(&a.get("/", ""));
    client.send("nonsense\r\n\r\n");
    assert!(client.read().0.starts_with("HTTP/1.1 400 "));
    assert_eq!(client.read_to_end(), "");
    drop(client);
    let records = by_pair(proxy.wait_for_records(2));
    assert_eq!(records[0].outcome, Some(Outcome::Ok));
    assert_eq!((records[1].outcome, &records[1].target), (Some(Outcome::Protocol), &None));
    assert_eq!(records[1].previous.as_ref(), Some(&records[0].id));
}

#[test]
fn passwords_are_checked_for_every_request() {
    let users = tempfile::NamedTempFile::new().unwrap();
    writeln!(&users, "me:secret").unwrap();
    let (a, file) = (Origin::new("A"), users.path().to_str().unwrap().to_owned());
    let proxy = Proxy::serving(&["--auth-file", &file]);
    let mut client = Client::of(&proxy);
    client.ask(&a.get("/", "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"));
    client.send(&a.get("/", ""));
    assert!(client.read().0.starts_with("HTTP/1.1 407 "));
}

#[test]
fn one_place_is_enough_for_several_targets() {
    let (a, b, proxy) =
        (Origin::new("A"), Origin::new("B"), Proxy::serving(&["--max-connections", "1"]));
    let mut client = Client::of(&proxy);
    for count in 1..=3 {
        assert_eq!(client.ask(&a.get("/", "")), format!("A {count}.1 /"));
        assert_eq!(client.ask(&b.get("/", "")), format!("B {count}.1 /"));
    }
    drop(client);
    let records = by_pair(proxy.wait_for_records(6));
    for record in &records[..5] {
        assert_eq!(first_end(record), (By::Client, How::Switched));
        assert_is_whole(record);
    }
    let mut other = Client::of(&proxy);
    other.ask(&a.get("/", ""));
}

#[test]
fn an_idle_timeout_ends_every_pair() {
    let (a, b, proxy) =
        (Origin::new("A"), Origin::new("B"), Proxy::serving(&["--idle-timeout", "300ms"]));
    let mut client = Client::of(&proxy);
    client.ask(&a.get("/", ""));
    client.ask(&b.get("/", ""));
    let records = proxy.wait_for_records(2);
    for record in records {
        assert_eq!(record.outcome, Some(Outcome::Timeout));
        assert_eq!(record.ending.unwrap().error_code.as_deref(), Some("IDLE_TIMEOUT"));
    }
}

#[test]
fn a_shutdown_ends_idle_connections_and_lets_answers_finish() {
    let (a, b, proxy) = (Origin::new("A"), Origin::new("B"), Proxy::serving(&["--drain", "60s"]));
    let mut idle = Client::of(&proxy);
    idle.ask(&a.get("/", ""));
    idle.ask(&b.get("/", ""));
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client::of(&proxy);
    let address = busy.local_addr().unwrap();
    client.send(&format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\n\r\n"));
    let mut origin = Client::on(busy.accept().unwrap().0);
    origin.read_head();
    let began = Instant::now();
    proxy.signal(Signal::SIGTERM);
    assert_eq!(idle.read_to_end(), "");
    drop(idle);
    origin.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let (head, body) = client.read();
    assert!(head.contains("\r\nConnection: close\r\n") && body == "ok", "{head}{body}");
    assert_eq!(client.read_to_end(), "");
    drop((client, origin));
    let records = proxy.wait().records();
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(records.len(), 3);
    for record in records {
        assert_eq!(record.outcome, Some(Outcome::Ok), "{:?}", record.ending);
    }
}

#[test]
fn a_kept_connection_costs_one_round_trip_a_request() {
    if !available("a_kept_connection_costs_one_round_trip_a_request") {
        return;
    }
    let (here, far) = (Namespace::new(), Namespace::new());
    let delay = Duration::from_millis(50);
    lossy_path::lay(&here, &far, "far", 7, Path { delay, loses: None, rate: None });
    let origin = far.enter(|| Origin::on(TcpListener::bind("10.7.0.2:0").unwrap(), "A"));
    let proxy = Proxy::start(&mut here.command(BINARY), &[], &["-D", "0"]);
    let mut client = Client::on(here.enter(|| proxy.connect()));
    client.ask(&origin.get("/first", ""));
    let mut fastest = Duration::MAX;
    for count in 2..=6 {
        let began = Instant::now();
        assert_eq!(client.ask(&origin.get("/", "")), format!("A 1.{count} /"));
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest >= 2 * delay && fastest < 3 * delay, "{fastest:?}");
    drop(client);
    let record = proxy.the_record();
    assert_eq!((turns(&record), record.client.lost), (6, Some(0)));
}
