//! Detects that a client has gone before relaying begins.

use std::convert::Infallible;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::clock::CompactInstant;
use crate::failure::Failure;
use crate::record::{By, How, Outcome, Phase};
use crate::relay::PeerEnd;

/// Ready when dialling is pointless: the client reset its connection, or the proxy must stop. A
/// client's end of stream is no reason to stop, because it may follow a complete request; `ended`
/// gets the time when it was seen.
pub(super) async fn client_gone(
    stop: &CancellationToken,
    client: &TcpStream,
    ended: &mut Option<CompactInstant>,
) -> Failure {
    let ending = async {
        end_of_stream(client).await;
        *ended = Some(CompactInstant::now());
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        _ = client.ready(Interest::ERROR) => {
            let error = client.take_error().ok().flatten();
            let end = error.as_ref().map(PeerEnd::from_error);
            Failure {
                phase: Phase::Connect,
                outcome: Outcome::Reset,
                by: By::Client,
                how: end.as_ref().map_or(How::Reset, |end| end.how),
                fault: end.and_then(|end| end.fault),
            }
        }
        () = stop.cancelled() => Failure::stopped(Phase::Connect),
        never = ending => match never {},
    }
}

/// Waits for the peer's end of stream without reading it.
#[cfg(any(target_os = "linux", target_os = "android"))]
async fn end_of_stream(stream: &TcpStream) {
    // Except for urgent data, which is delivered inline here, this is only ready at the end of
    // stream.
    _ = stream.ready(Interest::PRIORITY).await;
}

/// Like on Linux, but unread bytes before the end of stream hide it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
async fn end_of_stream(stream: &TcpStream) {
    let ready = stream.ready(Interest::READABLE).await;
    if !ready.is_ok_and(|ready| ready.is_read_closed()) {
        std::future::pending().await
    }
}

/// Whether the peer's end of stream has come, as far as that can be told without reading.
pub(super) async fn has_ended(stream: &TcpStream) -> bool {
    tokio::select! {
        biased;
        () = end_of_stream(stream) => true,
        () = std::future::ready(()) => false,
    }
}
