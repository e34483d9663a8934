//! What the records must say of streams that both ends have summed up.

use std::net::SocketAddr;

use conniver::record::{Outcome, Record};

use crate::harness::noise::Sum;

/// A pair as its two ends saw it.
pub(crate) struct Seen {
    pub(crate) client: SocketAddr,
    /// As sent and as received.
    pub(crate) to_upstream: (Sum, Sum),
    pub(crate) to_client: (Sum, Sum),
}

impl Seen {
    /// All arrived, and this pair's record among `records` has all the counts.
    pub(crate) fn assert_whole(&self, records: &[Record]) {
        let client = self.client;
        assert_eq!(self.to_upstream.0, self.to_upstream.1, "{client} to upstream");
        assert_eq!(self.to_client.0, self.to_client.1, "upstream to {client}");
        let (up, down) = (self.to_upstream.1.bytes, self.to_client.1.bytes);
        let record = records
            .iter()
            .find(|record| record.client.remote_addr == Some(client))
            .expect("every pair has its record");
        assert_eq!(record.outcome, Some(Outcome::Ok), "{record:?}");
        let upstream = record.upstream.as_ref().unwrap();
        assert_eq!((record.client.rx_bytes, upstream.tx_bytes), (up, up), "{record:?}");
        assert_eq!((upstream.rx_bytes, record.client.tx_bytes), (down, down), "{record:?}");
        let delivery = &record.delivery;
        for (delivered, bytes) in [(&delivery.to_upstream, up), (&delivery.to_client, down)] {
            let delivered = delivered.as_ref().unwrap();
            assert_eq!((delivered.acked, delivered.undelivered), (Some(bytes), Some(0)));
        }
    }
}
