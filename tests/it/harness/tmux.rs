//! A terminal of a test's own, by tmux: keys go in, and the screen is read back.

use std::process::Command;

use tempfile::TempDir;

use super::program::{reset_ignored_signals, wait_until};
use super::{has_tool, output};

/// A shell in a terminal, ended with the test.
pub(crate) struct Terminal {
    socket: String,
    directory: TempDir,
}

impl Terminal {
    /// Of this size, with these variables in its environment; `None`, said loudly, without tmux.
    pub(crate) fn new(what: &str, size: (u16, u16), environment: &[(&str, &str)]) -> Option<Self> {
        if !has_tool("tmux", what) {
            return None;
        }
        reset_ignored_signals();
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("tmux").display().to_string();
        let terminal = Self { socket, directory };
        let (width, height) = (size.0.to_string(), size.1.to_string());
        let mut start =
            terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &width, "-y", &height]);
        start.current_dir(terminal.directory.path());
        start
            .env("LANG", "C.UTF-8")
            .env_remove("LC_ALL")
            .env_remove("LC_CTYPE")
            .env_remove("NO_COLOR");
        start.env("ENV", "").envs(environment.iter().copied());
        output(start.arg("sh"));
        terminal.wait_until("a prompt", |screen| !screen.trim().is_empty());
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.args(["-S", &self.socket]).args(args);
        tmux
    }

    /// Types a command, and Enter.
    pub(crate) fn run(&self, command: &str) {
        output(&mut self.tmux(&["send-keys", "-l", command]));
        self.press(&["Enter"]);
    }

    /// Presses keys, by tmux's names.
    pub(crate) fn press(&self, keys: &[&str]) {
        output(self.tmux(&["send-keys"]).args(keys));
    }

    pub(crate) fn resize(&self, width: u16, height: u16) {
        let (width, height) = (width.to_string(), height.to_string());
        output(&mut self.tmux(&["resize-window", "-x", &width, "-y", &height]));
    }

    /// What is on the screen.
    pub(crate) fn screen(&self) -> String {
        let output = output(&mut self.tmux(&["capture-pane", "-p"]));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The screen with its colours, as escape sequences.
    pub(crate) fn coloured_screen(&self) -> String {
        let output = output(&mut self.tmux(&["capture-pane", "-p", "-e"]));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A value that tmux knows of the terminal, such as `#{pane_tty}`.
    pub(crate) fn format(&self, format: &str) -> String {
        let output = output(&mut self.tmux(&["display-message", "-p", format]));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Waits until the screen is as it should be; returns it.
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        wait_until(&format!("the screen shows {what}"), || {
            let before = std::mem::replace(&mut screen, self.screen());
            let is_so = is_so(&screen);
            if !is_so && before != screen {
                // A test that fails shows what it saw.
                println!("{screen}");
            }
            is_so
        });
        screen
    }

    pub(crate) fn wait_for(&self, words: &str) -> String {
        self.wait_until(&format!("'{words}'"), |screen| screen.contains(words))
    }

    /// The directory in which the shell runs.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended with its shell.
        let _ = self.tmux(&["kill-server"]).output();
    }
}
