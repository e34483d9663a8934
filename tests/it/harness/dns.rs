//! A name server of a namespace's own (RFC 1035), which takes its time.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
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

/// Type A, class IN.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// Has the names of the programs that run in `namespace` from here on answered so, so much later.
pub(crate) fn serve(namespace: &Namespace, answer: Answer, delay: Duration) {
    namespace.etc("resolv.conf", "nameserver 127.0.0.1\noptions timeout:20 attempts:1\n");
    let socket = Arc::new(namespace.enter(|| UdpSocket::bind("127.0.0.1:53").unwrap()));
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut question) {
            let reply = reply(&question[..length], answer);
            let socket = Arc::clone(&socket);
            // Both families are asked for at once.
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                socket.send_to(&reply, asker).unwrap();
            });
        }
    });
}

fn reply(query: &[u8], answer: Answer) -> Vec<u8> {
    let name = query[12..].iter().position(|&length| length == 0).unwrap() + 1;
    let question = &query[12..12 + name + 4];
    let address = match answer {
        Answer::Address(address) if question.ends_with(&ADDRESS) => Some(address),
        _ => None,
    };
    let code = match answer {
        Answer::Address(_) => 0,
        Answer::Failure => 2,
        Answer::NoSuchName => 3,
    };
    // A response, recursion desired and available; one question, no or one answer.
    let counts = [0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0];
    let mut reply = [&query[..2], &[0x81, 0x80 | code], &counts, question].concat();
    if let Some(address) = address {
        // The name of the question, a time to live of 0, four bytes.
        reply.extend([0xc0, 12].iter().chain(&ADDRESS).chain(&[0, 0, 0, 0, 0, 4]));
        reply.extend(address.octets());
    }
    reply
}
