//! Upstreams that end, or misuse, connections that are kept.

use std::io::{Read, Write};
use std::net::TcpListener;

use conniver::record::{By, How, Outcome, Record, WarningCode};

use super::origin::{Client, Origin};
use super::{assert_is_whole, by_pair, first_end, turns};
use crate::harness::program::Proxy;

fn value_of(record: &Record, code: WarningCode) -> Option<u64> {
    record.warnings.iter().find(|warning| warning.code == code).map(|warning| warning.value)
}

#[test]
fn an_upstream_that_closes_while_idle_ends_its_pair_alone() {
    let (a, b, proxy) = (Origin::new("A"), Origin::new("B"), Proxy::serving(&[]));
    let mut client = Client::of(&proxy);
    client.ask(&b.get("/", ""));
    assert_eq!(client.ask(&a.get("/then-close", "")), "A 1.1 /then-close");
    let first = proxy.the_record();
    assert_eq!((first.target.clone(), first.outcome), (a.target(), Some(Outcome::Ok)));
    assert_eq!(first_end(&first), (By::Upstream, How::Fin));
    assert_is_whole(&first);
    assert_eq!(client.ask(&a.get("/", "")), "A 2.1 /");
    assert_eq!(client.ask(&b.get("/", "")), "B 1.2 /");
    drop(client);
    let records = by_pair(proxy.wait_for_records(3));
    assert_eq!(records[2].previous.as_ref(), Some(&first.id));
}

#[test]
fn a_clients_connection_ends_with_its_only_upstream() {
    let (a, proxy) = (Origin::new("A"), Proxy::serving(&[]));
    let mut client = Client::of(&proxy);
    assert_eq!(client.ask(&a.get("/", "")), "A 1.1 /");
    // No field says that it will close, and there is no other request: a client that reads to the
    // end is not kept waiting.
    assert_eq!(client.ask(&a.get("/then-close", "")), "A 1.2 /then-close");
    assert_eq!(client.read_to_end(), "");
    drop(client);
    let record = proxy.the_record();
    assert_eq!((record.outcome, turns(&record)), (Some(Outcome::Ok), 2));
    assert_eq!(first_end(&record), (By::Upstream, How::Fin));
    assert_is_whole(&record);

    // A request that has come already is answered.
    let mut client = Client::of(&proxy);
    client.send(&[a.get("/then-close", ""), a.get("/next", "")].concat());
    assert_eq!(
        (client.read().1, client.read().1),
        ("A 2.1 /then-close".into(), "A 3.1 /next".into())
    );
}

#[test]
fn a_clients_connection_ends_with_the_last_of_its_upstreams() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap();
    let (b, proxy) = (Origin::new("B"), Proxy::serving(&[]));
    let mut client = Client::of(&proxy);
    client.send(&format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\n\r\n"));
    let mut origin = Client::on(busy.accept().unwrap().0);
    origin.read_head();
    origin.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.read().1, "ok");
    assert_eq!(client.ask(&b.get("/then-close", "")), "B 1.1 /then-close");
    assert_eq!(proxy.the_record().target, b.target());
    // The other upstream keeps it open.
    assert_eq!(client.ask(&b.get("/then-close", "")), "B 2.1 /then-close");
    proxy.wait_for_records(2);
    drop(origin);
    assert_eq!(client.read_to_end(), "");
    drop(client);
    for record in proxy.wait_for_records(3) {
        assert_eq!(record.outcome, Some(Outcome::Ok));
        assert_eq!(first_end(&record), (By::Upstream, How::Fin));
    }
}

#[test]
fn a_waiting_pair_ends_when_its_upstream_closes() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap();
    let (b, proxy) = (Origin::new("B"), Proxy::serving(&[]));
    let mut client = Client::of(&proxy);
    let get = format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send(&get);
    let mut origin = Client::on(busy.accept().unwrap().0);
    origin.read_head();
    origin.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.read().1, "ok");
    client.ask(&b.get("/", ""));
    drop(origin);
    let record = proxy.the_record();
    assert_eq!(
        (record.target.clone(), record.outcome),
        (Some(address.to_string()), Some(Outcome::Ok))
    );
    assert_eq!(first_end(&record), (By::Upstream, How::Fin));
    assert_is_whole(&record);
    // It is dialled again.
    client.send(&get);
    let mut origin = Client::on(busy.accept().unwrap().0);
    origin.read_head();
}

