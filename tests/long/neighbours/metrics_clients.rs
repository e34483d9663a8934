//! Clients of the metrics that ask and never read, or say nothing, beside a scraper and a client of
//! the proxy.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::window::{Probe, forwarded, measure, scraped};
use super::{Findings, QUIET, RUNS, Series, beside};
use crate::harness::peers::echo_server;
use crate::harness::program::{BINARY, Proxy, address_in};

/// Of each kind: fewer than are served at once, and many more.
const COUNTS: [usize; 2] = [16, 100];

const LOUD: Duration = Duration::from_secs(4);

/// A client that was cut off comes again after this, so that making the load costs little.
const PAUSE: Duration = Duration::from_secs(1);

/// Requests that a client sends at most on one connection.
const PIPELINED: usize = 10_000;

/// Asks again and again on one connection and reads none of the answers, until it is cut off.
async fn pipeline(metrics: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(metrics).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {metrics}\r\n\r\n");
    for _ in 0..PIPELINED {
        stream.write_all(request.as_bytes()).await?;
    }
    until_cut_off(&stream).await
}

/// Without reading, which would make room for more.
async fn until_cut_off(stream: &TcpStream) -> std::io::Result<()> {
    stream.ready(tokio::io::Interest::ERROR).await.map(drop)
}

/// Says nothing until it is cut off.
async fn be_silent(metrics: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(metrics).await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}

async fn load(metrics: SocketAddr, each: usize) {
    let mut clients = JoinSet::new();
    for number in 0..2 * each {
        clients.spawn(async move {
            loop {
                // However it is cut off.
                let _ = match number % 2 {
                    0 => pipeline(metrics).await,
                    _ => be_silent(metrics).await,
                };
                sleep(PAUSE).await;
            }
        });
    }
    while clients.join_next().await.is_some() {}
}

pub(crate) fn metrics_clients() -> String {
    const SHOWING: &str = "serving metrics on ";
    let forward = format!("0:{}", echo_server());
    let proxy = Proxy::start(&mut Command::new(BINARY), &[&forward], &["--metrics", "0"]);
    let metrics = address_in(&proxy.wait_to_hear(SHOWING), SHOWING).unwrap();
    let (address, before) = (proxy.address(), proxy.descriptors());
    let scraper: Probe<'_> = &|| scraped(metrics);
    let client: Probe<'_> = &|| forwarded(address);
    let mut all = COUNTS.map(|each| {
        let name = |who| Series::new(format!("{who} beside {each} and {each}"));
        ["a scraper", "a client"].map(name)
    });
    let mut findings = Findings::default();
    for _ in 0..RUNS {
        for (series, each) in all.iter_mut().zip(COUNTS) {
            let quiet = measure(&[scraper, client], || std::thread::sleep(QUIET));
            let loud = beside(load(metrics, each), || {
                measure(&[scraper, client], || std::thread::sleep(LOUD))
            });
            Series::add_run(series, quiet, loud);
            findings.settle("the descriptors are closed", || proxy.descriptors() <= before + 8);
        }
    }
    let left = proxy.stop();
    all.iter().flatten().for_each(|series| findings.judge(series));
    findings.judge_end(&left);
    let proxied = all.iter().flat_map(|[_, client]| client.clients());
    findings.compare_records(proxied, &left.records());
    findings.note()
}
