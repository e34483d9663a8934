//! From a client's address to its socket, by sock_diag(7), and from there to the process that holds
//! it, by the descriptors in /proc (proc(5)).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

use super::SockDiag;
use super::proc_files::{all, describe, parent_of, sockets_of};
use crate::fault::text_of;
use crate::record::Process;

/// Processes that were found lately and are looked into first.
const RECENT: usize = 8;

/// Most processes, each the child of the one before, of which the oldest is told.
const LONGEST_LINE: usize = 1024;

/// A client to look for; whose connection has ended need not be.
pub(super) struct Question {
    /// The client's own address.
    pub(super) client: SocketAddr,
    /// What its socket is connected to.
    pub(super) peer: SocketAddr,
    pub(super) answer: Weak<OnceLock<Arc<Process>>>,
}

/// Finds processes, and remembers those whose connections come again and again: all of them share
/// what is known of it.
pub(super) struct Search {
    sock_diag: SockDiag,
    recent: VecDeque<Arc<Process>>,
}

/// A socket whose process is not found yet.
struct Sought {
    client: SocketAddr,
    uid: u32,
    answer: Weak<OnceLock<Arc<Process>>>,
}

impl Search {
    pub(super) fn new(sock_diag: SockDiag) -> Self {
        Self { sock_diag, recent: VecDeque::new() }
    }

    /// Answers as many questions as can be.
    pub(super) fn answer(&mut self, questions: impl Iterator<Item = Question>) {
        let mut sought = HashMap::new();
        for Question { client, peer, answer } in questions {
            if answer.strong_count() == 0 {
                continue;
            }
            match self.sock_diag.holder(client, peer) {
                Ok(Some(holder)) => {
                    sought.insert(holder.inode, Sought { client, uid: holder.uid, answer });
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!("cannot look up the process of {client}: {}", text_of(&error))
                }
            }
        }
        self.look_into_processes(&mut sought);
        for sought in sought.into_values() {
            let unknown = Process { uid: Some(sought.uid), ..Process::default() };
            sought.found(unknown.into());
        }
    }

    /// Looks into processes until all sockets are found: those that were found before, then the
    /// newest, since a program often connects soon after it was started.
    fn look_into_processes(&mut self, sought: &mut HashMap<u32, Sought>) {
        let recent: Vec<u32> = self.recent.iter().filter_map(|process| process.pid).collect();
        for &pid in &recent {
            if sought.is_empty() {
                return;
            }
            self.settle(pid, sought);
        }
        let mut others: Vec<u32> = all().filter(|pid| !recent.contains(pid)).collect();
        others.sort_unstable_by(|one, other| other.cmp(one));
        for pid in others {
            // Whose connection has ended since, it may take all processes to find in none.
            sought.retain(|_, sought| sought.answer.strong_count() > 0);
            if sought.is_empty() {
                return;
            }
            self.look_into(pid, sought);
        }
    }

    /// A child shares its parent's sockets, often just until it becomes another program: of both,
    /// it is the parent that opened them.
    fn look_into(&mut self, pid: u32, sought: &mut HashMap<u32, Sought>) {
        let shares = |pid: &u32| sockets_of(*pid).any(|inode| sought.contains_key(&inode));
        // As long as a user likes, and, read while processes come and go, perhaps a circle.
        let line = std::iter::successors(Some(pid), |&pid| parent_of(pid));
        let line: Vec<u32> = line.take(LONGEST_LINE).take_while(shares).collect();
        for pid in line.into_iter().rev() {
            self.settle(pid, sought);
        }
    }

    /// Takes this process for what all sockets belong to that it holds.
    fn settle(&mut self, pid: u32, sought: &mut HashMap<u32, Sought>) {
        let mut process: Option<Arc<Process>> = None;
        for inode in sockets_of(pid) {
            if let Some(sought) = sought.remove(&inode) {
                let same_user = process.take().filter(|process| process.uid == Some(sought.uid));
                let found = same_user.unwrap_or_else(|| self.describe(pid, sought.uid));
                process = Some(Arc::clone(&found));
                sought.found(found);
            }
        }
        if let Some(process) = process {
            self.recent.retain(|known| known.pid != process.pid);
            self.recent.push_front(process);
            self.recent.truncate(RECENT);
        }
    }

    /// What it is now, which is mostly what it was when it was found before.
    fn describe(&self, pid: u32, uid: u32) -> Arc<Process> {
        let process = Process { uid: Some(uid), ..describe(pid) };
        let known = self.recent.iter().find(|known| ***known == process);
        known.map_or_else(|| process.into(), Arc::clone)
    }
}

impl Sought {
    fn found(self, process: Arc<Process>) {
        let Some(answer) = self.answer.upgrade() else { return };
        let process = answer.get_or_init(|| process);
        let name = process.name.as_deref().unwrap_or("a process that is not visible");
        tracing::debug!("the client {} is {name} of user {}", self.client, self.uid);
    }
}
