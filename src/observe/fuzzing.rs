//! Fuzzing of observers: the result must not depend on how the bytes are split.

use std::sync::Arc;

use super::{ClientObserver, Observations, UpstreamObserver};
use crate::record::{Http, Tls};
use crate::relay::Observe;

/// A conversation: its bytes in pieces show what they show as a whole. The first three bytes say
/// where the client's part ends, and how long pieces are.
pub fn observe(bytes: &[u8]) {
    let Some((&[high, low, piece], bytes)) = bytes.split_first_chunk() else { return };
    let end = usize::from(u16::from_be_bytes([high, low])).min(bytes.len());
    let (client, upstream) = bytes.split_at(end);
    let whole = seen(client, upstream, usize::MAX);
    assert_eq!(seen(client, upstream, usize::from(piece).max(1)), whole);
    if let Some(host) = whole.1.and_then(|http| http.host) {
        assert!(host.len() <= 261 && host.is_ascii());
    }
}

fn seen(client: &[u8], upstream: &[u8], piece: usize) -> (Option<Tls>, Option<Http>) {
    let observations = Arc::new(Observations::default());
    let mut to_upstream = ClientObserver::new(Arc::clone(&observations));
    let mut to_client = UpstreamObserver::new(Arc::clone(&observations));
    let _ = client.chunks(piece).try_for_each(|bytes| to_upstream.observe(bytes));
    let _ = upstream.chunks(piece).try_for_each(|bytes| to_client.observe(bytes));
    let tls = observations.tls().map(|tls| Tls { handshake: None, ..tls });
    (tls, observations.http())
}
