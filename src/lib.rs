//! What the network did to your TCP connections.
//!
//! [`Conn`] wraps a stream, counts what passes, and asks the kernel about the socket when it opens
//! and when it ends; [`TcpInfo::of`] asks about any socket directly. Both speak the same language
//! on Linux, macOS, FreeBSD and Windows, with the system's whole structure beside the common view.
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
//! # Which client
//!
//! | you have | you take | `cargo run --example` |
//! | --- | --- | --- |
//! | tokio's streams | [`Conn`], feature `tokio` | `tokio_client`, `server` |
//! | std's streams | [`Conn`] | `std_client` |
//! | hyper-util's HTTP client | `Connector`, feature `hyper-util` | `hyper_client` |
//! | reqwest, which takes no streams | a `proxy::Proxy` within the program, feature `proxy` | `reqwest_client` |
//! | a socket that others read and write | [`TcpInfo::of`] | `std_client` |
//! | another program | the program `conniver`, and `record::read`, feature `record` | `read_records` |
//!
//! A wrapped stream goes wherever the stream would, under a TLS stream as well: the report is the TCP connection's.
//! A report is JSON by serde (`serde_json::to_string(&report)`), a map by [`Report::to_map`], and one line for
//! people by [`Display`](std::fmt::Display). Where each figure comes from on each system is a table in [`tcp_info`].
//!
//! # Versions
//!
//! The versions follow semver. Beside this interface, without features and with each of them, it covers the
//! program's commands, options and exit statuses and the lines that it writes, whose contract has a number of its own
//! (`record::SCHEMA`): within it keys may be added, and none is renamed, removed or given another meaning. Types that
//! grow with kernels and protocols are `#[non_exhaustive]`. What is for people is not covered: texts of errors and
//! of [`Display`](std::fmt::Display). The Rust version that is needed rises only with a minor version.
//!
//! # Features
//!
//! | feature | what it adds |
//! | --- | --- |
//! | none | TCP information, and the wrapper over [`std::io`] streams; no runtime |
//! | `tokio` | the wrapper over tokio's streams |
//! | `hyper-util` | connectors for hyper-util's HTTP client |
//! | `record` | the proxy's records as typed values, and reading files of them |
//! | `schema` | JSON Schema of these types |
//! | `proxy` | the proxy itself: listeners, dialling, relay, record writer |
//! | `stat` (default) | one HTTP request, its phases and what TCP did |
//! | `metrics` | what the proxy shows of itself to Prometheus |
//! | `testing` | a proxy in a thread, for the tests of programs |
//! | `cli` (default) | the program `conniver` |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "proxy")]
mod catch_panic;
mod clock;
mod conn;
mod counted;
#[cfg(feature = "proxy")]
mod failure;
mod fault;
#[cfg(feature = "proxy")]
mod log_throttle;
mod nanos;
pub mod tcp_info;

#[cfg(feature = "proxy")]
pub mod access;
#[cfg(feature = "proxy")]
mod descriptors;
#[cfg(feature = "proxy")]
mod dial;
#[cfg(feature = "proxy")]
mod foreign;
#[cfg(all(feature = "proxy", any(test, fuzzing)))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "proxy")]
pub mod ingress;
#[cfg(feature = "proxy")]
mod judge;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "proxy")]
mod observe;
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
#[cfg(feature = "proxy")]
mod secret;
#[cfg(feature = "proxy")]
mod socket_options;
#[cfg(feature = "stat")]
pub mod stat;
#[cfg(feature = "proxy")]
mod target;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "hyper-util")]
pub use conn::Connector;
pub use conn::{Builder, Conn, EofInfo, Report};
pub use tcp_info::TcpInfo;

/// A value's JSON object. These types always serialise to one.
fn to_map<T: serde::Serialize>(value: &T) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    }
}
