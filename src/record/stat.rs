//! One fetched URL: the line that `conniver stat --json` prints. Keys that are also in a pair's
//! record have the same meaning.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Attempt, Outcome, Report, ResolveSource, Verdict, Warning, time};
use crate::nanos;

/// The result of fetching one URL: the last exchange, and the redirects before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Stat {
    /// Version of the record format.
    pub schema: u32,
    /// When the exchange had ended: RFC 3339, UTC, six fraction digits. The wall clock read anew.
    #[serde(with = "time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: Timestamp,
    /// The machine's name.
    pub host: String,
    /// This run of the program, a UUIDv7.
    pub run_id: Uuid,
    /// Number of the repetition in this run: 1, 2, 3…
    pub seq: u64,
    /// `runId` and `seq`; opaque.
    pub id: String,
    /// The last exchange: the only one, unless redirects were followed.
    #[serde(flatten)]
    pub exchange: Exchange,
    /// The file that the body was written to. Null if it was discarded.
    pub saved_to: Option<String>,
    /// The exchanges before the last one, in order.
    pub redirects: Vec<Exchange>,
}

/// One request and its response, over a new connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Exchange {
    /// The URL, without user name, password and fragment.
    pub url: String,
    /// `host:port` of the URL.
    pub target: String,
    /// Its host in lower case, without brackets and final dot.
    pub target_host: String,
    /// Its port.
    pub target_port: u16,
    /// The parent proxy, `http://host:port` without credentials, or null.
    pub via: Option<String>,
    /// The outcome in one word. `ok` is a complete response, whatever its status.
    pub outcome: Outcome,
    /// When it began, Unix ns.
    pub opened_at: i64,
    /// When its socket was closed, or when it failed, Unix ns.
    pub closed_at: i64,
    /// From its beginning to the body's last byte, or to its failure, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub duration: Duration,
    /// Where the time went.
    pub phases: Phases,
    /// Where the target's addresses came from. Null if it failed before they were needed.
    pub resolve_source: Option<ResolveSource>,
    /// The attempts to connect, in the order of their beginnings; at most 16.
    pub attempts: Vec<Attempt>,
    /// How many addresses the answer had beside those in `attempts`: not tried because another one
    /// connected before, or because 16 were tried. Null when there were no addresses.
    pub attempts_omitted: Option<u64>,
    /// The socket to the target, or to the parent proxy. Null when no attempt succeeded.
    pub upstream: Option<Report>,
    /// How it ended.
    pub ending: Ending,
    /// Who was slow, from looking up to the response's last byte; conniver itself is the client, so
    /// there is no proxy and no path to the client. Null without a connection, and on other systems
    /// than Linux.
    pub verdict: Option<Verdict>,
    /// The TLS connection. Null for `http:`, and if the exchange did not get that far.
    pub tls: Option<Tls>,
    /// Request and response.
    pub http: Http,
    /// Warnings, each code at most once per leg.
    pub warnings: Vec<Warning>,
}

/// Durations of an exchange's phases, one after the other, ns. A phase that began has its duration,
/// whether it succeeded or not; one that never began is null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Phases {
    /// The look-up of the target's name, ns; with a parent proxy, of the names that are looked up
    /// here. Null unless one was made.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub resolve: Option<Duration>,
    /// From the first attempt's beginning to the end of the one that won, or to giving up, ns. With
    /// a parent proxy, to its answer. Null when there was no address to try.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub connect: Option<Duration>,
    /// The TLS handshake, ns. Null for `http:`.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub tls: Option<Duration>,
    /// From the end of the handshake or of connecting to the response's first byte, including
    /// sending the request, ns. In HTTP/2, to the end of its head. Null if the exchange did not get
    /// that far.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub server: Option<Duration>,
    /// From the response's first byte to the body's last byte, ns. Null without a response.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub transfer: Option<Duration>,
}

/// How an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Ending {
    /// The phase that it ended in.
    pub phase: Phase,
    /// What went wrong, in words. Null when nothing did.
    pub error: Option<String>,
    /// Its symbol, such as `ECONNREFUSED`, `EAI_NONAME` or `CERT_EXPIRED`. Null when nothing did.
    pub error_code: Option<String>,
}

/// A phase of an exchange, as its key in `phases` names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Phase {
    /// The target's name was being looked up.
    #[default]
    Resolve,
    /// The target, or the parent proxy, was being dialled.
    Connect,
    /// The TLS handshake was going on.
    Tls,
    /// The request was being sent, and the response waited for.
    Server,
    /// The response was coming.
    Transfer,
}

/// A TLS connection from its client's side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Tls {
    /// The requested server name (RFC 6066). Null where the host is an address.
    pub server_name: Option<String>,
    /// The application protocol that the server chose (RFC 7301). Null when it chose none, or the
    /// handshake failed.
    pub alpn: Option<String>,
    /// The version: `TLSv1.3`, `TLSv1.2`. Null when the handshake failed.
    pub version: Option<String>,
    /// The cipher suite, by its name in IANA's registry. Null when the handshake failed.
    pub cipher: Option<String>,
    /// The group of the key exchange, such as `X25519`. Null when the handshake failed.
    pub key_exchange: Option<String>,
    /// Whether the certificate is trusted for this host. Null if none was presented.
    pub verified: Option<bool>,
    /// Why it is not trusted, in words. Null if it is, or none was presented.
    pub verify_error: Option<String>,
    /// Its symbol, such as `CERT_UNKNOWN_ISSUER`. Null if `verifyError` is.
    pub verify_error_code: Option<String>,
    /// The server's certificate, and the chain that it sent. Unreadable certificates are left out.
    pub certificates: Vec<Certificate>,
}

/// A certificate (RFC 5280).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Certificate {
    /// Subject (RFC 4514).
    pub subject: String,
    /// Issuer (RFC 4514).
    pub issuer: String,
    /// Host names and addresses for which it is valid.
    pub names: Vec<String>,
    /// Beginning of its validity: RFC 3339, UTC.
    pub not_before: String,
    /// End of its validity: RFC 3339, UTC.
    pub not_after: String,
}

/// Request and response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Http {
    /// The request's method.
    pub method: String,
    /// Its Host field, or `:authority` in HTTP/2.
    pub host: String,
    /// The status of the response. Null without one.
    pub status: Option<u16>,
    /// Its version: `HTTP/1.0`, `HTTP/1.1`, `HTTP/2`. Null without a response.
    pub version: Option<String>,
    /// Header fields in the order received, those of one name together; names in lower case.
    pub headers: Vec<Header>,
    /// Bytes of the response's body received, before decompression.
    pub body_bytes: u64,
}

/// A header field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value. Invalid UTF-8 is replaced.
    pub value: String,
}
