//! Names that lead nowhere: clients who ask for them, beside one whose names work.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::window::{Probe, measure, tunnelled};
use super::{Findings, QUIET, RUNS, Series, beside, connect_from};
use crate::harness::dns::{Questions, Reply, serve_names};
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

/// Names under this one have [`SILENT_ADDRESSES`] addresses each, in [`SILENT_NETWORK`].
const SILENT: &str = "silent.test";

const SILENT_ADDRESSES: u32 = 16;

/// For benchmarks (RFC 2544): 198.18.0.0/15.
const SILENT_NETWORK: &str = "198.18.0.0/15";

/// Names under this one have the address 127.0.0.1.
const WORKING: &str = "working.test";

/// Names under this one do not exist, which is not said while the name server is held.
const UNANSWERED: &str = "unanswered.test";

/// A namespace with a name server of its own, which is held by whoever locks `held` to write.
fn namespace(held: &Arc<RwLock<()>>) -> (Namespace, Questions) {
    let namespace = Namespace::new();
    namespace.hosts("127.0.0.1 localhost\n");
    namespace.etc("nsswitch.conf", "hosts: files dns\n");
    let held = Arc::clone(held);
    // The system's defaults, written down.
    let questions = serve_names(&namespace, "options timeout:5 attempts:2\n", move |name| {
        let (first, domain) = name.trim_end_matches('.').split_once('.').unwrap_or_default();
        match domain {
            WORKING => Reply::Addresses(vec![Ipv4Addr::LOCALHOST.into()]),
            SILENT => Reply::Addresses(silent_addresses(first.parse().unwrap_or_default())),
            UNANSWERED => {
                drop(held.read());
                Reply::NoSuchName
            }
            _ => Reply::NoSuchName,
        }
    });
    (namespace, questions)
}

/// No two names have one in common, as long as there are enough.
fn silent_addresses(name: u32) -> Vec<IpAddr> {
    let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + name * SILENT_ADDRESSES % (1 << 17);
    (first..first + SILENT_ADDRESSES).map(|address| Ipv4Addr::from(address).into()).collect()
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
    let ((namespace, _), hole) = (namespace(&Arc::default()), Namespace::new());
    namespace.cable(&hole, "hole", 9);
    namespace.ip(&["route", "add", SILENT_NETWORK, "via", "10.9.0.2"]);
    hole.nft(
        "add table ip hole; \
         add chain ip hole in { type filter hook prerouting priority 0; }; \
         add rule ip hole in tcp flags syn drop",
    );
    let findings = namespace.enter(|| {
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
            Series::add_run(&mut series, quiet, loud);
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
    let held = Arc::default();
    let (namespace, questions) = namespace(&held);
    let findings = namespace.enter(|| {
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
        let mut findings = Findings::default();
        for _ in 0..RUNS {
            let quiet = measure(&probes, || std::thread::sleep(QUIET));
            let holding = held.write();
            let loud = beside(load(), || measure(&probes, || std::thread::sleep(LOOKUP_WINDOW)));
            drop(holding);
            Series::add_run(&mut series, quiet, loud);
            findings.settle("the clients are gone and the look-ups over", || {
                proxy.descriptors() <= before + 8
            });
        }
        let left = proxy.stop();
        series.iter().for_each(|series| findings.judge(series));
        findings.judge_end(&left);
        findings.compare_records(series.iter().flat_map(Series::clients), &left.records());
        let questions = questions.lock().unwrap();
        let unanswered =
            questions.iter().filter(|name| name.trim_end_matches('.').ends_with(UNANSWERED));
        findings.figure(format!(
            "{LOOKUPS} unanswered look-ups from {from}, {} questions a run",
            unanswered.count() / RUNS
        ));
        findings
    });
    findings.note()
}
