//! Whether a client has gone, while nothing is relayed yet.

use std::convert::Infallible;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::clock::Moment;
use crate::failure::Failure;
use crate::record::{By, How, Outcome, Phase};
use crate::relay::PeerEnd;

/// Ready when there is nobody left to dial for: the client reset its connection, or the proxy must
/// stop. A client's end of stream is no reason, because it may be all of its request; when that was
/// seen is noted in `ended`.
pub(super) async fn abandoned(
    stop: &CancellationToken,
    client: &TcpStream,
    ended: &mut Option<Moment>,
) -> Failure {
    let ending = async {
        end_of_stream(client).await;
        *ended = Some(Moment::now());
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        _ = client.ready(Interest::ERROR) => {
            let error = client.take_error().ok().flatten();
            let end = error.as_ref().map(PeerEnd::broken);
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

/// Waits for the peer's end of stream, which is not read.
#[cfg(any(target_os = "linux", target_os = "android"))]
async fn end_of_stream(stream: &TcpStream) {
    // Beside urgent data, which nobody has asked to be told of, this is ready for the end alone.
    _ = stream.ready(Interest::PRIORITY).await;
}

/// The same, unless bytes come before it: they are not read either, and hide it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
async fn end_of_stream(stream: &TcpStream) {
    let ready = stream.ready(Interest::READABLE).await;
    if !ready.is_ok_and(|ready| ready.is_read_closed()) {
        std::future::pending().await
    }
}

/// Whether the peer's end of stream has come, as far as it can be seen without reading.
pub(super) async fn has_ended(stream: &TcpStream) -> bool {
    tokio::select! {
        biased;
        () = end_of_stream(stream) => true,
        () = std::future::ready(()) => false,
    }
}
