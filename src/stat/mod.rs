//! One HTTP request: where its time went, and what TCP did meanwhile.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use conniver::stat::{Client, Settings};
//!
//! let client = Client::new(Settings::new("https://example.com/".parse()?))?;
//! let stat = client.fetch(1).await;
//! println!("{:?} {:?}", stat.exchange.http.status, stat.exchange.phases);
//! # Ok(())
//! # }
//! ```

mod certificate;
mod exchange;
mod failure;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod http;
mod request;
mod save;
mod stream;
mod tls;
mod url;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use hyper::Method;
pub use hyper::body::Bytes;
pub use hyper::header::{HeaderName, HeaderValue};
use jiff::Timestamp;
use uuid::Uuid;

use crate::clock;
use crate::dial::{Dialler, Family, Via};
use crate::record::{self, stat::Stat};
use crate::socket_options::Outgoing;
use exchange::{FinishedExchange, Redirects};
use request::Request;
use tls::Identity;
pub use url::{ParseUrlError, Url};

/// Redirects that are followed one after the other.
const MOST_REDIRECTS: usize = 10;

/// Settings of a request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The URL to fetch.
    pub url: Url,
    /// The method. Default: `GET`, or `POST` with a body.
    pub method: Option<Method>,
    /// Additional header fields; they replace default ones of the same name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The request's body. Default: none.
    pub body: Option<Bytes>,
    /// Whether to follow redirects, at most 10. Default: no.
    pub follow: bool,
    /// Whether to skip certificate verification. Default: no.
    pub insecure: bool,
    /// A PEM file of trusted certificates that replace the system's. Default: none.
    pub cacert: Option<PathBuf>,
    /// A PEM file with a client certificate and its private key. Default: none.
    pub client_cert: Option<PathBuf>,
    /// Whether to offer only HTTP/1.1. Default: no.
    pub http1_only: bool,
    /// Address families to dial. Default: both.
    pub family: Family,
    /// Parent proxy for `http` URLs. Default: none.
    pub http_via: Option<Via>,
    /// Parent proxy for `https` URLs. Default: none.
    pub https_via: Option<Via>,
    /// Maximum time for name resolution, all attempts, a parent proxy's answer and the TLS
    /// handshake together. Default: 10 s; zero is no limit.
    pub connect_timeout: Duration,
    /// Maximum total time, including redirects. Default: no limit.
    pub max_time: Option<Duration>,
    /// Where to write the body. Default: it is discarded.
    pub save: Save,
    /// Identifier of this run in every record. Default: a new UUIDv7.
    pub run_id: Uuid,
}

/// Where to write a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Save {
    /// Discard it.
    #[default]
    Nothing,
    /// To this file, which is overwritten.
    To(PathBuf),
    /// To a new file in the current directory, with the name that the server gives, or the last
    /// segment of the URL.
    UnderItsName,
}

impl Settings {
    /// A `GET` of `url`.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            method: None,
            headers: Vec::new(),
            body: None,
            follow: false,
            insecure: false,
            cacert: None,
            client_cert: None,
            http1_only: false,
            family: Family::Any,
            http_via: None,
            https_via: None,
            connect_timeout: Duration::from_secs(10),
            max_time: None,
            save: Save::Nothing,
            run_id: Uuid::now_v7(),
        }
    }
}

/// Why a client cannot be created: a file of certificates cannot be read, or the file for the body
/// cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupError(String);

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SetupError {}

/// Fetches a URL, once or several times.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    identity: Identity,
    host: String,
}

impl Client {
    /// Creates a client and reads its certificates.
    ///
    /// # Errors
    ///
    /// A file of certificates cannot be read or contains none, or the file for the body cannot be
    /// written.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        save::check_writable(&settings.save).map_err(SetupError)?;
        let identity = Identity::new(&settings)?;
        let host = dns_lookup::get_hostname().unwrap_or_default();
        Ok(Self { settings, identity, host })
    }

    /// Fetches the URL over a new connection, with a new look-up. Errors are in the record. `seq`
    /// is the number of the repetition.
    pub async fn fetch(&self, seq: u64) -> Stat {
        let settings = &self.settings;
        let mut request = Request::new(settings);
        let mut redirects = Vec::new();
        // The system's certificates are read before the clock starts.
        self.prepare(&request);
        let deadline = settings.max_time.map(|time| clock::after(Instant::now(), time));
        let FinishedExchange { exchange, saved_to, .. } = loop {
            let about_one = match settings.follow {
                false => Redirects::Shown,
                true if redirects.len() < MOST_REDIRECTS => Redirects::Followed,
                true => Redirects::Exhausted,
            };
            let mut finished = self.exchange(&request, about_one, deadline).await;
            match finished.next.take() {
                Some(next) => request = next,
                None => break finished,
            }
            redirects.push(finished.exchange);
            self.prepare(&request);
        };
        Stat {
            schema: record::SCHEMA,
            time: Timestamp::now(),
            host: self.host.clone(),
            run_id: settings.run_id,
            seq,
            id: format!("{}-{seq}", settings.run_id),
            exchange,
            saved_to: saved_to.map(|path| path.display().to_string()),
            redirects,
        }
    }

    fn prepare(&self, request: &Request) {
        if request.url.is_secure() {
            self.identity.prepare();
        }
    }

    /// Created anew for each exchange, because it caches look-ups.
    fn dialler(&self) -> Dialler {
        Dialler::new(self.settings.family, Outgoing::default())
    }

    /// The parent proxy for a URL.
    fn via(&self, url: &Url) -> Option<&Via> {
        let Settings { http_via, https_via, .. } = &self.settings;
        if url.is_secure() { https_via.as_ref() } else { http_via.as_ref() }
    }
}
