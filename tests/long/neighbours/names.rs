//! Names that lead nowhere: clients who ask for them, beside one whose names work.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::name_server::{
    NameServer, SILENT, SILENT_ADDRESSES, SILENT_NETWORK, UNANSWERED, WORKING,
};
use super::window::{Probe, measure, tunnelled};
use super::{Findings, QUIET, RUNS, Series, beside, connect_from};
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::echo_server;
use crate::harness::program::{BINARY, Proxy};

/// Clients who ask for silent names, each for one after the other.
const CLIENTS: usize = 300;

/// Descriptors that the proxy may have: what some systems give a service.
const DESCRIPTORS: &str = "4096";

/// Long enough for a name with [`SILENT_ADDRESSES`] addresses to have all of its attempts under way,
/// which begin 250 ms apart.
const SILENT_WINDOW: Duration = Duration::from_secs(8);

/// Pause of a client whose request has failed.
const PAUSE: Duration = Duration::from_millis(500);

const LOOKUPS: usize = 600;

/// Look-ups begin so far apart: 60 a second.
const LOOKUP_INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / 60);

/// All of the look-ups, and a second more.
const LOOKUP_WINDOW: Duration = Duration::from_secs(11);

/// A namespace with a name server of its own.
fn namespace() -> Namespace {
    let namespace = Namespace::new();
    namespace.hosts("127.0.0.1 localhost\n");
    namespace.etc("nsswitch.conf", "hosts: files dns\n");
    // The system's defaults, written down.
    namespace.etc("resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n");
    namespace
}

/// A proxy in it that may have so many descriptors.
fn proxy_in(namespace: &Namespace) -> Proxy {
    let script = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\"");
    Proxy::start(namespace.command("sh").args(["-c", &script, BINARY]), &[], &["-D", "0"])
}

/// The address of the so-manyth client, none of which is the quiet one's.
fn address_of(client: usize) -> [u8; 4] {
    let [.., high, low] = (client + 2).to_be_bytes();
    [127, 1, high, low]
}

/// Asks for a tunnel; returns when it has been refused, or the client been cut off.
async fn ask(client: [u8; 4], proxy: SocketAddr, target: &str) {
    let Ok(mut stream) = connect_from(client, proxy).await else { return };
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    if stream.write_all(request.as_bytes()).await.is_ok() {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

/// So many tasks that do `work`, which never ends, each with its number.
async fn tasks<F: Future<Output = ()> + Send + 'static>(count: usize, work: impl Fn(usize) -> F) {
    let mut tasks = tokio::task::JoinSet::new();
    (0..count).for_each(|number| drop(tasks.spawn(work(number))));
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// Names that nobody has asked for before.
static NEXT: AtomicUsize = AtomicUsize::new(0);

fn new_name(domain: &str) -> String {
    format!("{}.{domain}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn silent_names() -> String {
    assert!(available("silent_names"));
    let [namespace, hole] = [namespace(), Namespace::new()];
    namespace.cable(&hole, "hole", 9);
    namespace.ip(&["route", "add", SILENT_NETWORK, "via", "10.9.0.2"]);
    hole.nft(
        "add table ip hole; \
         add chain ip hole in { type filter hook prerouting priority 0; }; \
         add rule ip hole in tcp flags syn drop",
    );
    let findings = namespace.enter(|| {
        let _server = NameServer::start();
        let proxy = proxy_in(&namespace);
        let (address, port) = (proxy.address(), echo_server().port());
        let before = proxy.descriptors();
        let own = format!("own.{WORKING}:{port}");
        let by_own: Probe<'_> = &|| tunnelled(address, &own);
        let by_new: Probe<'_> = &|| tunnelled(address, &format!("{}:{port}", new_name(WORKING)));
        let mut series = [Series::new("its own name"), Series::new("new names")];
        let load = || {
            tasks(CLIENTS, move |number| async move {
                loop {
                    ask(address_of(number), address, &format!("{}:80", new_name(SILENT))).await;
                    sleep(PAUSE).await;
                }
            })
        };
        let (mut findings, mut most) = (Findings::default(), 0);
        for _ in 0..RUNS {
            let quiet = measure(&[by_own, by_new], || std::thread::sleep(QUIET));
            let loud = beside(load(), || {
                let windows = measure(&[by_own, by_new], || std::thread::sleep(SILENT_WINDOW));
                most = most.max(proxy.descriptors());
                windows
            });
            for ((series, quiet), loud) in series.iter_mut().zip(quiet).zip(loud) {
                series.quiet.push(quiet);
                series.loud.push(loud);
            }
            findings.settle("the descriptors are closed", || proxy.descriptors() <= before + 8);
        }
        let left = proxy.stop();
        series.iter().for_each(|series| findings.judge(series));
        findings.judge_end(&left);
        findings.compare_records(series.iter().flat_map(Series::clients), &left.records());
        findings.figure(format!(
            "{CLIENTS} clients with {SILENT_ADDRESSES} silent addresses a name, {most} of \
             {DESCRIPTORS} descriptors"
        ));
        findings
    });
    findings.note()
}

pub(crate) fn unanswered_lookups_of_one_client() -> String {
    unanswered_lookups("one address", |_| [127, 0, 0, 2])
}

pub(crate) fn unanswered_lookups_of_many_clients() -> String {
    unanswered_lookups("100 addresses", |number| address_of(number % 100))
}

/// The clients' addresses, by the number of the look-up.
fn unanswered_lookups(from: &str, client: fn(usize) -> [u8; 4]) -> String {
    assert!(available("unanswered_lookups"));
    let namespace = namespace();
    let findings = namespace.enter(|| {
        let server = NameServer::start();
        let proxy = proxy_in(&namespace);
        let (address, port) = (proxy.address(), echo_server().port());
        let before = proxy.descriptors();
        let (local, cached) = (format!("localhost:{port}"), format!("own.{WORKING}:{port}"));
        let by_new: Probe<'_> = &|| tunnelled(address, &format!("{}:{port}", new_name(WORKING)));
        let by_local: Probe<'_> = &|| tunnelled(address, &local);
        let by_cached: Probe<'_> = &|| tunnelled(address, &cached);
        let probes = [by_new, by_local, by_cached];
        let mut series = ["new names", "localhost", "a cached name"].map(Series::new);
        let load = || async move {
            let mut ticks = interval(LOOKUP_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut clients = tokio::task::JoinSet::new();
            for number in 0..LOOKUPS {
                ticks.tick().await;
                clients.spawn(async move {
                    let target = format!("{}:80", new_name(UNANSWERED));
                    ask(client(number), address, &target).await;
                });
            }
            while clients.join_next().await.is_some() {}
        };
        let (mut findings, mut questions) = (Findings::default(), 0);
        for _ in 0..RUNS {
            let quiet = measure(&probes, || std::thread::sleep(QUIET));
            let loud = beside(load(), || measure(&probes, || std::thread::sleep(LOOKUP_WINDOW)));
            for ((series, quiet), loud) in series.iter_mut().zip(quiet).zip(loud) {
                series.quiet.push(quiet);
                series.loud.push(loud);
            }
            findings.settle("the clients are gone and the look-ups over", || {
                questions += server.release();
                proxy.descriptors() <= before + 8
            });
        }
        let left = proxy.stop();
        series.iter().for_each(|series| findings.judge(series));
        findings.judge_end(&left);
        findings.compare_records(series.iter().flat_map(Series::clients), &left.records());
        findings.figure(format!(
            "{LOOKUPS} unanswered look-ups from {from}, {} questions a run",
            questions / RUNS
        ));
        findings
    });
    findings.note()
}
