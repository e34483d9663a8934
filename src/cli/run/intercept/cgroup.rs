//! A cgroup of COMMAND's own, below ours, so that limits set there hold for it too.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::cli::exit::Failure;

/// Where nft looks for cgroups, wherever they are mounted.
const NFT_ROOT: &str = "/sys/fs/cgroup";

/// Its members, one process a line; written to, it takes another one in.
const MEMBERS: &str = "cgroup.procs";

/// How often it is tried to remove a cgroup whose members are on their way out, and how long to wait
/// in between.
const TRIES: (u32, Duration) = (100, Duration::from_millis(10));

/// A cgroup named by us and by when we began, so that others know whether its owner lives.
pub(super) struct Cgroup {
    name: String,
    directory: PathBuf,
    nft_path: String,
    level: usize,
}

impl Cgroup {
    /// Makes it, and removes those of dead owners beside it that have become empty.
    pub(super) fn make() -> Result<Self, Failure> {
        let mounts = read("/proc/self/mountinfo")?;
        let own = read("/proc/self/cgroup")?;
        let (parent, level) = own_directory(&mounts, &own).ok_or_else(|| {
            Failure::new(
                "--intercept needs cgroup version 2, which is not mounted here (ip netns exec \
                 hides it, nsenter --net does not)",
            )
        })?;
        remove_those_of_the_dead(&parent);

        let pid = std::process::id();
        let began = began(pid).ok_or_else(|| Failure::new("cannot read /proc/self/stat"))?;
        let name = format!("conniver-{pid}-{began}");
        let directory = parent.join(&name);
        let nft_path = directory.strip_prefix(NFT_ROOT).ok().and_then(Path::to_str);
        let nft_path = nft_path.filter(|path| !path.contains('"')).ok_or_else(|| {
            let place = directory.display();
            Failure::new(format!(
                "cannot create rules for the cgroup '{place}': nft needs it in {NFT_ROOT}"
            ))
        })?;
        fs::create_dir(&directory).map_err(|error| {
            Failure::new(format!(
                "cannot create the cgroup '{}' for --intercept: {error}; in a container, \
                 /sys/fs/cgroup must be writable",
                directory.display()
            ))
        })?;
        Ok(Self { name, nft_path: nft_path.to_owned(), directory, level: level + 1 })
    }

    /// What it and its rules are called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its path as nft takes it.
    pub(super) fn nft_path(&self) -> &str {
        &self.nft_path
    }

    /// How many steps it is below the root.
    pub(super) fn level(&self) -> usize {
        self.level
    }

    /// Has the command enter it before its program begins.
    #[allow(unsafe_code)]
    pub(super) fn enter_by(&self, command: &mut Command) -> Result<(), Failure> {
        let members = self.directory.join(MEMBERS);
        let members = File::options().write(true).open(&members).map_err(|error| {
            Failure::new(format!("cannot open '{}' for --intercept: {error}", members.display()))
        })?;
        // 0 is whoever writes it.
        let enter = move || (&members).write(b"0").map(drop);
        // SAFETY: between fork and exec only async-signal-safe functions may be called. `enter`
        // calls write(2), which is one, on a descriptor that it owns; neither it nor the error that
        // it may return, a plain number, allocates or takes a lock.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }

    /// Removes it. Whoever is still in it goes back to where we are.
    pub(super) async fn remove(self) {
        let (tries, pause) = TRIES;
        for _ in 0..tries {
            self.release_members();
            match fs::remove_dir(&self.directory) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                Err(_) => tokio::time::sleep(pause).await,
            }
        }
        tracing::error!("cannot remove the cgroup '{}'", self.directory.display());
    }

    fn release_members(&self) {
        let members = fs::read_to_string(self.directory.join(MEMBERS)).unwrap_or_default();
        let Some(parent) = self.directory.parent() else { return };
        for member in members.lines() {
            // It may have ended in the meantime.
            let _ = fs::write(parent.join(MEMBERS), member);
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Where COMMAND never began, nobody is in it.
        let _ = fs::remove_dir(&self.directory);
    }
}

fn read(file: &str) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| Failure::new(format!("cannot read {file}: {error}")))
}

/// The directory of the cgroup of version 2 that we are in, and how many steps it is below the root.
fn own_directory(mountinfo: &str, cgroup: &str) -> Option<(PathBuf, usize)> {
    // proc(5): ID PARENT DEVICE ROOT MOUNT-POINT OPTIONS [FIELD]... - TYPE ...
    let mount = mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup2 ").then_some((root, place))
    });
    let (root, place) = mount?;
    // cgroups(7): 0::PATH is the one of version 2.
    let path = Path::new(cgroup.lines().find_map(|line| line.strip_prefix("0::"))?);
    let below_mount = path.strip_prefix(root).ok()?;
    // Outside of our cgroup namespace it begins with /.. and cannot be reached.
    let is_visible = !path.components().any(|part| part.as_os_str() == "..");
    is_visible.then(|| (Path::new(place).join(below_mount), path.components().count() - 1))
}

/// When a process began, in clock ticks since the system did. `None` when there is none.
fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name is in parentheses and may have anything in it; 22 is the start's field, 3
    // the first after the name.
    stat.rsplit_once(") ")?.1.split(' ').nth(22 - 3)?.parse().ok()
}

fn remove_those_of_the_dead(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_of_the_dead)) {
        match fs::remove_dir(entry.path()) {
            Ok(()) => tracing::info!("removed the cgroup '{}'", entry.path().display()),
            // What a run that was killed left behind is still at work in it.
            Err(error) => tracing::debug!("cannot remove '{}': {error}", entry.path().display()),
        }
    }
}

/// Whether this is the name of a cgroup of ours whose owner has ended.
fn is_of_the_dead(name: &str) -> bool {
    let owner = || {
        let (pid, start) = name.strip_prefix("conniver-")?.split_once('-')?;
        Some((pid.parse().ok()?, start.parse().ok()?))
    };
    owner().is_some_and(|(pid, start): (u32, u64)| began(pid) != Some(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cgroup_is_found_wherever_it_is_mounted() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let unified = "30 23 0:26 / /sys/fs/cgroup rw shared:4 master:1 - cgroup2 cgroup2 rw\n";
        let bound = "30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        for (mounts, cgroup, expected) in [
            (hybrid, "2:cpu:/x\n0::/\n", Some(("/sys/fs/cgroup/unified", 0))),
            (
                unified,
                "0::/user.slice/session-1.scope\n",
                Some(("/sys/fs/cgroup/user.slice/session-1.scope", 2)),
            ),
            (bound, "0::/docker/abc\n", Some(("/sys/fs/cgroup", 2))),
            (unified, "0::/../outside\n", None),
            (unified, "2:cpu:/x\n", None),
            ("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n", "0::/\n", None),
        ] {
            let found = own_directory(mounts, cgroup);
            let expected = expected.map(|(place, level)| (PathBuf::from(place), level));
            // A final slash makes no difference.
            assert_eq!(found, expected, "{cgroup}");
        }
    }

    #[test]
    fn only_our_names_of_ended_processes_are_those_of_the_dead() {
        let pid = std::process::id();
        let start = began(pid).unwrap();
        assert!(!is_of_the_dead(&format!("conniver-{pid}-{start}")));
        assert!(is_of_the_dead(&format!("conniver-{pid}-{}", start + 1)));
        for other in ["conniver", "conniver-1", "conniver-x-1", "system.slice", "conniver-1-2-3"] {
            assert!(!is_of_the_dead(other), "{other}");
        }
    }
}
