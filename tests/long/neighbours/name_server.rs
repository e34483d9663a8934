//! A name server (RFC 1035) that answers for some names, and keeps others waiting.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// Names under this one have [`SILENT_ADDRESSES`] addresses each, in [`SILENT_NETWORK`].
pub(super) const SILENT: &str = "silent.test";

pub(super) const SILENT_ADDRESSES: u8 = 16;

/// For benchmarks (RFC 2544): 198.18.0.0/15.
pub(super) const SILENT_NETWORK: &str = "198.18.0.0/15";

/// Names under this one have the address 127.0.0.1.
pub(super) const WORKING: &str = "working.test";

/// Names under this one are not answered before [`NameServer::release`].
pub(super) const UNANSWERED: &str = "unanswered.test";

/// Type A, class IN.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// Seconds: an answer may be kept longer than a check lasts.
const TIME_TO_LIVE: [u8; 4] = [0, 0, 1, 0];

/// A question and who asked it.
type Question = (Vec<u8>, SocketAddr);

/// On port 53 of the namespace that its maker is in.
pub(super) struct NameServer {
    socket: Arc<UdpSocket>,
    /// Questions without an answer so far.
    held: Arc<Mutex<Vec<Question>>>,
}

impl NameServer {
    pub(super) fn start() -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:53").unwrap());
        let held = Arc::<Mutex<Vec<_>>>::default();
        let server = Self { socket: Arc::clone(&socket), held: Arc::clone(&held) };
        std::thread::spawn(move || {
            let mut question = [0; 512];
            loop {
                let (length, asker) = socket.recv_from(&mut question).unwrap();
                let question = &question[..length];
                match answer(question) {
                    Some(reply) => drop(socket.send_to(&reply, asker)),
                    None => held.lock().unwrap().push((question.to_vec(), asker)),
                }
            }
        });
        server
    }

    /// Says that there are no such names to all who wait, some of whom are gone.
    pub(super) fn release(&self) -> usize {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        for (question, asker) in &held {
            let _ = self.socket.send_to(&reply(question, 3, &[]), asker);
        }
        held.len()
    }
}

/// The labels of the name asked for.
fn labels(question: &[u8]) -> Vec<String> {
    let (mut labels, mut rest) = (Vec::new(), &question[12..]);
    while let Some((&length, after)) = rest.split_first()
        && length != 0
    {
        let (label, next) = after.split_at(length.into());
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        rest = next;
    }
    labels
}

/// `None` for a name that is kept waiting.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let labels = labels(question);
    let domain = labels.get(1..).unwrap_or_default().join(".");
    let addresses: Vec<Ipv4Addr> = match &*domain {
        UNANSWERED => return None,
        WORKING => vec![Ipv4Addr::LOCALHOST],
        SILENT => {
            // So that no two names have one in common, as long as there are enough.
            let name: u32 = labels[0].parse().unwrap_or_default();
            let first = u32::from(Ipv4Addr::new(198, 18, 0, 0));
            let offset = name * u32::from(SILENT_ADDRESSES) % (1 << 17);
            (0..u32::from(SILENT_ADDRESSES)).map(|each| (first + offset + each).into()).collect()
        }
        _ => return Some(reply(question, 3, &[])),
    };
    let asked = &question[12 + labels.iter().map(|label| label.len() + 1).sum::<usize>() + 1..];
    Some(reply(question, 0, if asked.starts_with(&ADDRESS) { &addresses } else { &[] }))
}

fn reply(query: &[u8], code: u8, addresses: &[Ipv4Addr]) -> Vec<u8> {
    let name = query[12..].iter().position(|&length| length == 0).unwrap() + 1;
    let question = &query[12..12 + name + 4];
    let count = u8::try_from(addresses.len()).unwrap();
    // A response, recursion desired and available; one question and the answers.
    let counts = [0, 1, 0, count, 0, 0, 0, 0];
    let mut reply = [&query[..2], &[0x81, 0x80 | code], &counts, question].concat();
    for address in addresses {
        // The name of the question, and four bytes.
        reply.extend([&[0xc0, 12], &ADDRESS[..], &TIME_TO_LIVE, &[0, 4]].concat());
        reply.extend(address.octets());
    }
    reply
}
