//! A TLS server.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::run;

/// `openssl s_server` with a certificate of its own for `site.test`, serving pages.
pub(crate) struct TlsServer {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) directory: TempDir,
}

impl TlsServer {
    pub(crate) fn start(args: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (key, certificate) = (path("key"), path("certificate"));
        run(
            "openssl",
            &[
                &["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=site.test"][..],
                &["-addext", "subjectAltName=DNS:site.test", "-days", "2"],
                // A server's own, or not every client takes it.
                &["-addext", "basicConstraints=CA:FALSE"],
                &["-keyout", &key, "-out", &certificate],
            ]
            .concat(),
        );
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-www", "-key", &key])
            .args(["-cert", &certificate])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It says "ACCEPT 127.0.0.1:PORT".
        let mut said = String::new();
        let mut stdout = child.stdout.take().unwrap();
        let address = loop {
            let mut byte = [0];
            assert_eq!(stdout.read(&mut byte).unwrap(), 1, "it said: {said}");
            said.push(byte[0].into());
            let line = said.strip_suffix('\n').and_then(|said| said.lines().last());
            if let Some(address) = line.and_then(|line| line.strip_prefix("ACCEPT ")) {
                break address.parse().unwrap();
            }
        };
        // It must not end because nobody reads what it says.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Self { child, address, directory }
    }

    pub(crate) fn certificate(&self) -> String {
        self.directory.path().join("certificate").display().to_string()
    }

    /// A page by curl, whose last arguments say by which way.
    pub(crate) fn fetch(&self, port: u16, args: &[&str]) {
        let url = format!("https://site.test:{port}/");
        let certificate = self.certificate();
        let common = ["-sS", "-o", "/dev/null", "--noproxy", "", "--cacert", &certificate];
        run("curl", &[&common, args, &[&url]].concat());
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
