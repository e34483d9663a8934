//! What is visible of a connection and its client without decrypting anything.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::nanos;

/// What a TLS handshake shows on the wire; nothing is decrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Tls {
    /// The requested server name (RFC 6066), in lower case. Null without one. With an encrypted
    /// ClientHello it is the outer name, which may differ.
    pub server_name: Option<String>,
    /// The application protocol that the server chose (RFC 7301). Null when it chose none, and in
    /// TLS 1.3, which encrypts the choice.
    pub alpn: Option<String>,
    /// The application protocols that the client offered, best first; 16 at most.
    pub alpn_offered: Vec<String>,
    /// The version that the server chose: `TLSv1.3`, `TLSv1.2`, …, or its number, `0x7f1c`. Null
    /// without a ServerHello.
    pub version: Option<String>,
    /// The versions that the client offered, best first, 16 at most; only the highest if it does
    /// not list them (RFC 8446 section 4.2.1).
    pub versions_offered: Vec<String>,
    /// The cipher suite that the server chose, by its name in IANA's registry, or its number,
    /// `0x1306`. Null without a ServerHello.
    pub cipher: Option<String>,
    /// Whether the ClientHello contains an encrypted one (RFC 9849) or GREASE for it, which cannot
    /// be distinguished on the path.
    pub encrypted_client_hello: bool,
    /// From the ClientHello's first byte to the beginning of the later of the two Finished
    /// messages, ns, as they passed the proxy. In TLS 1.3 that is the client's first encrypted
    /// record after the ServerHello (which begins with the client's certificate, if it has one);
    /// before 1.3, the later of the records that follow each side's ChangeCipherSpec. Null if the
    /// handshake did not get that far, and with early data, which looks the same.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub handshake: Option<Duration>,
}

/// The first exchange of plain HTTP/1, if the connection begins with one. At most 16 KiB and 100
/// fields of a head are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Http {
    /// The request's method. Never null today.
    pub method: Option<String>,
    /// Its Host field; in mode `http` the host of its URL. Null if there is none, or an invalid
    /// one.
    pub host: Option<String>,
    /// The status of the final response; 101 is one. Null without an answer in HTTP/1.
    pub status: Option<u16>,
}

/// The local program that was the client. Linux tells it while the program has the socket open; if
/// several processes share it, one of them, a parent rather than its child.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Process {
    /// PID of the program, as in the proxy's `/proc`. Null, like all fields below except `uid`, if
    /// no process that the proxy may inspect has the socket: the program of another user while the
    /// proxy is not root, or one that closed the socket during the search.
    pub pid: Option<u32>,
    /// The user that opened the socket. Never null today.
    pub uid: Option<u32>,
    /// Its short name, 15 bytes (`/proc/PID/comm`). Null with `pid`.
    pub name: Option<String>,
    /// Its executable's path (`/proc/PID/exe`). Null with `pid`.
    pub exe: Option<String>,
    /// Its control group's path (`/proc/PID/cgroup`, hierarchy 0). Null with `pid`, and where cgroup
    /// v2 is not mounted.
    pub cgroup: Option<String>,
}
