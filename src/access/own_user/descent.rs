//! The processes that descend from this one, and the sockets that they hold.

use std::collections::HashMap;

use crate::process;

/// Whether a descendant of this process holds the socket with this inode. Only root sees what the
/// processes of other users hold.
pub(super) fn has_descendant_with(inode: u32) -> bool {
    let parents = parents();
    let own = std::process::id();
    let holds = |pid| process::sockets_of(pid).any(|socket| socket == inode);
    parents.keys().any(|&pid| descends(pid, own, &parents) && holds(pid))
}

/// Every process and its parent.
fn parents() -> HashMap<u32, u32> {
    process::all().filter_map(|pid| Some((pid, process::parent_of(pid)?))).collect()
}

fn descends(pid: u32, from: u32, parents: &HashMap<u32, u32>) -> bool {
    // What was read while processes came and went could run in a circle.
    let line = std::iter::successors(parents.get(&pid), |parent| parents.get(parent));
    line.take(parents.len()).any(|&ancestor| ancestor == from)
}
