//! The client of a plain-HTTP proxy: GET requests in absolute form.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use super::connect;
use crate::origin::ANSWER;

/// Asks for `target` until the time is over, `per_connection` times on each connection; nanoseconds
/// of each request, with the connecting where it took a new connection.
pub(super) fn gets(
    address: SocketAddr,
    target: SocketAddr,
    per_connection: usize,
    until: Instant,
) -> Vec<u32> {
    let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let mut kept: Option<(TcpStream, usize)> = None;
    let mut nanos = Vec::with_capacity(1 << 18);
    loop {
        let began = Instant::now();
        if began >= until {
            return nanos;
        }
        let (mut stream, mut used) = kept.take().unwrap_or_else(|| (connect(address), 0));
        let end = match get(&mut stream, &request) {
            // Some proxies close a connection without having said so in their answer.
            None if used > 0 => {
                (stream, used) = (connect(address), 0);
                get(&mut stream, &request)
            }
            end => end,
        };
        let end = end.expect("an answer on a new connection");
        nanos.push(began.elapsed().as_nanos() as u32);
        used += 1;
        if end == End::Kept && used < per_connection {
            kept = Some((stream, used));
        }
    }
}

/// What follows an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The proxy waits for another request.
    Kept,
    /// The proxy closes the connection.
    Closed,
}

/// One request and its whole answer; `None` if the connection had been closed.
fn get(stream: &mut TcpStream, request: &str) -> Option<End> {
    stream.write_all(request.as_bytes()).ok()?;
    let (mut answer, mut length) = ([0; 4096], 0);
    loop {
        match stream.read(&mut answer[length..]) {
            Ok(bytes @ 1..) => length += bytes,
            _ if length == 0 => return None,
            end => panic!("{end:?} in {}", String::from_utf8_lossy(&answer[..length])),
        }
        let Some(head) = answer[..length].windows(4).position(|end| end == b"\r\n\r\n") else {
            continue;
        };
        if length < head + 4 + ANSWER {
            continue;
        }
        assert_eq!(length, head + 4 + ANSWER, "nothing after the answer");
        let head = String::from_utf8_lossy(&answer[..head + 2]).to_ascii_lowercase();
        assert_eq!(&head[8..12], " 200", "{head}");
        let is_last = head.starts_with("http/1.0") || head.contains("connection: close\r\n");
        return Some(if is_last { End::Closed } else { End::Kept });
    }
}
