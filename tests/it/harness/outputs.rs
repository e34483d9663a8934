//! Outputs that fail or stand still for a while.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::program::wait_for;
use super::{has_tool, run, skip};

/// A small file system, mounted on a directory for as long as this lives.
pub(crate) struct SmallDisk<'d>(&'d Path);

impl<'d> SmallDisk<'d> {
    /// Whether one can be mounted here; says so when not.
    pub(crate) fn available(what: &str) -> bool {
        if !nix::unistd::geteuid().is_root() {
            skip(what, "it mounts a small file system, which needs root");
            return false;
        }
        has_tool("mount", what)
    }

    pub(crate) fn mount(on: &'d Path, bytes: u32) -> Self {
        let size = format!("size={bytes}");
        run("mount", &["-t", "tmpfs", "-o", &size, "none", on.to_str().unwrap()]);
        Self(on)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l".as_ref(), self.0.as_os_str()]).status();
    }
}

/// A program that copies a pipe to a file, and can be stopped.
pub(crate) struct Reader(Child);

impl Reader {
    pub(crate) fn start(pipe: impl Into<Stdio>, file: &Path) -> Self {
        let file = File::create(file).unwrap();
        Self(Command::new("cat").stdin(pipe).stdout(file).spawn().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    /// Waits for the end of what it reads.
    pub(crate) fn join(mut self) {
        assert!(wait_for(&mut self.0).success());
    }
}
