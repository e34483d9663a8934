//! Fuzzing of what servers send to `stat`.

use rustls::pki_types::{CertificateDer, UnixTime};

use super::{Url, certificate as certificates, save};

/// A Content-Disposition field: the file name must not leave the directory.
pub fn content_disposition(bytes: &[u8]) {
    save::check(&String::from_utf8_lossy(bytes));
}

/// A Location field: a redirect must lead to a valid URL.
pub fn location(bytes: &[u8]) {
    let Ok(base) = "http://user@example.com/a/b?c".parse::<Url>() else { return };
    if let Ok(url) = base.join(&String::from_utf8_lossy(bytes)) {
        assert_eq!(url.to_string().parse::<Url>().map(|url| url.to_string()), Ok(url.to_string()));
        assert!(url.to_string().parse::<hyper::Uri>().is_ok());
    }
}

/// A certificate that was not verified.
pub fn certificate(bytes: &[u8]) {
    let der = CertificateDer::from(bytes);
    let is_read = certificates::read(&der).is_some();
    assert!(is_read || !certificates::is_self_signed(&der));
    let valid = certificates::check_validity(&der, UnixTime::now());
    assert!(is_read || valid.is_err());
}
