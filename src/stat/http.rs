//! HTTP/1.1 and HTTP/2 over an established connection.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_util::task::AbortOnDropHandle;

use super::failure::{Failure, from_http_error};
use super::stream::FirstByteStream;

/// Maximum time to close a connection in an orderly way (`GOAWAY`, `close_notify`, FIN), which the
/// server does not answer.
const GOODBYE: Duration = Duration::from_millis(200);

/// A connection for requests.
pub(super) struct Connection {
    sender: Sender,
    /// The task that drives the connection.
    driver: AbortOnDropHandle<hyper::Result<()>>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub(super) async fn open(stream: FirstByteStream, is_http2: bool) -> Result<Self, Failure> {
        let stream = TokioIo::new(stream);
        let (sender, driver) = if is_http2 {
            let handshake = http2::handshake(TokioExecutor::new(), stream).await;
            let (sender, driver) = handshake.map_err(|error| from_http_error(&error))?;
            (Sender::Http2(sender), tokio::spawn(driver))
        } else {
            let handshake = http1::handshake(stream).await;
            let (sender, driver) = handshake.map_err(|error| from_http_error(&error))?;
            (Sender::Http1(sender), tokio::spawn(driver))
        };
        Ok(Self { sender, driver: AbortOnDropHandle::new(driver) })
    }

    /// Sends a request; returns the head of the final response.
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
            // The connection broke before the request was sent: the driver has the error.
            Err(error) if error.is_canceled() => {
                let ended = tokio::time::timeout(GOODBYE, &mut self.driver).await;
                match ended {
                    Ok(Ok(Err(cause))) => Err(from_http_error(&cause)),
                    _ => Err(from_http_error(&error)),
                }
            }
            Err(error) => Err(from_http_error(&error)),
        }
    }

    /// Closes the connection in an orderly way.
    pub(super) async fn shut_down(self) {
        let Self { sender, driver } = self;
        drop(sender);
        let _ = tokio::time::timeout(GOODBYE, driver).await;
    }
}
