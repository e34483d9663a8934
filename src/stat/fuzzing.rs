//! What servers say to `stat`, fuzzed.

use rustls::pki_types::{CertificateDer, UnixTime};

use super::{Url, certificate as certificates, save};

/// A Content-Disposition field: whatever it says, the file's name leads nowhere else.
pub fn content_disposition(bytes: &[u8]) {
    save::check(&String::from_utf8_lossy(bytes));
}

/// A Location field: what is followed is a URL that can be asked for.
pub fn location(bytes: &[u8]) {
    let Ok(base) = "http://user@example.com/a/b?c".parse::<Url>() else { return };
    if let Ok(url) = base.join(&String::from_utf8_lossy(bytes)) {
        assert_eq!(url.to_string().parse::<Url>().map(|url| url.to_string()), Ok(url.to_string()));
        assert!(url.to_string().parse::<hyper::Uri>().is_ok());
    }
}

/// A certificate, before anybody has vouched for it.
pub fn certificate(bytes: &[u8]) {
    let der = CertificateDer::from(bytes);
    let is_read = certificates::read(&der).is_some();
    assert!(is_read || !certificates::signs_itself(&der));
    let valid = certificates::check_validity(&der, UnixTime::now());
    assert!(is_read || valid.is_err());
}
