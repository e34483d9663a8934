//! The cgroup of the filter, and those below it: cgroups(7), version 2.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A cgroup with those below it.
#[derive(Debug)]
pub(super) struct Cgroup {
    directory: PathBuf,
    /// The inodes of their directories, which are the kernel's numbers of cgroups.
    ids: HashSet<u64>,
}

impl Cgroup {
    /// The cgroup at this path: a directory of the mounted hierarchy, or a path within it, as in
    /// `/proc/PID/cgroup`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let root = mounts.lines().find_map(mount_of_version_2).ok_or(io::ErrorKind::NotFound)?;
        let directory = match path.starts_with(&root) {
            true => path.to_owned(),
            false => root.join(path.strip_prefix("/").unwrap_or(path)),
        };
        fs::read_dir(&directory)?;
        let mut cgroup = Self { directory, ids: HashSet::new() };
        cgroup.refresh();
        Ok(cgroup)
    }

    /// Reads again which there are below it. A removed one stays: its sockets may live on.
    pub(super) fn refresh(&mut self) {
        let mut directories = vec![self.directory.clone()];
        while let Some(directory) = directories.pop() {
            if let Ok(metadata) = fs::metadata(&directory) {
                self.ids.insert(metadata.ino());
            }
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            directories.extend(below.map(|entry| entry.path()));
        }
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.ids.contains(&id)
    }
}

/// The mount point, if a line of mountinfo (proc(5)) is that of the cgroup hierarchy of version 2.
fn mount_of_version_2(line: &str) -> Option<PathBuf> {
    let (mount, file_system) = line.split_once(" - ")?;
    let is_it = file_system.split(' ').next() == Some("cgroup2");
    mount.split(' ').nth(4).filter(|_| is_it).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_of_version_2_is_told_from_the_others() {
        let hybrid =
            "42 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";
        let expected = Some(PathBuf::from("/sys/fs/cgroup/unified"));
        assert_eq!(mount_of_version_2(hybrid), expected);
        let other = "33 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu";
        assert_eq!(mount_of_version_2(other), None);
    }
}
