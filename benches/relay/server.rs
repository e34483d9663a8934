//! A program of tokio's that does what the origin does, for what the wrapper costs a program.

use conniver::Conn;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::origin::{self, BULK, CHUNK, Service};

/// The process: serves until it is ended, on one thread, with streams that are wrapped or bare.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn serve(wrapped: bool) {
    for service in Service::FORWARDED {
        let listener = origin::listener();
        listener.set_nonblocking(true).unwrap();
        tokio::spawn(accept(TcpListener::from_std(listener).unwrap(), service, wrapped));
    }
    std::future::pending().await
}

/// Echoes on every connection until the process ends.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn echo_all(listener: std::net::TcpListener) {
    listener.set_nonblocking(true).unwrap();
    accept(TcpListener::from_std(listener).unwrap(), Service::EchoMany, false).await;
}

async fn accept(listener: TcpListener, service: Service, wrapped: bool) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        if wrapped {
            tokio::spawn(one(service, wrap(stream)));
        } else {
            tokio::spawn(one(service, stream));
        }
    }
}

/// As a program does that looks at every report.
fn wrap(stream: TcpStream) -> Conn<TcpStream> {
    let look = |report| drop(std::hint::black_box(report));
    Conn::builder().on_close(look).wrap(stream)
}

/// One connection; how it ends is the client's business.
async fn one(service: Service, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    match service {
        Service::Source => {
            let chunk = vec![7; CHUNK];
            let mut left = BULK;
            while left > 0 {
                let bytes = left.min(CHUNK as u64) as usize;
                if stream.write_all(&chunk[..bytes]).await.is_err() {
                    return;
                }
                left -= bytes as u64;
            }
        }
        Service::Sink => {
            let mut chunk = vec![0; CHUNK];
            while stream.read(&mut chunk).await.is_ok_and(|bytes| bytes > 0) {}
        }
        Service::Echo | Service::EchoMany => {
            let mut chunk = [0; 4096];
            while let Ok(bytes @ 1..) = stream.read(&mut chunk).await {
                if stream.write_all(&chunk[..bytes]).await.is_err() {
                    return;
                }
            }
        }
        Service::Http => unreachable!("only the origin answers HTTP"),
    }
    let _ = stream.shutdown().await;
}
