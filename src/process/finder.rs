//! A thread that finds the programs of clients. It never delays a connection, and its CPU time is
//! limited.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock, Weak};

use super::ProcessSlot;
use crate::fault::text_of;
use crate::record::Process;
use crate::sockets::{Budget, Search, SockDiag, WantedSocket};

/// Maximum number of pending queries. Further clients are not looked up.
const QUEUE: usize = 1024;

/// At most one part in this many of the time is spent.
const SHARE: u32 = 200;

/// A client to look up. If the slot was dropped, the connection has ended.
#[derive(Debug)]
struct Question {
    /// The client's own address.
    client: SocketAddr,
    /// What its socket is connected to.
    peer: SocketAddr,
    answer: Weak<OnceLock<Arc<Process>>>,
}

/// Finds the programs of clients.
#[derive(Debug)]
pub(crate) struct Finder(SyncSender<Question>);

impl Finder {
    /// Starts the thread, which ends when this is dropped. `None` where the system cannot tell.
    pub(crate) fn start() -> Option<Self> {
        let (questions, asked) = sync_channel(QUEUE);
        let started = SockDiag::open().and_then(|sock_diag| {
            let thread = std::thread::Builder::new().name("find processes".to_owned());
            thread.spawn(move || serve(&asked, &sock_diag))
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

fn serve(asked: &Receiver<Question>, sock_diag: &SockDiag) {
    let mut budget = Budget::new(SHARE);
    let mut search = Search::default();
    while let Ok(first) = asked.recv() {
        // One search serves all pending queries.
        let questions = std::iter::once(first).chain(asked.try_iter());
        let pause = budget.pause_after(|| search.find(sockets_of_clients(sock_diag, questions)));
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
}

/// The clients' sockets, by their inodes.
fn sockets_of_clients(
    sock_diag: &SockDiag,
    questions: impl Iterator<Item = Question>,
) -> HashMap<u32, WantedSocket> {
    let mut wanted = HashMap::new();
    for Question { client, peer, answer } in questions {
        if answer.strong_count() == 0 {
            continue;
        }
        match sock_diag.holder(client, peer) {
            Ok(Some(holder)) => {
                let socket =
                    WantedSocket { what: "the client", address: client, uid: holder.uid, answer };
                wanted.insert(holder.inode, socket);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!("cannot look up the process of {client}: {}", text_of(&error))
            }
        }
    }
    wanted
}
