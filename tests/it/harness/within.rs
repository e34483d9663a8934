//! A proxy in the test's own process, by the library.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use conniver::ingress::Forward;
use conniver::output::{self, Output, Recorder, Tally};
use conniver::proxy::{Listener, Proxy, Settings, Shutdown};
use conniver::record::Line;
use tokio::sync::oneshot;

use super::peers::echo_server;
use super::program::read_lines;

/// What a proxy in front of an echo server writes while `work` has its address and the file of its
/// records, and how many lines it counted.
pub(crate) async fn lines_within(
    settings: Settings,
    configure: impl FnOnce(Proxy) -> Proxy,
    work: impl FnOnce(SocketAddr, &Path) + Send + 'static,
) -> (Vec<Line>, Tally) {
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let listener = Listener::forward(&Forward { listen, target: echo_server().into() }).unwrap();
    lines_of(listener, settings, configure, work).await
}

/// The same, of a proxy with this listener.
pub(crate) async fn lines_of(
    listener: Listener,
    settings: Settings,
    configure: impl FnOnce(Proxy) -> Proxy,
    work: impl FnOnce(SocketAddr, &Path) + Send + 'static,
) -> (Vec<Line>, Tally) {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("records.ndjson");
    let (recorder, writer) =
        Recorder::start(Output::file(file.clone()), output::QUEUE, || {}).unwrap();
    let address = listener.local_addr();
    let proxy = configure(Proxy::new(settings, recorder, vec![listener]));
    let (done, stop) = oneshot::channel::<()>();
    let running = tokio::spawn(proxy.run(Shutdown::graceful(async { drop(stop.await) })));
    let path = file.clone();
    tokio::task::spawn_blocking(move || work(address, &path)).await.unwrap();
    drop(done);
    running.await.unwrap();
    let tally = tokio::task::spawn_blocking(|| writer.finish()).await.unwrap();
    (read_lines(&file), tally)
}
