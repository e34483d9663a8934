//! A thread that looks for the programs of clients: it never holds up a connection and never takes
//! much of a processor.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::budget::Budget;
use super::search::{Question, Search};
use super::{Answer, SockDiag};
use crate::fault::text_of;

/// Most clients that wait to be looked for. What comes on top is not looked for.
const QUEUE: usize = 1024;

/// Who can be asked for the programs of clients.
#[derive(Debug)]
pub(crate) struct Finder(SyncSender<Question>);

impl Finder {
    /// Starts the thread, which ends with this. `None` where the system cannot tell.
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

    /// Asks for the program whose socket has the address `client` and is connected to `peer`.
    pub(crate) fn ask(&self, client: SocketAddr, peer: SocketAddr) -> Option<Answer> {
        let answer = Answer::default();
        let question = Question { client, peer, answer: Arc::downgrade(&answer) };
        self.0.try_send(question).is_ok().then_some(answer)
    }
}

fn serve(asked: &Receiver<Question>, mut search: Search) {
    let mut budget = Budget::new();
    while let Ok(first) = asked.recv() {
        // All that wait are served by one search.
        let questions = std::iter::once(first).chain(asked.try_iter());
        let pause = budget.pause_after(|| search.answer(questions));
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
}
