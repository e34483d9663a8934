//! A wall clock of the program's own, which a test can set; the machine's is left alone.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::program::BINARY;
use super::{has_tool, run};

/// The clock of a program that is started by [`WallClock::command`].
pub(crate) struct WallClock {
    directory: TempDir,
    /// Stands between the program and the C library.
    library: String,
}

impl WallClock {
    /// One that goes right; `None` where there is no faketime, which is said.
    pub(crate) fn new(what: &str) -> Option<Self> {
        if !has_tool("faketime", what) {
            return None;
        }
        let library = run("faketime", &["-m", "-f", "+0", "printenv", "LD_PRELOAD"]);
        let clock = Self { directory: TempDir::new().unwrap(), library: library.trim().into() };
        clock.set(0);
        Some(clock)
    }

    /// Sets it so many seconds ahead of the machine's, at once; a negative number sets it back.
    pub(crate) fn set(&self, seconds: i64) {
        // Whoever reads it finds the old file or the new one.
        let new = self.directory.path().join("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(&new, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("clock")
    }

    /// The program under test, with this wall clock and the machine's monotonic one.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(BINARY);
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", self.file());
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }
}
