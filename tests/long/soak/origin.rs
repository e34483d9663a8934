//! The server behind the proxy.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;

use super::counted::{Count, Counted};
use super::plan::{End, LENGTH, Plan};

/// What all connections came to, and what went wrong with one.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) count: Count,
    pub(super) failure: Option<String>,
}

pub(super) async fn start() -> (SocketAddr, Arc<Mutex<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::<Mutex<Seen>>::default();
    let all = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let all = Arc::clone(&all);
            tokio::spawn(async move {
                let mut stream = Counted::new(stream);
                let result = serve(&mut stream).await;
                let count = stream.count;
                let result = match result {
                    Ok(Last::Reset) => stream.reset(),
                    Ok(Last::Close) => Ok(()),
                    Err(error) => Err(error),
                };
                let mut all = all.lock().unwrap();
                all.count.add(count);
                if let Err(error) = result {
                    all.failure = Some(format!("the origin, after {count:?}: {error}"));
                }
            });
        }
    });
    (address, seen)
}

/// What is left to do with a connection.
enum Last {
    Close,
    Reset,
}

async fn serve(stream: &mut Counted) -> io::Result<Last> {
    let mut first = [0; LENGTH];
    let mut known = 0;
    while known < LENGTH {
        let bytes = stream.receive(LENGTH - known).await?;
        first[known..known + bytes.len()].copy_from_slice(bytes);
        match bytes.len() {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => known += more,
        }
    }
    let Some(plan) = Plan::from_bytes(&first) else { return serve_page(stream, &first).await };
    let left = plan.up - LENGTH as u64;
    match plan.end {
        End::ClientFirst => {
            stream.receive_exactly(left).await?;
            stream.receive_to_the_end().await?;
            stream.send_some(plan.down).await?;
            stream.end().await?;
        }
        End::UpstreamFirst => {
            stream.send_some(plan.down).await?;
            stream.end().await?;
            stream.receive_exactly(left).await?;
            stream.receive_to_the_end().await?;
        }
        End::ClientResets => {
            stream.receive_exactly(left).await?;
            stream.send_some(plan.down).await?;
            stream.wait_for_reset().await?;
        }
        End::UpstreamResets => {
            // The last byte says that the client has everything.
            stream.receive_exactly(left - 1).await?;
            stream.send_some(plan.down).await?;
            stream.receive_exactly(1).await?;
            return Ok(Last::Reset);
        }
    }
    Ok(Last::Close)
}

/// Answers `GET /N` by N bytes.
async fn serve_page(stream: &mut Counted, first: &[u8]) -> io::Result<Last> {
    let mut head = first.to_vec();
    if !head.ends_with(b"\r\n\r\n") {
        head.extend(stream.receive_head().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.strip_prefix("GET /").and_then(|rest| rest.split(' ').next());
    let length: u64 = length.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
        io::Error::other(format!("not a request for a number of bytes: {head:?}"))
    })?;
    stream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes()).await?;
    stream.send_some(length).await?;
    stream.end().await?;
    stream.receive_to_the_end().await?;
    Ok(Last::Close)
}
