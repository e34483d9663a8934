//! Unmodified clients that keep their connection to a proxy.

use std::process::Command;

use conniver::record::{By, How, Outcome};

use super::origin::Origin;
use super::{assert_is_whole, by_pair, first_end, turns};
use crate::harness::clients::{client, without_proxies};
use crate::harness::program::Proxy;
use crate::harness::{has_tool, output, skip};

const HTTP_CLIENT: &str = r#"
import http.client, sys
proxy, *urls = sys.argv[1:]
host, port = proxy.split(":")
connection = http.client.HTTPConnection(host, int(port), timeout=20)
for url in urls:
    connection.request("GET", url)
    print(connection.getresponse().read().decode())
"#;

const URLLIB3: &str = r#"
import sys, urllib3
proxy, *urls = sys.argv[1:]
manager = urllib3.ProxyManager("http://" + proxy, timeout=20, maxsize=1, retries=False)
for url in urls * 25:
    print(manager.request("GET", url).data.decode())
"#;

/// Runs a program that fetches from A, A, B and A again, `rounds` times, over one connection.
fn assert_keeps_its_connection(program: &str, args: &[&str], rounds: usize) {
    let (a, b, proxy) = (Origin::new("A"), Origin::new("B"), Proxy::serving(&[]));
    let urls = [a.url("/1"), a.url("/2"), b.url("/3"), a.url("/4")];
    let address = proxy.address().to_string();
    let args = args.iter().map(|arg| arg.replace("PROXY", &address));
    let mut command = Command::new(program);
    without_proxies(&mut command).args(args).args(urls);
    command.env("http_proxy", format!("http://{address}"));
    let said = String::from_utf8(output(&mut command).stdout).unwrap();
    for round in 0..rounds {
        let bodies = [(3 * round + 1, 1), (3 * round + 2, 2), (3 * round + 3, 4)];
        for (count, path) in bodies {
            assert!(said.contains(&format!("A 1.{count} /{path}")), "{program}: {said}");
        }
        assert!(said.contains(&format!("B 1.{} /3", round + 1)), "{program}: {said}");
    }
    assert_eq!((a.connections(), b.connections()), (1, 1), "{program}");
    let records = by_pair(proxy.wait_for_records(2));
    assert_eq!(records[1].previous.as_ref(), Some(&records[0].id));
    for (record, count) in records.iter().zip([3 * rounds, rounds]) {
        assert_eq!((record.outcome, turns(record)), (Some(Outcome::Ok), count as u64));
        assert_eq!(first_end(record), (By::Client, How::Fin), "{program}");
        assert_is_whole(record);
    }
}

#[test]
fn curl_keeps_its_connection() {
    if has_tool("curl", "curl_keeps_its_connection") {
        assert_keeps_its_connection("curl", &["-sS", "-m", "20", "-x", "PROXY"], 1);
    }
}

#[test]
fn wget_keeps_its_connection() {
    if !has_tool("wget", "wget_keeps_its_connection") {
        return;
    }
    assert_keeps_its_connection("wget", &["-q", "-T", "20", "-t", "1", "-O", "-"], 1);
}

#[test]
fn pythons_http_client_keeps_its_connection() {
    if has_tool("python3", "pythons_http_client_keeps_its_connection") {
        assert_keeps_its_connection("python3", &["-c", HTTP_CLIENT, "PROXY"], 1);
    }
}

#[test]
fn urllib3_keeps_its_connection() {
    // Debian's Python, which has Debian's urllib3.
    let (python, name) = ("/usr/bin/python3", "urllib3_keeps_its_connection");
    if !has_tool(python, name) {
        return;
    }
    match Command::new(python).args(["-c", "import urllib3"]).status().unwrap().success() {
        true => assert_keeps_its_connection(python, &["-c", URLLIB3, "PROXY"], 25),
        false => skip(name, "it has no urllib3"),
    }
}

#[test]
fn ab_keeps_its_connections() {
    if !has_tool("ab", "ab_keeps_its_connections") {
        return;
    }
    let (a, proxy) = (Origin::new("A"), Proxy::serving(&[]));
    let mut ab = Command::new("ab");
    ab.args(["-q", "-s", "20", "-n", "400", "-c", "4", "-k", "-l"]);
    ab.args(["-X", &proxy.address().to_string(), &a.url("/")]);
    let said = String::from_utf8(client(without_proxies(&mut ab))).unwrap();
    let value = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().last()).unwrap_or_default().to_owned()
    };
    assert_eq!(value("Complete requests:"), "400", "{said}");
    assert_eq!(
        (value("Failed requests:"), value("Keep-Alive requests:")),
        ("0".into(), "400".into())
    );
    let records = proxy.wait_for_records(4);
    assert_eq!((records.len(), a.connections()), (4, 4));
    assert_eq!(records.iter().map(turns).sum::<u64>(), 400);
}
