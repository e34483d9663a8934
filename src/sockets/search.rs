//! Finds the processes that hold sockets, by the descriptors in /proc (proc(5)).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

use super::proc_files::{all, describe, parent_of, sockets_of};
use crate::record::Process;

/// Number of recently found processes, which are checked first.
const RECENT: usize = 8;

/// Maximum length of a chain of parent processes that is followed.
const LONGEST_LINE: usize = 1024;

/// Finds processes, and remembers recent ones: their connections share one description.
#[derive(Default)]
pub(crate) struct Search {
    recent: VecDeque<Arc<Process>>,
}

/// A socket whose process is wanted.
pub(crate) struct WantedSocket {
    /// What has it, for the log: `the client`, `the program at`.
    pub(crate) what: &'static str,
    /// Its own address, for the log.
    pub(crate) address: SocketAddr,
    /// The user that created it.
    pub(crate) uid: u32,
    /// If the slot was dropped, the connection has ended.
    pub(crate) answer: Weak<OnceLock<Arc<Process>>>,
}

impl Search {
    /// Fills the slots of all these sockets, which are given by their inodes. Where no process can
    /// be seen that holds a socket, only the user is told.
    pub(crate) fn find(&mut self, mut wanted: HashMap<u32, WantedSocket>) {
        self.search_processes(&mut wanted);
        for wanted in wanted.into_values() {
            let unknown = Process { uid: Some(wanted.uid), ..Process::default() };
            wanted.found(unknown.into());
        }
    }

    /// Checks processes until all sockets are found: recently found ones first, then the newest,
    /// because programs often connect soon after they start.
    fn search_processes(&mut self, wanted: &mut HashMap<u32, WantedSocket>) {
        let recent: Vec<u32> = self.recent.iter().filter_map(|process| process.pid).collect();
        for &pid in &recent {
            if wanted.is_empty() {
                return;
            }
            self.assign_sockets(pid, wanted);
        }
        let mut others: Vec<u32> = all().filter(|pid| !recent.contains(pid)).collect();
        others.sort_unstable_by(|one, other| other.cmp(one));
        for pid in others {
            // Connections that have ended meanwhile would need a scan of all processes.
            wanted.retain(|_, wanted| wanted.answer.strong_count() > 0);
            if wanted.is_empty() {
                return;
            }
            self.search_process(pid, wanted);
        }
    }

    /// Checks a process. A child shares its parent's sockets, often only until it executes another
    /// program, so the topmost ancestor that holds them is preferred.
    fn search_process(&mut self, pid: u32, wanted: &mut HashMap<u32, WantedSocket>) {
        let shares = |pid: &u32| sockets_of(*pid).any(|inode| wanted.contains_key(&inode));
        // A user can make the chain any length, and processes that come and go may form a cycle.
        let line = std::iter::successors(Some(pid), |&pid| parent_of(pid));
        let line: Vec<u32> = line.take(LONGEST_LINE).take_while(shares).collect();
        for pid in line.into_iter().rev() {
            self.assign_sockets(pid, wanted);
        }
    }

    /// Assigns all wanted sockets that this process holds to it.
    fn assign_sockets(&mut self, pid: u32, wanted: &mut HashMap<u32, WantedSocket>) {
        let mut process: Option<Arc<Process>> = None;
        for inode in sockets_of(pid) {
            if let Some(wanted) = wanted.remove(&inode) {
                let same_user = process.take().filter(|process| process.uid == Some(wanted.uid));
                let found = same_user.unwrap_or_else(|| self.describe(pid, wanted.uid));
                process = Some(Arc::clone(&found));
                wanted.found(found);
            }
        }
        if let Some(process) = process {
            self.recent.retain(|known| known.pid != process.pid);
            self.recent.push_front(process);
            self.recent.truncate(RECENT);
        }
    }

    /// Describes a process, reusing an equal description of a recent one.
    fn describe(&self, pid: u32, uid: u32) -> Arc<Process> {
        let process = Process { uid: Some(uid), ..describe(pid) };
        let known = self.recent.iter().find(|known| ***known == process);
        known.map_or_else(|| process.into(), Arc::clone)
    }
}

impl WantedSocket {
    fn found(self, process: Arc<Process>) {
        let Some(answer) = self.answer.upgrade() else { return };
        let process = answer.get_or_init(|| process);
        let name = process.name.as_deref().unwrap_or("a process that is not visible");
        tracing::debug!("{} {} is {name} of user {}", self.what, self.address, self.uid);
    }
}