#[test]
fn a_request_that_crosses_with_a_close_is_repeated_if_that_is_safe() {
    for path in ["/leave", "/reset"] {
        let (a, proxy) = (Origin::new("A"), Proxy::serving(&[]));
        let mut client = Client::of(&proxy);
        client.ask(&a.get("/", ""));
        // Together with the next request, which is held back meanwhile.
        client.send(&[a.get(path, ""), a.get("/next", "")].concat());
        assert_eq!(client.read().1, format!("A 2.1 {path}"));
        assert_eq!(client.read().1, "A 2.2 /next");
        drop(client);
        let records = by_pair(proxy.wait_for_records(2));
        assert_eq!((a.connections(), records.len()), (2, 2));
        assert_eq!(first_end(&records[0]).0, By::Upstream);
        assert_eq!((turns(&records[1]), records[1].outcome), (2, Some(Outcome::Ok)));
        assert_eq!(records[1].previous.as_ref(), Some(&records[0].id));
        assert_eq!(records[1].phases.request, None);

        // Nobody knows whether the upstream has seen these.
        for (method, body) in [("POST", "Content-Length: 0\r\n"), ("PUT", "Content-Length: 1\r\n")]
        {
            let mut client = Client::of(&proxy);
            client.ask(&a.get("/", ""));
            let connections = a.connections();
            client.send(&format!("{}b", a.get(path, body)).replacen("GET", method, 1));
            let mut rest = Vec::new();
            // An end of stream or a reset, but no answer.
            let _ = client.0.read_to_end(&mut rest);
            assert_eq!((rest.len(), a.connections()), (0, connections), "{path} {method}");
        }
    }
}

#[test]
fn a_first_request_without_a_response_is_a_502_still() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::serving(&[]);
    let mut client = Client::of(&proxy);
    let address = silent.local_addr().unwrap();
    client.send(&format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\n\r\n"));
    let mut origin = Client::on(silent.accept().unwrap().0);
    origin.read_head();
    drop(origin);
    let (head, _) = client.read();
    assert!(
        head.starts_with("HTTP/1.1 502 ") && head.contains("\r\nConnection: close\r\n"),
        "{head}"
    );
}

#[test]
fn bytes_after_a_response_end_the_upstreams_connection_alone() {
    let (a, b, proxy) = (Origin::new("A"), Origin::new("B"), Proxy::serving(&[]));
    let mut client = Client::of(&proxy);
    assert_eq!(client.ask(&a.get("/extra", "")), "A 1.1 /extra");
    let record = proxy.the_record();
    assert_eq!(value_of(&record, WarningCode::BytesAfterResponse), Some(5));
    assert_eq!((record.outcome, first_end(&record)), (Some(Outcome::Ok), (By::Proxy, How::Fin)));
    assert_is_whole(&record);
    assert_eq!(client.ask(&b.get("/", "")), "B 1.1 /");
    assert_eq!(client.ask(&a.get("/", "")), "A 2.1 /");
}

#[test]
fn bytes_of_a_waiting_upstream_answer_nothing() {
    let poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON";
    for later in [false, true] {
        let busy = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = busy.local_addr().unwrap();
        let (b, proxy) = (Origin::new("B"), Proxy::serving(&[]));
        let mut client = Client::of(&proxy);
        let get = format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\n\r\n");
        client.send(&get);
        let mut origin = Client::on(busy.accept().unwrap().0);
        origin.read_head();
        origin.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.read().1, "ok");
        if later {
            client.ask(&b.get("/", ""));
        }
        origin.0.get_mut().write_all(poison).unwrap();
        let record = proxy.the_record();
        let behind = value_of(&record, WarningCode::BytesAfterResponse);
        assert_eq!(behind, Some(poison.len() as u64), "later: {later}");
        assert_eq!(
            client.ask(&b.get("/after", "")),
            format!("B 1.{} /after", 1 + usize::from(later))
        );
        client.send(&get);
        let mut origin = Client::on(busy.accept().unwrap().0);
        origin.read_head();
        origin.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
        assert_eq!(client.read().1, "good");
    }
}

#[test]
fn an_upstream_that_closes_after_its_response_closes_the_clients_connection() {
    let (a, proxy) = (Origin::new("A"), Proxy::serving(&[]));
    for path in ["/close", "/unframed"] {
        let mut client = Client::of(&proxy);
        client.ask(&a.get("/", ""));
        // The request behind it is for nobody.
        client.send(&[a.get(path, ""), a.get("/never", "")].concat());
        assert!(client.read_head().contains("\r\nConnection: close\r\n"));
        let rest = client.read_to_end();
        assert!(rest.ends_with(path), "{rest}");
    }
    for record in proxy.wait_for_records(2) {
        assert_eq!((record.outcome, turns(&record)), (Some(Outcome::Ok), 2));
        let behind = value_of(&record, WarningCode::BytesAfterRequest);
        assert_eq!(behind, Some(a.get("/never", "").len() as u64));
    }
}

#[test]
fn a_response_before_the_body_that_a_client_may_keep_back_ends_the_connection() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap();
    let proxy = Proxy::serving(&[]);
    let mut client = Client::of(&proxy);
    client.send(&format!(
        "PUT http://{address}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\nExpect: 100-continue\r\n\r\n"
    ));
    let mut origin = Client::on(busy.accept().unwrap().0);
    origin.read_head();
    origin.send("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno");
    let (head, body) = client.read();
    assert!(head.contains("\r\nConnection: close\r\n") && body == "no", "{head}");
    assert_eq!(client.read_to_end(), "");
}
