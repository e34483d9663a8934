//! The proxy as a library.

use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use conniver::ingress::Forward;
use conniver::proxy::{Listener, Proxy, Settings};
use conniver::record::{self, Output, Recorder};
use tokio::sync::oneshot;

use crate::harness::peers::{echo_server, exchange};
use crate::harness::program::{closed, read_lines};

#[tokio::test]
async fn a_callback_that_panics_costs_no_record_and_no_other_pair() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("records.ndjson");
    let (recorder, writer) =
        Recorder::start(Output::file(file.clone()), record::QUEUE, || {}).unwrap();
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let listener = Listener::forward(&Forward { listen, target: echo_server().into() }).unwrap();
    let address = listener.address();
    let calls = Arc::new(AtomicU32::new(0));
    let called = Arc::clone(&calls);
    let proxy = Proxy::new(Settings::default(), recorder, vec![listener]).on_close(move |_| {
        called.fetch_add(1, Ordering::Relaxed);
        panic!("on purpose, in a callback");
    });
    let (done, stop) = oneshot::channel::<()>();
    let running = tokio::spawn(proxy.run(async { drop(stop.await) }, std::future::pending()));
    let clients = tokio::task::spawn_blocking(move || {
        for _ in 0..3 {
            exchange(&mut TcpStream::connect(address).unwrap(), b"x");
        }
    });
    clients.await.unwrap();
    drop(done);
    running.await.unwrap();
    let tally = tokio::task::spawn_blocking(|| writer.finish()).await.unwrap();
    assert_eq!((tally.written, tally.unwritten, tally.lost), (3, 0, 0));
    assert_eq!(closed(read_lines(&file)).len(), 3);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}
