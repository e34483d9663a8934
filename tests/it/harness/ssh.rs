//! OpenSSH's server and client, with keys of the test's own.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{has_tool, run};

/// Keys of a host and of a user who may log in there as whoever runs the test.
pub(crate) struct SshKeys(TempDir);

impl SshKeys {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        for key in ["host", "user"] {
            let file = directory.path().join(key).display().to_string();
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &file]);
        }
        let host = std::fs::read_to_string(directory.path().join("host.pub")).unwrap();
        std::fs::write(directory.path().join("known"), format!("test {host}")).unwrap();
        Self(directory)
    }

    /// A setting whose value is one of the files.
    fn setting(&self, name: &str, file: &str) -> String {
        format!("-o{name}={}", self.0.path().join(file).display())
    }

    /// A server of one connection.
    pub(crate) fn sshd(&self) -> Command {
        // It must be called by its full path.
        let mut sshd = Command::new(run("sh", &["-c", "command -v sshd"]).trim_end());
        sshd.args(["-i", "-e", "-f", "/dev/null", "-oStrictModes=no", "-oLogLevel=ERROR"]);
        sshd.arg(self.setting("HostKey", "host"));
        sshd.arg(self.setting("AuthorizedKeysFile", "user.pub"));
        sshd
    }

    pub(crate) fn ssh(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(self.client_options());
        ssh
    }

    /// Options of a client that uses these keys alone.
    pub(crate) fn client_options(&self) -> Vec<String> {
        let fixed = ["-F", "none", "-oBatchMode=yes", "-oLogLevel=ERROR", "-oHostKeyAlias=test"];
        let fixed = fixed.into_iter().chain(["-oIdentitiesOnly=yes"]).map(str::to_owned);
        let keys = [("IdentityFile", "user"), ("UserKnownHostsFile", "known")];
        fixed.chain(keys.map(|(name, file)| self.setting(name, file))).collect()
    }

    /// Where the keys are.
    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }
}

/// Whether an SSH server can run here; says so when not.
pub(crate) fn has_sshd(what: &str) -> bool {
    if !has_tool("ssh", what) || !has_tool("sshd", what) {
        return false;
    }
    if nix::unistd::geteuid().is_root() {
        // Where sshd wants it; its service makes it, where that runs.
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    true
}
