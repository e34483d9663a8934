//! A thread that finds the programs of clients. It never delays a connection, and its CPU time is
//! limited.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::budget::Budget;
use super::search::{Question, Search};
use super::{ProcessSlot, SockDiag};
use crate::fault::text_of;

/// Maximum number of pending queries. Further clients are not looked up.
const QUEUE: usize = 1024;

/// Finds the programs of clients.
#[derive(Debug)]
pub(crate) struct Finder(SyncSender<Question>);

impl Finder {
    /// Starts the thread, which ends when this is dropped. `None` where the system cannot tell.
    pub(crate) fn start() -> Option<Self> {
        let (questions, asked) = sync_channel(QUEUE);
        let started = SockDiag::open().and_then(|sock_diag| {
            let thread = std::thread::Builder::new().name("find processes".to_owned());
            thread.spawn(move || serve(&asked, Search::new(sock_diag)))
        });
        match started {
            Ok(_) => Some(Self(questions)),
            Err(error) => {
                tracing::debug!("cannot look up clients' processes: {}", text_of(&error));
                None
            }
        }
    }

    /// Queues a query for the program whose socket has the address `client` and is connected to
    /// `peer`.
    pub(crate) fn ask(&self, client: SocketAddr, peer: SocketAddr) -> Option<ProcessSlot> {
        let answer = ProcessSlot::default();
        let question = Question { client, peer, answer: Arc::downgrade(&answer) };
        self.0.try_send(question).is_ok().then_some(answer)
    }
}

fn serve(asked: &Receiver<Question>, mut search: Search) {
    let mut budget = Budget::new();
    while let Ok(first) = asked.recv() {
        // One search serves all pending queries.
        let questions = std::iter::once(first).chain(asked.try_iter());
        let pause = budget.pause_after(|| search.answer(questions));
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
}
