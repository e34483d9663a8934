//! HTTP/1.1 and HTTP/2 over a connection that is there.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_util::task::AbortOnDropHandle;

use super::failure::{Failure, of_http};
use super::stream::Watched;

/// How long we may take to say goodbye (`GOAWAY`, `close_notify`, our FIN); nobody answers it.
const GOODBYE: Duration = Duration::from_millis(200);

/// A connection that takes requests.
pub(super) struct Connection {
    sender: Sender,
    /// What moves its bytes.
    driver: AbortOnDropHandle<hyper::Result<()>>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub(super) async fn open(stream: Watched, is_http2: bool) -> Result<Self, Failure> {
        let stream = TokioIo::new(stream);
        let (sender, driver) = if is_http2 {
            let handshake = http2::handshake(TokioExecutor::new(), stream).await;
            let (sender, driver) = handshake.map_err(|error| of_http(&error))?;
            (Sender::Http2(sender), tokio::spawn(driver))
        } else {
            let handshake = http1::handshake(stream).await;
            let (sender, driver) = handshake.map_err(|error| of_http(&error))?;
            (Sender::Http1(sender), tokio::spawn(driver))
        };
        Ok(Self { sender, driver: AbortOnDropHandle::new(driver) })
    }

    /// Ready with the head of the final response.
    pub(super) async fn send(
        &mut self,
        message: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let response = match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(message).await,
            Sender::Http2(sender) => sender.send_request(message).await,
        };
        match response {
            Ok(response) => Ok(response),
            // The connection broke before it took the request: what drives it knows why.
            Err(error) if error.is_canceled() => {
                let ended = tokio::time::timeout(GOODBYE, &mut self.driver).await;
                match ended {
                    Ok(Ok(Err(cause))) => Err(of_http(&cause)),
                    _ => Err(of_http(&error)),
                }
            }
            Err(error) => Err(of_http(&error)),
        }
    }

    /// Ends it as its protocols ask for.
    pub(super) async fn leave(self) {
        let Self { sender, driver } = self;
        drop(sender);
        let _ = tokio::time::timeout(GOODBYE, driver).await;
    }
}
