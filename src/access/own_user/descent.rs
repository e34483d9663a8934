//! The processes that descend from this one, and the sockets that they hold.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Whether a descendant of this process holds the socket with this inode. Only root sees what the
/// processes of other users hold.
pub(super) fn has_descendant_with(inode: u32) -> bool {
    let parents = parents();
    let own = std::process::id();
    let socket = format!("socket:[{inode}]");
    parents.keys().any(|&pid| descends(pid, own, &parents) && holds(pid, Path::new(&socket)))
}

/// Every process and its parent.
fn parents() -> HashMap<u32, u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name is in parentheses and may have anything in it; state and parent follow.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn descends(pid: u32, from: u32, parents: &HashMap<u32, u32>) -> bool {
    // What was read while processes came and went could run in a circle.
    let line = std::iter::successors(parents.get(&pid), |parent| parents.get(parent));
    line.take(parents.len()).any(|&ancestor| ancestor == from)
}

fn holds(pid: u32, socket: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors
        .map(|entry| entry.path())
        .any(|link| fs::read_link(link).is_ok_and(|to| to == socket))
}
