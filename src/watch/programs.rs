//! A thread that finds the programs of sockets, by /proc. Its CPU time is limited.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::sockets::{Budget, ProcessSlot, Search, WantedSocket};

/// At most one part in this many of the time is spent. A search reads all descriptors of a program:
/// 20,000 take some 40 ms.
const SHARE: u32 = 10;

/// Maximum number of sockets that wait. Further ones are asked for after the next dump.
const QUEUE: usize = 64 << 10;

/// Finds the programs of sockets. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Programs(SyncSender<(u32, WantedSocket)>);

impl Programs {
    pub(super) fn start() -> io::Result<Self> {
        let (asking, asked) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("find processes".to_owned());
        thread.spawn(move || serve(&asked))?;
        Ok(Self(asking))
    }

    /// Asks for the program that holds the socket with this inode, made by the user `uid`. The slot is
    /// filled later. `None` if too many wait.
    pub(super) fn ask(&self, address: SocketAddr, inode: u32, uid: u32) -> Option<ProcessSlot> {
        let answer = ProcessSlot::default();
        let wanted =
            WantedSocket { what: "the program at", address, uid, answer: Arc::downgrade(&answer) };
        self.0.try_send((inode, wanted)).is_ok().then_some(answer)
    }
}

fn serve(asked: &Receiver<(u32, WantedSocket)>) {
    let mut budget = Budget::new(SHARE);
    let mut search = Search::default();
    while let Ok(first) = asked.recv() {
        // One search serves all sockets that wait.
        let wanted: HashMap<_, _> = std::iter::once(first).chain(asked.try_iter()).collect();
        let pause = budget.pause_after(|| search.find(wanted));
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
}
