//! What can be seen of the conversation and its parties without looking into it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::nanos;

/// What a TLS handshake shows on the wire; nothing is decrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Tls {
    /// The server name that the client asked for (RFC 6066).
    pub server_name: Option<String>,
    /// The application protocol (RFC 7301).
    pub alpn: Option<String>,
    /// The version in use, such as `TLSv1.3`.
    pub version: Option<String>,
    /// The cipher suite in use.
    pub cipher: Option<String>,
    /// From the ClientHello to the first application data, ns.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub handshake: Option<Duration>,
}

/// The first exchange of plain HTTP/1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Http {
    /// The request's method.
    pub method: Option<String>,
    /// The request's host.
    pub host: Option<String>,
    /// The response's status.
    pub status: Option<u16>,
}

/// The local program that was the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Process {
    /// Its process.
    pub pid: u32,
    /// Its user.
    pub uid: Option<u32>,
    /// Its short name.
    pub name: Option<String>,
    /// Its executable.
    pub exe: Option<String>,
    /// Its control group.
    pub cgroup: Option<String>,
}
