//! A panic ends what it happened in, and nothing else.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::fault::Fault;

/// A panic that was caught. The program's panic hook has said where it was, and what it said.
#[derive(Debug)]
pub(crate) struct Panicked;

impl Panicked {
    /// As it stands in a record.
    pub(crate) fn fault() -> Fault {
        Fault { code: "PANIC".into(), text: "internal error (panic); see the log".into() }
    }
}

/// The future's output, or the panic that ended it. What the future has borrowed must make sense
/// wherever it was left. It is pinned by the caller: a future that is passed on is kept twice.
pub(crate) fn caught<F: Future + Unpin>(
    mut future: F,
) -> impl Future<Output = Result<F::Output, Panicked>> {
    poll_fn(move |cx| {
        let mut poll = || std::pin::Pin::new(&mut future).poll(cx);
        match catch_unwind(AssertUnwindSafe(&mut poll)) {
            Ok(poll) => poll.map(Ok),
            Err(_) => std::task::Poll::Ready(Err(Panicked)),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_wherever_it_happens() {
        assert!(caught(pin!(async { 1 })).await.is_ok_and(|output| output == 1));
        let mut steps = 0;
        let panics = async {
            steps += 1;
            tokio::task::yield_now().await;
            steps += 1;
            panic!("on purpose, after it has waited");
        };
        let result: Result<(), Panicked> = caught(pin!(panics)).await;
        assert!(result.is_err());
        assert_eq!(steps, 2);
    }
}
