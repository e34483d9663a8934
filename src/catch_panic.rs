//! Catches panics, so that one ends only the task of one connection.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::fault::Fault;

/// A caught panic. The panic hook has already reported it.
#[derive(Debug)]
pub(crate) struct CaughtPanic;

impl CaughtPanic {
    /// The panic as shown in a record.
    pub(crate) fn fault() -> Fault {
        Fault { code: "PANIC".into(), text: "internal error (panic); see the log".into() }
    }
}

/// Returns the future's output, or the panic that ended it. State that the future has borrowed must
/// be valid at any point. The caller pins the future, because a moved future takes its space twice.
pub(crate) fn catch_panic<F: Future + Unpin>(
    mut future: F,
) -> impl Future<Output = Result<F::Output, CaughtPanic>> {
    poll_fn(move |cx| {
        let mut poll = || std::pin::Pin::new(&mut future).poll(cx);
        match catch_unwind(AssertUnwindSafe(&mut poll)) {
            Ok(poll) => poll.map(Ok),
            Err(_) => std::task::Poll::Ready(Err(CaughtPanic)),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_wherever_it_happens() {
        assert!(catch_panic(pin!(async { 1 })).await.is_ok_and(|output| output == 1));
        let mut steps = 0;
        let panics = async {
            steps += 1;
            tokio::task::yield_now().await;
            steps += 1;
            panic!("on purpose, after it has waited");
        };
        let result: Result<(), CaughtPanic> = catch_panic(pin!(panics)).await;
        assert!(result.is_err());
        assert_eq!(steps, 2);
    }
}
