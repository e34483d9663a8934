//! Watches a socket for an error while no half waits for it.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use tokio::io::Interest;

use super::leg::Side;

/// Takes a socket's error, once. Allocated when first needed: idle pairs have none.
#[derive(Default)]
pub(super) struct ErrorWatch<'s>(State<'s>);

#[derive(Default)]
enum State<'s> {
    #[default]
    Unneeded,
    Waiting(Pin<Box<dyn Future<Output = ()> + Send + 's>>),
    Taken,
}

impl<'s> ErrorWatch<'s> {
    pub(super) fn poll(&mut self, side: &mut Side<'s>, cx: &mut Context<'_>) {
        if let State::Unneeded = self.0 {
            let stream = side.stream;
            self.0 = State::Waiting(Box::pin(async { _ = stream.ready(Interest::ERROR).await }));
        }
        if let State::Waiting(error) = &mut self.0
            && error.as_mut().poll(cx).is_ready()
        {
            self.0 = State::Taken;
            side.take_error();
        }
    }
}
