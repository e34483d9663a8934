//! A name server of a namespace's own (RFC 1035), which answers as a test says.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::namespace::Namespace;

/// What every question is answered with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// This address, and none of another family.
    Address(Ipv4Addr),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    Failure,
}

/// What a question is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Those of the family that is asked for.
    Addresses(Vec<IpAddr>),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    Failure,
    /// No answer at all.
    Silence,
}

/// Names in the order in which they were asked for, in lower case, with their final dots; each once
/// for every family.
pub(crate) type Questions = Arc<Mutex<Vec<String>>>;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// What an answer over UDP has room for (RFC 1035 section 4.2.1).
const UDP_SIZE: usize = 512;

/// Has the names of the programs that run in `namespace` from here on answered so, so much later.
pub(crate) fn serve(namespace: &Namespace, answer: Answer, delay: Duration) {
    let options = "options timeout:20 attempts:1\n";
    serve_names(namespace, options, move |_| {
        std::thread::sleep(delay);
        match answer {
            Answer::Address(address) => Reply::Addresses(vec![address.into()]),
            Answer::NoSuchName => Reply::NoSuchName,
            Answer::Failure => Reply::Failure,
        }
    });
}

/// Has names answered by `reply`, over UDP, and over TCP what is too long for it. `settings` are
/// further lines of resolv.conf(5).
pub(crate) fn serve_names(
    namespace: &Namespace,
    settings: &str,
    reply: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> Questions {
    namespace.etc("resolv.conf", &format!("nameserver 127.0.0.1\n{settings}"));
    let questions = Questions::default();
    let reply = Arc::new(reply);
    let socket = Arc::new(namespace.enter(|| UdpSocket::bind("127.0.0.1:53").unwrap()));
    let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:53").unwrap());
    {
        let (questions, reply) = (Arc::clone(&questions), Arc::clone(&reply));
        std::thread::spawn(move || {
            let mut query = [0; UDP_SIZE];
            while let Ok((length, asker)) = socket.recv_from(&mut query) {
                let query = query[..length].to_vec();
                questions.lock().unwrap().push(name(&query));
                let (socket, reply) = (Arc::clone(&socket), Arc::clone(&reply));
                // Both families are asked for at once.
                std::thread::spawn(move || {
                    let Some(message) = message(&query, reply(&name(&query))) else { return };
                    // Who asked may be gone.
                    let _ = socket.send_to(&truncated(message), asker);
                });
            }
        });
    }
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let reply = Arc::clone(&reply);
            std::thread::spawn(move || {
                // Each message is preceded by its length. Whoever asks may close in between.
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut query = vec![0; u16::from_be_bytes(length).into()];
                    stream.read_exact(&mut query).unwrap();
                    let Some(message) = message(&query, reply(&name(&query))) else { return };
                    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
                    let _ = stream.write_all(&[&length, &message[..]].concat());
                }
            });
        }
    });
    questions
}

/// Where the question's name ends in a query.
fn name_end(query: &[u8]) -> usize {
    let mut at = 12;
    while query[at] > 0 {
        at += 1 + usize::from(query[at]);
    }
    at + 1
}

fn name(query: &[u8]) -> String {
    let (mut at, end) = (12, name_end(query));
    let mut name = String::new();
    while at + 1 < end {
        let length = usize::from(query[at]);
        name.push_str(&String::from_utf8_lossy(&query[at + 1..][..length]));
        name.push('.');
        at += 1 + length;
    }
    name.to_lowercase()
}

/// The whole answer to a query.
fn message(query: &[u8], reply: Reply) -> Option<Vec<u8>> {
    let end = name_end(query);
    let kind = u16::from_be_bytes([query[end], query[end + 1]]);
    let (code, addresses) = match reply {
        Reply::Addresses(addresses) => (0, addresses),
        Reply::Failure => (2, Vec::new()),
        Reply::NoSuchName => (3, Vec::new()),
        Reply::Silence => return None,
    };
    let mut count = 0u16;
    let mut records = Vec::new();
    for address in addresses {
        let data = match (address, kind) {
            (IpAddr::V4(v4), TYPE_A) => v4.octets().to_vec(),
            (IpAddr::V6(v6), TYPE_AAAA) => v6.octets().to_vec(),
            _ => continue,
        };
        // The name of the question, class IN, a time to live of 0.
        records.extend([0xc0, 12].iter().chain(&kind.to_be_bytes()).chain(&[0, 1, 0, 0, 0, 0]));
        records.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        records.extend(data);
        count += 1;
    }
    // A response, recursion desired and available; one question.
    let [high, low] = count.to_be_bytes();
    let head = [&query[..2], &[0x81, 0x80 | code, 0, 1, high, low, 0, 0, 0, 0]].concat();
    Some([&head, &query[12..end + 4], &records].concat())
}

/// What UDP has room for: a message that is too long says that it is to be asked for over TCP.
fn truncated(mut message: Vec<u8>) -> Vec<u8> {
    if message.len() > UDP_SIZE {
        message.truncate(name_end(&message) + 4);
        message[2] |= 2;
        message[6..8].fill(0);
    }
    message
}
