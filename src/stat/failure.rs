//! Why an exchange failed, for its record.

use std::error::Error;
use std::io;

use rustls::CertificateError;

use crate::failure;
use crate::fault::Fault;
use crate::record::{Outcome, Report};

/// The code of failures that only hyper's error text describes.
const HTTP_FAILED: &str = "HTTP_FAILED";

/// Why an exchange failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) fault: Fault,
}

impl Failure {
    pub(super) fn new(
        outcome: Outcome,
        code: &'static str,
        text: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        Self { outcome, fault: Fault { code: code.into(), text: text.into() } }
    }

    /// Explains a failure by the error of the socket: hyper does not expose connection errors in
    /// HTTP/2.
    pub(super) fn explained_by(self, report: Option<&Report>) -> Self {
        if self.fault.code != HTTP_FAILED {
            return self;
        }
        let Some(report) = report else { return self };
        // The socket reports its error once, to a read or a write.
        let reading = report.rx_err_code.as_ref().zip(report.rx_err.as_ref());
        let writing = report.tx_err_code.as_ref().zip(report.tx_err.as_ref());
        match reading.or(writing) {
            Some((code, text)) => {
                Fault { code: code.clone().into(), text: text.clone().into() }.into()
            }
            None if report.rx_eof_at.is_some() => Self::cut_off(),
            None => self,
        }
    }

    /// The server ended the connection before the response was complete.
    pub(super) fn cut_off() -> Self {
        Self::new(Outcome::Error, "EOF", "the server closed the connection too early")
    }
}

impl From<failure::Failure> for Failure {
    fn from(failure: failure::Failure) -> Self {
        let unknown = || Fault { code: "EIO".into(), text: "it failed".into() };
        Self { outcome: failure.outcome, fault: failure.fault.unwrap_or_else(unknown) }
    }
}

/// An error of a socket or a file.
impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { outcome: Outcome::from_error_code(&fault.code), fault }
    }
}

impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Self {
        Fault::from(error).into()
    }
}

/// An error of the connection, or of TLS on it.
pub(super) fn from_stream_error(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(error) => from_tls_error(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Failure::cut_off(),
        None => Failure::from(error),
    }
}

/// An error of hyper, or of the layers below it.
pub(super) fn from_http_error(error: &hyper::Error) -> Failure {
    let mut reason = None;
    let mut cause = error.source();
    while let Some(next) = cause {
        if let Some(error) = next.downcast_ref() {
            return from_stream_error(error);
        }
        reason = Some(next.to_string());
        cause = next.source();
    }
    if error.is_incomplete_message() {
        return Failure::cut_off();
    }
    if error.is_parse() {
        let text = match reason {
            Some(reason) => format!("the response is not valid HTTP: {reason}"),
            None => "the response is not valid HTTP".to_owned(),
        };
        return Failure::new(Outcome::Protocol, "HTTP_MALFORMED", text);
    }
    let text = reason.unwrap_or_else(|| error.to_string());
    Failure::new(Outcome::Error, HTTP_FAILED, text)
}

fn from_tls_error(error: &rustls::Error) -> Failure {
    use rustls::Error::*;
    match error {
        InvalidCertificate(error) => {
            Failure { outcome: Outcome::Error, fault: from_certificate_error(error) }
        }
        AlertReceived(alert) => {
            let name = alert.as_str().unwrap_or("unknown");
            let text = format!("the server aborted the TLS handshake: alert {name}");
            Failure::new(Outcome::Error, "TLS_ALERT", text)
        }
        InvalidMessage(_) => {
            let text = "the server's answer is not TLS";
            Failure::new(Outcome::Protocol, "TLS_MALFORMED", text)
        }
        PeerIncompatible(_) => {
            let text = "the server supports no TLS version or cipher suite that conniver supports";
            Failure::new(Outcome::Error, "TLS_INCOMPATIBLE", text)
        }
        other => Failure::new(Outcome::Error, "TLS_FAILED", other.to_string()),
    }
}

/// Why a certificate is not trusted.
pub(super) fn from_certificate_error(error: &CertificateError) -> Fault {
    use CertificateError::*;
    let (code, text) = match error {
        Expired | ExpiredContext { .. } => ("CERT_EXPIRED", "the certificate has expired"),
        NotValidYet | NotValidYetContext { .. } => {
            ("CERT_NOT_YET_VALID", "the certificate is not valid yet")
        }
        UnknownIssuer => ("CERT_UNKNOWN_ISSUER", "the certificate's issuer is not trusted"),
        NotValidForName | NotValidForNameContext { .. } => {
            ("CERT_OTHER_NAME", "the certificate is not valid for this name")
        }
        Revoked => ("CERT_REVOKED", "the certificate was revoked"),
        BadSignature => ("CERT_BAD_SIGNATURE", "the certificate's signature is invalid"),
        BadEncoding => ("CERT_MALFORMED", "the certificate is malformed"),
        other => {
            let text = format!("the certificate is invalid: {other}");
            return Fault { code: "CERT_INVALID".into(), text: text.into() };
        }
    };
    Fault { code: code.into(), text: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_or_a_network_that_is_down_cannot_be_reached() {
        for code in ["EHOSTDOWN", "ENETDOWN", "EHOSTUNREACH", "ENETUNREACH"] {
            let fault = Fault { code: code.into(), text: "".into() };
            assert_eq!(Failure::from(fault).outcome, Outcome::Unreachable, "{code}");
        }
    }
}
