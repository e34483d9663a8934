//! Reports what the network did to TCP connections.
//!
//! [`Conn`] wraps a stream, counts its bytes, and reads the kernel's TCP information when the
//! connection opens and when it ends; [`TcpInfo::of`] reads that of any socket. Both give the same
//! keys on Linux, macOS, FreeBSD and Windows, with the system's whole structure beside them.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = TcpListener::bind("127.0.0.1:0")?;
//! # let address = server.local_addr()?;
//! # let echo = std::thread::spawn(move || -> std::io::Result<()> {
//! #     let (mut stream, _) = server.accept()?;
//! #     let mut request = [0; 4];
//! #     stream.read_exact(&mut request)?;
//! #     stream.write_all(b"pong")
//! # });
//! let mut conn = conniver::Conn::builder()
//!     .on_close(|report| println!("{}", serde_json::to_string(&report).unwrap_or_default()))
//!     .wrap(TcpStream::connect(address)?);
//! conn.write_all(b"ping")?;
//! let mut answer = String::new();
//! conn.read_to_string(&mut answer)?;
//!
//! let report = conn.close();
//! assert_eq!((report.tx_bytes, report.rx_bytes), (4, 4));
//! # echo.join().expect("the server ends")?;
//! # Ok(())
//! # }
//! ```
//!
//! # What to use
//!
//! | you have | you use | `cargo run --example` |
//! | --- | --- | --- |
//! | tokio's streams | [`Conn`], feature `tokio` | `tokio_client`, `server` |
//! | std's streams | [`Conn`] | `std_client` |
//! | hyper-util's HTTP client | `Connector`, feature `hyper-util` | `hyper_client` |
//! | reqwest, which takes no streams | a `proxy::Proxy` within the program, feature `proxy` | `reqwest_client` |
//! | a socket that others read and write | [`TcpInfo::of`] | `std_client` |
//! | another program | the program `conniver`, and `record::read`, feature `record` | `read_records` |
//!
//! A wrapped stream can replace the stream anywhere, also under TLS: the report is on the TCP connection. A report
//! serialises to JSON (`serde_json::to_string(&report)`), to a map ([`Report::to_map`]), and to one line of text
//! ([`Display`](std::fmt::Display)). A table in [`tcp_info`] has the source of each figure on each system.
//!
//! # Versions
//!
//! Versions follow semver. They cover this interface, with every combination of features; the program's commands,
//! options and exit statuses; and the lines that it writes. The format of the lines has its own version
//! (`record::SCHEMA`): within one version keys may be added, but not renamed, removed or redefined. Types that grow
//! with kernels and protocols are `#[non_exhaustive]`. The texts of errors and of [`Display`](std::fmt::Display) are
//! not covered. The minimum Rust version rises only with a minor version.
//!
//! # Features
//!
//! | feature | what it adds |
//! | --- | --- |
//! | none | TCP information, and the wrapper over [`std::io`] streams; no runtime |
//! | `tokio` | the wrapper over tokio's streams |
//! | `hyper-util` | connectors for hyper-util's HTTP client |
//! | `record` | the proxy's records as typed values, and reading files of them |
//! | `report` | totals, tables and findings from files of records |
//! | `schema` | JSON Schema of these types |
//! | `proxy` | the proxy itself: listeners, dialling, relay, record writer |
//! | `stat` (default) | one HTTP request: its phases and its TCP connection |
//! | `metrics` | the proxy's metrics for Prometheus |
//! | `watch` | this machine's TCP connections without a proxy, on Linux |
//! | `testing` | a proxy in a thread, for the tests of programs |
//! | `cli` (default) | the program `conniver` |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "proxy")]
mod catch_panic;
mod clock;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod columns;
mod conn;
#[cfg(feature = "proxy")]
mod failure;
mod fault;
#[cfg(feature = "report")]
#[doc(hidden)]
pub mod figures;
#[cfg(feature = "proxy")]
mod log_throttle;
mod nanos;
#[doc(hidden)]
pub mod plural;
pub mod tcp_info;

#[cfg(feature = "proxy")]
pub mod access;
#[cfg(feature = "proxy")]
mod descriptors;
#[cfg(feature = "proxy")]
mod dial;
#[cfg(feature = "proxy")]
pub mod expect;
#[cfg(all(feature = "proxy", any(test, fuzzing)))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "proxy")]
mod hook;
#[cfg(feature = "proxy")]
pub mod ingress;
#[cfg(feature = "proxy")]
mod judge;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "proxy")]
mod observe;
#[cfg(feature = "proxy")]
mod other_protocol;
#[cfg(feature = "proxy")]
pub mod output;
#[cfg(feature = "proxy")]
mod process;
#[cfg(feature = "proxy")]
pub mod proxy;
#[cfg(feature = "record")]
pub mod record;
#[cfg(feature = "proxy")]
mod relay;
#[cfg(feature = "report")]
pub mod report;
#[cfg(feature = "proxy")]
mod secret;
#[cfg(feature = "proxy")]
mod socket_options;
#[cfg(feature = "proxy")]
mod sockets;
#[cfg(feature = "stat")]
pub mod stat;
#[cfg(feature = "proxy")]
mod target;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "watch")]
pub mod watch;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod top;

#[cfg(feature = "hyper-util")]
pub use conn::Connector;
pub use conn::{Builder, Conn, EofInfo, Report};
pub use tcp_info::TcpInfo;

/// Returns `value` as a JSON object, to which reports and infos always serialise.
fn to_map<T: serde::Serialize>(value: &T) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    }
}
