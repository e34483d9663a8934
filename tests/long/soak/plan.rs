//! What the two ends of a pair do, as the client tells the origin in its first bytes.

use crate::harness::noise::Noise;

/// How a pair ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// The client's stream ends, then the upstream's.
    ClientFirst,
    /// The upstream's stream ends, then the client's, which still has much to say.
    UpstreamFirst,
    /// The client has all, and resets.
    ClientResets,
    /// The upstream knows that the client has all, and resets.
    UpstreamResets,
}

const ENDS: [End; 4] =
    [End::ClientFirst, End::UpstreamFirst, End::ClientResets, End::UpstreamResets];

/// What both ends of a pair do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Bytes from the client, those of the plan itself among them.
    pub(super) up: u64,
    /// Bytes to the client.
    pub(super) down: u64,
    pub(super) end: End,
}

/// How long a plan is when it is sent.
pub(super) const LENGTH: usize = 18;

/// What it begins with, unlike any request of HTTP.
const MAGIC: u8 = 0;

impl Plan {
    /// Sizes up to 1 MiB, every power of two as likely as the others. There is always an answer: it
    /// tells a client that may reset after it that everything has arrived.
    pub(super) fn random(noise: &mut Noise) -> Self {
        let mut size = || {
            let most = 2 << (noise.number() % 20);
            noise.number() % most
        };
        let (up, down) = (size().max(LENGTH as u64 + 1), size().max(1));
        let end = noise.pick(&ENDS);
        Self { up, down, end }
    }

    pub(super) fn to_bytes(self) -> [u8; LENGTH] {
        let mut bytes = [MAGIC; LENGTH];
        bytes[1..9].copy_from_slice(&self.up.to_le_bytes());
        bytes[9..17].copy_from_slice(&self.down.to_le_bytes());
        bytes[17] = self.end as u8;
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; LENGTH]) -> Option<Self> {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let end = *ENDS.get(usize::from(bytes[17]))?;
        (bytes[0] == MAGIC).then(|| Self { up: number(1), down: number(9), end })
    }
}
