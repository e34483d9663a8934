//! The request, and the next request after a redirect.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap,
    HeaderName, HeaderValue, PROXY_AUTHORIZATION, TRANSFER_ENCODING, USER_AGENT,
};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, StatusCode, Uri, http};

use super::failure::Failure;
use super::{Settings, Url};
use crate::record::Outcome;
use crate::secret::Secret;

const OUR_NAME: &str = concat!("conniver/", env!("CARGO_PKG_VERSION"));

/// Header fields that are only for the original server.
const SECRETS: [HeaderName; 4] = [AUTHORIZATION, COOKIE, HOST, PROXY_AUTHORIZATION];

/// Header fields that describe the request's body.
const OF_THE_BODY: [HeaderName; 4] =
    [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING];

/// How a request names its target.
pub(super) enum Form {
    /// HTTP/1 to the server itself (RFC 9112 section 3.2.1).
    Origin,
    /// HTTP/1 to a parent proxy (section 3.2.2), with the value of Proxy-Authorization.
    Absolute(Option<Secret>),
    /// HTTP/2 (RFC 9113 section 8.3.1).
    Http2,
}

/// A header value that is not logged.
fn secret(value: &[u8]) -> Result<HeaderValue, http::Error> {
    let mut value = HeaderValue::from_bytes(value)?;
    value.set_sensitive(true);
    Ok(value)
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) url: Url,
    pub(super) method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let mut value = value.clone();
            // Neither shown by `Debug` nor put into HPACK's table (RFC 7541 section 7.1.3).
            value.set_sensitive(value.is_sensitive() || SECRETS.contains(name));
            headers.append(name, value);
        }
        let mut default = |name: HeaderName, value: &'static str| {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        };
        default(USER_AGENT, OUR_NAME);
        default(ACCEPT, "*/*");
        if settings.body.is_some() {
            default(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let method = match (&settings.method, &settings.body) {
            (Some(method), _) => method.clone(),
            (None, Some(_)) => Method::POST,
            (None, None) => Method::GET,
        };
        let body = settings.body.clone().unwrap_or_default();
        Self { url: settings.url.clone(), method, headers, body }
    }

    /// The value of the Host field.
    pub(super) fn host(&self) -> String {
        match self.headers.get(HOST) {
            Some(host) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
            None => self.url.authority().to_owned(),
        }
    }

    /// The message to send.
    pub(super) fn message(&self, form: Form) -> Result<http::Request<Full<Bytes>>, http::Error> {
        let mut headers = self.headers.clone();
        if let Some(authorization) = self.url.authorization() {
            headers.entry(AUTHORIZATION).or_insert(secret(authorization)?);
        }
        let host = self.host();
        let path = self.url.origin_form();
        // In HTTP/2 the URI has the host.
        match form {
            Form::Http2 => _ = headers.remove(HOST),
            _ => _ = headers.insert(HOST, host.as_str().try_into()?),
        }
        let uri = match form {
            Form::Origin => Uri::try_from(path)?,
            Form::Absolute(authorization) => {
                if let Some(authorization) = authorization {
                    headers.insert(PROXY_AUTHORIZATION, secret(&authorization)?);
                }
                Uri::try_from(self.url.to_string())?
            }
            Form::Http2 => {
                let scheme = if self.url.is_secure() { Scheme::HTTPS } else { Scheme::HTTP };
                Uri::builder()
                    .scheme(scheme)
                    .authority(Authority::try_from(host.as_str())?)
                    .path_and_query(PathAndQuery::try_from(path)?)
                    .build()?
            }
        };
        let mut message = http::Request::new(Full::new(self.body.clone()));
        *message.method_mut() = self.method.clone();
        *message.uri_mut() = uri;
        *message.headers_mut() = headers;
        Ok(message)
    }

    /// The next request, if a response redirects (RFC 9110 section 15.4).
    pub(super) fn redirected(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Option<Self>, Failure> {
        let keeps_method = match status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method != Method::POST,
            StatusCode::SEE_OTHER => self.method == Method::HEAD,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            _ => return Ok(None),
        };
        let Some(location) = headers.get(hyper::header::LOCATION) else { return Ok(None) };
        let location = String::from_utf8_lossy(location.as_bytes());
        let url = self.url.join(&location).map_err(|error| {
            let text = format!("invalid redirect URL: {error}");
            Failure::new(Outcome::Error, "REDIRECT", text)
        })?;
        let mut next = Self { url, ..self.clone() };
        if !next.url.has_origin_of(&self.url) {
            SECRETS.iter().for_each(|name| _ = next.headers.remove(name));
        }
        if !keeps_method {
            next.method = Method::GET;
            next.body = Bytes::new();
            OF_THE_BODY.iter().for_each(|name| _ = next.headers.remove(name));
        }
        Ok(Some(next))
    }
}
