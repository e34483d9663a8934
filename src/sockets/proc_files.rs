//! Processes and their sockets in /proc (proc(5)).

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use crate::record::Process;

/// The PIDs of all processes.
pub(crate) fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The parent of a process.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    parent_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

pub(super) fn parent_in(stat: &str) -> Option<u32> {
    // The program's name is in parentheses and may have anything in it; state and parent follow.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// The inodes of the sockets that a process holds; none if it has ended, or belongs to another user
/// and this process is not root.
pub(crate) fn sockets_of(pid: u32) -> impl Iterator<Item = u32> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter_map(|link| socket_inode(link.as_os_str()))
}

/// The inode in `socket:[INODE]`.
pub(super) fn socket_inode(link: &OsStr) -> Option<u32> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Describes a process, without the user.
pub(super) fn describe(pid: u32) -> Process {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let read = |name: &str| {
        let bytes = fs::read(directory.join(name)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    Process {
        pid: Some(pid),
        uid: None,
        name: read("comm").map(|name| name.trim_end_matches('\n').to_owned()),
        exe: fs::read_link(directory.join("exe")).ok().map(|exe| exe.to_string_lossy().into()),
        cgroup: read("cgroup").as_deref().and_then(unified_cgroup),
    }
}

/// The path in the hierarchy of cgroup v2 (cgroups(7)).
pub(super) fn unified_cgroup(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_told_from_other_descriptors() {
        let inode = |link: &str| socket_inode(OsStr::new(link));
        assert_eq!(inode("socket:[4021]"), Some(4021));
        for other in ["pipe:[4021]", "/dev/null", "socket:[x]", "socket:[1", "socket:[99999999999]"]
        {
            assert_eq!(inode(other), None, "{other}");
        }
    }

    #[test]
    fn the_control_group_is_that_of_version_2() {
        let hybrid = "12:cpu,cpuacct:/a\n1:name=systemd:/b\n0::/system.slice/x.service\n";
        assert_eq!(unified_cgroup(hybrid).as_deref(), Some("/system.slice/x.service"));
        assert_eq!(unified_cgroup("1:cpu:/a\n"), None);
    }
}
