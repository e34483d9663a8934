//! Servers of TLS that think before they answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls::{StreamOwned, SupportedProtocolVersion};
use tempfile::TempDir;

use super::super::clients::Server;
use super::super::namespace::Namespace;
use super::super::tls::certificate;
use super::web::{ANSWER, Backend, Nginx, Thoughts, think};

/// Whose server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Rustls,
    OpenSsl,
    Nginx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Tls12,
    Tls13,
}

/// A server of one of them in a namespace.
pub(super) struct ThinkingServer {
    pub(super) address: SocketAddr,
    pub(super) certificate: String,
    pub(super) thoughts: Thoughts,
    _files: TempDir,
    _process: Option<Server>,
    _nginx: Option<Nginx>,
}

impl ThinkingServer {
    /// It answers after so many ms, and closes a connection that is silent for so long.
    pub(super) fn start(
        namespace: &Namespace,
        kind: Kind,
        version: Version,
        millis: u64,
        closes_after: Duration,
    ) -> Self {
        let files = TempDir::new().unwrap();
        let (key, certificate) = certificate(files.path(), "localhost");
        let mut server = Self {
            address: "127.0.0.1:443".parse().unwrap(),
            certificate,
            thoughts: Thoughts::default(),
            _files: files,
            _process: None,
            _nginx: None,
        };
        let pair = (key.as_str(), server.certificate.as_str());
        match kind {
            Kind::Rustls => {
                let config = server_config(pair, version);
                let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
                server.address = listener.local_addr().unwrap();
                let thoughts = Arc::clone(&server.thoughts);
                thread::spawn(move || {
                    for stream in listener.incoming().flatten() {
                        stream.set_read_timeout(Some(closes_after)).unwrap();
                        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                        let thoughts = Arc::clone(&thoughts);
                        thread::spawn(move || {
                            serve(StreamOwned::new(session, stream), millis, &thoughts);
                        });
                    }
                });
            }
            Kind::OpenSsl => {
                let (address, process) =
                    s_server(namespace, pair, version, millis, &server.thoughts);
                server.address = address;
                server._process = Some(process);
            }
            Kind::Nginx => {
                let backend = Backend::start(namespace);
                let protocol = match version {
                    Version::Tls12 => "TLSv1.2",
                    Version::Tls13 => "TLSv1.3",
                };
                let settings = format!(
                    "ssl_protocols {protocol};\nkeepalive_timeout {}s;\n\
                     rewrite ^ /{millis} break;\n",
                    closes_after.as_secs()
                );
                server._nginx = Some(Nginx::start(namespace, pair, backend.address, "", &settings));
                server.thoughts = backend.thoughts;
            }
        }
        server
    }
}

fn versions(version: Version) -> [&'static SupportedProtocolVersion; 1] {
    match version {
        Version::Tls12 => [&rustls::version::TLS12],
        Version::Tls13 => [&rustls::version::TLS13],
    }
}

fn server_config((key, certificate): (&str, &str), version: Version) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(version))
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(certificate).unwrap()],
            PrivateKeyDer::from_pem_file(key).unwrap(),
        )
        .unwrap();
    config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    Arc::new(config)
}

/// Answers requests until nothing comes for as long as the socket waits, and closes first then.
fn serve(mut stream: StreamOwned<ServerConnection, TcpStream>, millis: u64, thoughts: &Thoughts) {
    let mut heard = Vec::new();
    let mut room = [0; 4096];
    loop {
        match stream.read(&mut room) {
            Ok(0) => break,
            Ok(bytes) => heard.extend(&room[..bytes]),
            // Too long a silence, or a client that is gone.
            Err(_) => break,
        }
        if heard.ends_with(b"\r\n\r\n") {
            heard.clear();
            think(millis, Instant::now(), thoughts);
            stream.write_all(ANSWER.as_bytes()).unwrap();
        }
    }
    stream.conn.send_close_notify();
    // The client may have closed before.
    let _ = stream.flush();
    let _ = stream.sock.shutdown(std::net::Shutdown::Write);
    let _ = stream.sock.read(&mut room);
}

/// `openssl s_server`, which sends what it reads from its standard input.
fn s_server(
    namespace: &Namespace,
    (key, certificate): (&str, &str),
    version: Version,
    millis: u64,
    thoughts: &Thoughts,
) -> (SocketAddr, Server) {
    let mut command: Command = namespace.command("openssl");
    command.args(["s_server", "-accept", "127.0.0.1:0", "-key", key, "-cert", certificate]);
    command.arg(match version {
        Version::Tls12 => "-tls1_2",
        Version::Tls13 => "-tls1_3",
    });
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Server::start(&mut command);
    let mut says = process.0.stdin.take().unwrap();
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let listens = lines.find_map(|line| Some(line.trim().strip_prefix("ACCEPT ")?.to_owned()));
    let thoughts = Arc::clone(thoughts);
    thread::spawn(move || {
        let mut asks = false;
        // What it says of the session comes before what the client says.
        for line in lines {
            asks |= line.starts_with("GET ");
            if asks && line.trim().is_empty() {
                asks = false;
                think(millis, Instant::now(), &thoughts);
                if says.write_all(ANSWER.as_bytes()).and_then(|()| says.flush()).is_err() {
                    return;
                }
            }
        }
    });
    (listens.unwrap().parse().unwrap(), process)
}

/// A client of TLS on this connection.
pub(super) fn connect(
    stream: TcpStream,
    certificate: &str,
    alpn: &[&[u8]],
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}
