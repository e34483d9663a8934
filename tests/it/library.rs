//! The proxy as a library.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use conniver::proxy::{Proxy, Settings};

use crate::harness::peers::exchange;
use crate::harness::program::closed;
use crate::harness::within::lines_within;

#[tokio::test]
async fn a_callback_that_panics_costs_no_record_and_no_other_pair() {
    let calls = Arc::new(AtomicU32::new(0));
    let called = Arc::clone(&calls);
    let panics = move |proxy: Proxy| {
        proxy.on_close(move |_| {
            called.fetch_add(1, Ordering::Relaxed);
            panic!("on purpose, in a callback");
        })
    };
    let (lines, tally) = lines_within(Settings::default(), panics, |address, _| {
        for _ in 0..3 {
            exchange(&mut TcpStream::connect(address).unwrap(), b"x");
        }
    })
    .await;
    assert_eq!((tally.written, tally.unwritten, tally.lost), (3, 0, 0));
    assert_eq!(closed(lines).len(), 3);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}
