//! Unmodified clients that keep their connection to a proxy.

use std::process::Command;

use conniver::record::{By, How, Outcome};
use tempfile::TempDir;

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
for url in urls * 50:
    print(manager.request("GET", url).data.decode())
"#;

const JAVA: &str = r#"
import java.net.*;
import java.net.http.*;
public class Client {
    public static void main(String[] args) throws Exception {
        URI proxy = URI.create("http://" + args[0]);
        ProxySelector selector =
            ProxySelector.of(new InetSocketAddress(proxy.getHost(), proxy.getPort()));
        HttpClient client =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).proxy(selector).build();
        for (int n = 0; n < 100; n++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(args[1 + n % 2])).build();
            System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
        }
    }
}
"#;

const NODE: &str = r#"
const http = require("http");
const [proxy, ...urls] = process.argv.slice(1);
const [host, port] = proxy.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const get = url => new Promise((resolve, reject) => {
    const headers = { host: new URL(url).host };
    http.get({ agent, host, port, path: url, headers }, async response => {
        let body = "";
        for await (const chunk of response) body += chunk;
        resolve(body);
    }).on("error", reject);
});
(async () => {
    for (let n = 0; n < 100; n++) console.log(await get(urls[n % 2]));
    agent.destroy();
})();
"#;

const GO: &str = r#"
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

func main() {
	proxy := &url.URL{Scheme: "http", Host: os.Args[1]}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}
	for n := 0; n < 100; n++ {
		response, err := client.Get(os.Args[2+n%2])
		if err != nil {
			panic(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			panic(err)
		}
		response.Body.Close()
		fmt.Println(string(body))
	}
}
"#;

/// Runs a program that fetches from A, A, B and A again, over one connection.
fn assert_keeps_its_connection(program: &str, args: &[&str]) {
    let (a, b, proxy) = (Origin::new("A"), Origin::new("B"), Proxy::serving(&[]));
    let urls = [a.url("/1"), a.url("/2"), b.url("/3"), a.url("/4")];
    let address = proxy.address().to_string();
    let args = args.iter().map(|arg| arg.replace("PROXY", &address));
    let mut command = Command::new(program);
    without_proxies(&mut command).args(args).args(urls);
    command.env("http_proxy", format!("http://{address}"));
    let said = String::from_utf8(output(&mut command).stdout).unwrap();
    for body in ["A 1.1 /1", "A 1.2 /2", "B 1.1 /3", "A 1.3 /4"] {
        assert!(said.contains(body), "{program}: {said}");
    }
    assert_eq!((a.connections(), b.connections()), (1, 1), "{program}");
    assert_pairs_of_one_connection(&proxy, [3, 1]);
}

/// Two pairs of one client connection, with so many turns.
fn assert_pairs_of_one_connection(proxy: &Proxy, counts: [u64; 2]) {
    let records = by_pair(proxy.wait_for_records(2));
    assert_eq!(records.len(), 2);
    assert_eq!((&records[0].previous, &records[1].previous), (&None, &Some(records[0].id.clone())));
    assert_eq!(records[0].client_port, records[1].client_port);
    for (record, count) in records.iter().zip(counts) {
        assert_eq!((record.outcome, turns(record)), (Some(Outcome::Ok), count));
        assert_eq!(first_end(record), (By::Client, How::Fin));
        assert_is_whole(record);
    }
}

/// Runs a program that fetches from A and B alternately, 50 times each, and prints the bodies. It
/// finds the proxy's address and the two URLs behind its arguments.
fn assert_alternates(command: &mut Command) {
    let (a, b, proxy) = (Origin::new("A"), Origin::new("B"), Proxy::serving(&[]));
    command.arg(proxy.address().to_string()).args([a.url("/a"), b.url("/b")]);
    let said = String::from_utf8(output(without_proxies(command)).stdout).unwrap();
    let expected: String =
        (1..=50).map(|count| format!("A 1.{count} /a\nB 1.{count} /b\n")).collect();
    assert_eq!(said, expected);
    assert_eq!((a.connections(), b.connections()), (1, 1));
    assert_pairs_of_one_connection(&proxy, [50, 50]);
}

#[test]
fn curl_keeps_its_connection() {
    if has_tool("curl", "curl_keeps_its_connection") {
        assert_keeps_its_connection("curl", &["-sS", "-m", "20", "-x", "PROXY"]);
    }
}

#[test]
fn wget_keeps_its_connection() {
    if !has_tool("wget", "wget_keeps_its_connection") {
        return;
    }
    assert_keeps_its_connection("wget", &["-q", "-T", "20", "-t", "1", "-O", "-"]);
}

#[test]
fn pythons_http_client_keeps_its_connection() {
    if has_tool("python3", "pythons_http_client_keeps_its_connection") {
        assert_keeps_its_connection("python3", &["-c", HTTP_CLIENT, "PROXY"]);
    }
}

#[test]
fn urllib3_alternates_over_one_connection() {
    // Debian's Python, which has Debian's urllib3.
    let (python, name) = ("/usr/bin/python3", "urllib3_alternates_over_one_connection");
    if !has_tool(python, name) {
        return;
    }
    match Command::new(python).args(["-c", "import urllib3"]).status().unwrap().success() {
        true => assert_alternates(Command::new(python).args(["-c", URLLIB3])),
        false => skip(name, "it has no urllib3"),
    }
}

#[test]
fn java_alternates_over_one_connection() {
    // Sources are compiled when they are run.
    if !has_tool("javac", "java_alternates_over_one_connection") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let source = directory.path().join("Client.java");
    std::fs::write(&source, JAVA).unwrap();
    assert_alternates(Command::new("java").arg(source));
}

#[test]
fn node_alternates_over_one_connection() {
    if has_tool("node", "node_alternates_over_one_connection") {
        assert_alternates(Command::new("node").args(["-e", NODE, "--"]));
    }
}

#[test]
fn go_alternates_over_one_connection() {
    if !has_tool("go", "go_alternates_over_one_connection") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let source = directory.path().join("client.go");
    std::fs::write(&source, GO).unwrap();
    assert_alternates(Command::new("go").arg("run").arg(source).env("GOCACHE", directory.path()));
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
