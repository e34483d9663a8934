//! Certificates, and servers of TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::clients::Server;
use super::{output, run};

/// Makes a key and a certificate for `name`, a server's own, which signed itself; their files.
pub(crate) fn certificate(directory: &Path, name: &str) -> (String, String) {
    signed_by_itself(directory, name, "CA:FALSE")
}

/// The same of an authority, as `openssl req -x509` makes them unless told otherwise.
pub(crate) fn authority(directory: &Path, name: &str) -> (String, String) {
    signed_by_itself(directory, name, "critical,CA:TRUE")
}

fn signed_by_itself(directory: &Path, name: &str, constraints: &str) -> (String, String) {
    let path = |file: &str| directory.join(file).display().to_string();
    let (key, certificate) = (path("key"), path("certificate"));
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    let (subject, names) = (format!("/CN={name}"), format!("subjectAltName=DNS:{name}"));
    let constraints = format!("basicConstraints={constraints}");
    let own = ["-subj", &subject, "-addext", &names, "-addext", &constraints];
    let files = ["-keyout", &key, "-out", &certificate];
    run("openssl", &[&make.split_whitespace().collect::<Vec<_>>()[..], &own, &files].concat());
    (key, certificate)
}

/// An authority of a test's own, which signs for as long as it is told to.
pub(crate) struct Authority {
    directory: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        authority(directory.path(), "authority.test");
        let settings = "[ca]\ndefault_ca = a\n[a]\ndatabase = index\nrand_serial = yes\n\
                        new_certs_dir = .\ndefault_md = sha256\npolicy = p\ncopy_extensions = copy\n\
                        unique_subject = no\n[p]\ncommonName = supplied\n";
        std::fs::write(directory.path().join("settings"), settings).unwrap();
        std::fs::write(directory.path().join("index"), "").unwrap();
        Self { directory }
    }

    fn path(&self, file: &str) -> String {
        self.directory.path().join(file).display().to_string()
    }

    /// The file with its certificate.
    pub(crate) fn certificate(&self) -> String {
        self.path("certificate")
    }

    /// A key and a certificate for `name`, valid in these years; their files.
    pub(crate) fn sign(&self, name: &str, years: std::ops::Range<u32>) -> (String, String) {
        let path = |what: &str| self.path(&format!("{name}-{}-{what}", years.start));
        let (key, request, certificate) = (path("key"), path("request"), path("certificate"));
        let make = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        let (subject, names) = (format!("/CN={name}"), format!("subjectAltName=DNS:{name}"));
        let rest = ["-subj", &subject, "-addext", &names, "-keyout", &key, "-out", &request];
        run("openssl", &[&make.split_whitespace().collect::<Vec<_>>()[..], &rest].concat());
        let [from, to] = [years.start, years.end].map(|year| format!("{year}0101000000Z"));
        let mut sign = Command::new("openssl");
        sign.args(["ca", "-batch", "-notext", "-config", "settings", "-keyfile", "key"]);
        sign.args(["-cert", "certificate", "-startdate", &from, "-enddate", &to]);
        sign.args(["-in", &request, "-out", &certificate]);
        output(sign.current_dir(self.directory.path()));
        (key, certificate)
    }
}

/// `openssl s_server -www`.
pub(crate) struct TlsServer {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: String,
    _directory: Option<TempDir>,
    _process: Server,
}

impl TlsServer {
    /// As localhost.
    pub(crate) fn start() -> Self {
        Self::start_as("localhost", &[])
    }

    /// As `name`, with a certificate that signed itself, and more arguments.
    pub(crate) fn start_as(name: &str, args: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = certificate(directory.path(), name);
        let mut server = Self::start_with(files, args);
        server._directory = Some(directory);
        server
    }

    /// With this key and certificate.
    pub(crate) fn start_with((key, certificate): (String, String), args: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-www", "-accept", "127.0.0.1:0"]);
        command.args(["-key", &key, "-cert", &certificate]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Server::start(&mut command);
        let mut said = std::io::BufReader::new(process.0.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0);
            if let Some(address) = line.trim().strip_prefix("ACCEPT ") {
                break address.parse().unwrap();
            }
        };
        // It must not end because nobody reads what it says.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { address, certificate, _directory: None, _process: process }
    }
}
