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
use exchange::{Done, Redirects};
use request::Request;
use tls::Identity;
pub use url::{ParseUrlError, Url};

/// Redirects that are followed one after the other.
const MOST_REDIRECTS: usize = 10;

/// What is asked for, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// What is asked for.
    pub url: Url,
    /// The method. `GET`, or `POST` with a body.
    pub method: Option<Method>,
    /// Header fields in addition to ours, or in their place.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The request's body. None.
    pub body: Option<Bytes>,
    /// Whether redirects are followed, 10 at most. No.
    pub follow: bool,
    /// Whether certificates that are not trusted are taken. No.
    pub insecure: bool,
    /// A PEM file of the certificates that are trusted in place of the machine's own. None.
    pub cacert: Option<PathBuf>,
    /// A PEM file with the client's certificate and its private key. None.
    pub client_cert: Option<PathBuf>,
    /// Whether HTTP/2 is not offered. It is.
    pub http1_only: bool,
    /// Which addresses are dialled. Those of both families.
    pub family: Family,
    /// The parent proxy for `http` URLs. None.
    pub http_via: Option<Via>,
    /// The parent proxy for `https` URLs. None.
    pub https_via: Option<Via>,
    /// Longest time for the look-up, all attempts, a parent proxy's answer and the TLS handshake
    /// together. 10 s.
    pub connect_timeout: Duration,
    /// Longest time for all of it, redirects included. Without a limit.
    pub max_time: Option<Duration>,
    /// Where the body goes. Nowhere.
    pub save: Save,
    /// This run, in every record.
    pub run_id: Uuid,
}

/// Where a body goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Save {
    /// It is thrown away.
    #[default]
    Nothing,
    /// To this file; what was in it is lost.
    To(PathBuf),
    /// To a new file in the present directory, under the name that the server gives it or that the
    /// URL ends with.
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

/// Why nothing can be asked for: a file of certificates that cannot be read, or a file for the body
/// that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupError(String);

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SetupError {}

/// What asks for a URL, once or several times.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    identity: Identity,
    host: String,
}

impl Client {
    /// Reads the certificates that are named.
    ///
    /// # Errors
    ///
    /// One of their files cannot be read, or has nothing to the purpose; or the file for the body
    /// cannot be written.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        save::check_writable(&settings.save).map_err(SetupError)?;
        let identity = Identity::new(&settings)?;
        let host = dns_lookup::get_hostname().unwrap_or_default();
        Ok(Self { settings, identity, host })
    }

    /// Asks for the URL, over a new connection and with a new look-up. What goes wrong is in the
    /// record. `seq` is the number of the repetition.
    pub async fn fetch(&self, seq: u64) -> Stat {
        let settings = &self.settings;
        let mut request = Request::new(settings);
        let mut redirects = Vec::new();
        // The machine's certificates are read before the clock runs.
        self.prepare(&request);
        let deadline = settings.max_time.map(|time| clock::after(Instant::now(), time));
        let Done { exchange, saved_to, .. } = loop {
            let about_one = match settings.follow {
                false => Redirects::Shown,
                true if redirects.len() < MOST_REDIRECTS => Redirects::Followed,
                true => Redirects::Exhausted,
            };
            let mut done = self.exchange(&request, about_one, deadline).await;
            match done.next.take() {
                Some(next) => request = next,
                None => break done,
            }
            redirects.push(done.exchange);
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

    /// A new one each time: it remembers what it looked up.
    fn dialler(&self) -> Dialler {
        Dialler::new(self.settings.family, Outgoing::default())
    }

    /// The parent proxy for this URL.
    fn via(&self, url: &Url) -> Option<&Via> {
        let Settings { http_via, https_via, .. } = &self.settings;
        if url.is_secure() { https_via.as_ref() } else { http_via.as_ref() }
    }
}
