//! The report as one HTML page: no network, no files beside it, and a content security policy that allows
//! nothing but its own style sheet and script.
//!
//! [`Pictures`] sees every connection while a [`Builder`](super::Builder) reads, and makes the page of it and of
//! the builder's [`Summary`]:
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! use conniver::report::{Builder, Options, Pictures};
//!
//! let mut options = Options::default();
//! Pictures::keep(&mut options);
//! let (mut builder, mut pictures) = (Builder::new(options), Pictures::default());
//! let file = std::fs::File::open("records.ndjson")?;
//! builder.read_and("records.ndjson", file, |chosen| {
//!     if !chosen.is_socket {
//!         pictures.add(chosen.connection);
//!     }
//! })?;
//! let page = pictures.page(&builder.finish(), &jiff::tz::TimeZone::UTC);
//! std::fs::write("report.html", page)?;
//! # Ok(())
//! # }
//! ```

mod answers;
mod choice;
mod figures;
mod format;
mod list;
mod plots;
mod series;
mod spans;
mod template;
mod waterfall;
mod words;

use jiff::tz::TimeZone;
use memchr::memmem;

use super::build::{Options, Summary};
use super::connection::Connection;
use series::{Distribution, Series};

/// What a page has at its beginning, and no other file.
const GENERATOR: &[u8] = br#"<meta name="generator" content="conniver">"#;

/// What a page shows of all connections, in bounded memory.
#[derive(Debug, Clone, Default)]
pub struct Pictures {
    series: Series,
    resolve: Distribution,
    connect: Distribution,
    handshake: Distribution,
    wait: Distribution,
    rtt: Distribution,
    duration: Distribution,
}

impl Pictures {
    /// Has a builder keep the connections that a page shows one by one.
    pub fn keep(options: &mut Options) {
        choice::keep(options);
    }

    /// Adds a connection.
    pub fn add(&mut self, connection: &Connection) {
        self.series.add(connection);
        let socket = connection.upstream.as_ref();
        self.resolve.add(connection.phases.resolve);
        self.connect.add(connection.phases.connect);
        self.handshake.add(connection.tls.as_ref().and_then(|tls| tls.handshake));
        self.wait.add(connection.longest_wait());
        self.rtt.add(socket.and_then(|socket| socket.undisturbed_rtt()));
        self.duration.add(Some(connection.duration));
    }

    /// The page, with the times of a zone. It is smaller than 2 MB.
    pub fn page(&self, summary: &Summary, zone: &TimeZone) -> String {
        template::page(self, summary, zone)
    }

    /// Whether a file with this beginning, of 4 KiB or more, is such a page.
    pub fn is_page(head: &[u8]) -> bool {
        memmem::find(head, GENERATOR).is_some()
    }
}
