//! TLS: trusted certificates, our client certificate, and the result of a handshake.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error,
    InconsistentKeys, RootCertStore, SignatureScheme,
};
use zeroize::Zeroizing;

use super::certificate;
use super::failure::from_certificate_error;
use super::{Settings, SetupError};
use crate::fault::Fault;
use crate::observe::{cipher_name, version_name};
use crate::record::stat::{Certificate, Tls};

/// TLS configuration shared by all connections.
#[derive(Debug)]
pub(super) struct Identity {
    provider: Arc<CryptoProvider>,
    /// Trusted certificates that replace the system's.
    named: Option<Vec<CertificateDer<'static>>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    insecure: bool,
    /// Loaded when first needed, because reading the system's store is slow.
    trust: OnceLock<Arc<Trust>>,
}

/// Trusted certificates.
#[derive(Debug)]
struct Trust {
    certificates: Vec<CertificateDer<'static>>,
    /// `None` without any certificate: then no server is trusted.
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

impl Identity {
    pub(super) fn new(settings: &Settings) -> Result<Self, SetupError> {
        let provider = Arc::new(crypto::ring::default_provider());
        let named = settings.cacert.as_deref().map(certificates).transpose()?;
        let client = settings.client_cert.as_deref().map(|path| {
            let key = PrivateKeyDer::from_pem_file(path);
            let key = key.map_err(|error| match error {
                _ if is_encrypted(path) => encrypted(path),
                // The certificate may be present.
                pem::Error::NoItemsFound => unreadable(KEY, path, &error),
                _ => unreadable("a certificate and its private key", path, &error),
            })?;
            let chain = certificates(path)?;
            let fits =
                provider.key_provider.load_private_key(key.clone_key()).map_or(true, |key| {
                    // That a kind of key cannot be compared is no fault of it.
                    !matches!(
                        CertifiedKey::new(chain.clone(), key).keys_match(),
                        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch))
                    )
                });
            match fits {
                true => Ok((chain, key)),
                false => Err(of_another(path)),
            }
        });
        Ok(Self {
            provider,
            named,
            client: client.transpose()?,
            insecure: settings.insecure,
            trust: OnceLock::new(),
        })
    }

    /// Loads the trusted certificates, if they were not loaded before.
    pub(super) fn prepare(&self) {
        self.trust();
    }

    fn trust(&self) -> Arc<Trust> {
        let trust = self.trust.get_or_init(|| {
            let certificates = match &self.named {
                Some(named) => named.clone(),
                None => rustls_native_certs::load_native_certs().certs,
            };
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates.iter().cloned());
            let provider = Arc::clone(&self.provider);
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok();
            Arc::new(Trust { certificates, verifier })
        });
        Arc::clone(trust)
    }

    /// The configuration of one connection, and the verifier that will see its certificates.
    pub(super) fn config(&self, alpn: &[&[u8]]) -> Result<(ClientConfig, Arc<Verifier>), Error> {
        let verifier = Arc::new(Verifier {
            trust: self.trust(),
            insecure: self.insecure,
            algorithms: self.provider.signature_verification_algorithms,
            presented_certificates: Mutex::default(),
        });
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Verifier>::clone(&verifier));
        let mut config = match &self.client {
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key())?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok((config, verifier))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let read: Vec<_> = read.map_err(|error| unreadable(CERTIFICATES, path, &error))?;
    match read.is_empty() {
        true => Err(unreadable(CERTIFICATES, path, &pem::Error::NoItemsFound)),
        false => Ok(read),
    }
}

/// What is missing in a file with only the certificate.
const KEY: &str = "a private key";

/// What is read for verifying servers.
const CERTIFICATES: &str = "certificates";

/// Whether a private key in this file needs a passphrase.
fn is_encrypted(path: &Path) -> bool {
    let text = std::fs::read(path).map(Zeroizing::new).unwrap_or_default();
    memchr::memmem::find(&text, b"ENCRYPTED").is_some()
}

fn encrypted(path: &Path) -> SetupError {
    let path = path.display();
    SetupError(format!(
        "cannot read {KEY} from '{path}': it is encrypted; decrypt it first, as with: \
         openssl pkey -in '{path}' -out NEW"
    ))
}

fn of_another(path: &Path) -> SetupError {
    SetupError(format!(
        "cannot read {KEY} from '{}': it does not belong to the certificate; -E takes a file with both",
        path.display()
    ))
}

fn unreadable(what: &str, path: &Path, error: &pem::Error) -> SetupError {
    use pem::Error::*;
    let reason = match error {
        Io(error) => {
            let option = if what == CERTIFICATES { "--cacert" } else { "-E" };
            let advice = crate::fault::unexpanded_home(path)
                .map_or_else(|| format!("give another file with {option}"), str::to_owned);
            format!("{}; {advice}", crate::fault::text_of(error))
        }
        NoItemsFound if what == KEY => {
            "none found; -E expects a PEM file with the certificate and its private key".to_owned()
        }
        NoItemsFound => "none found; expected PEM, -----BEGIN …-----".to_owned(),
        // The library's error text shows its types.
        _ => "malformed; expected PEM, from -----BEGIN …----- to -----END …-----".to_owned(),
    };
    SetupError(format!("cannot read {what} from '{}': {reason}", path.display()))
}

/// Verifies a server's certificate and remembers it; accepts all certificates if verification is
/// disabled.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Arc<Trust>,
    insecure: bool,
    algorithms: WebPkiSupportedAlgorithms,
    presented_certificates: Mutex<Option<PresentedCertificates>>,
}

#[derive(Debug)]
struct PresentedCertificates {
    certificates: Vec<Certificate>,
    fault: Option<Fault>,
}

impl Verifier {
    /// The TLS part of the record, also after a failed handshake.
    pub(super) fn tls(&self, name: &ServerName<'_>, connection: Option<&ClientConnection>) -> Tls {
        let presented_certificates =
            self.presented_certificates.lock().unwrap_or_else(PoisonError::into_inner).take();
        let fault = presented_certificates
            .as_ref()
            .and_then(|presented_certificates| presented_certificates.fault.clone());
        let suite = connection.and_then(|c| c.negotiated_cipher_suite());
        let group = connection.and_then(|c| c.negotiated_key_exchange_group());
        Tls {
            server_name: match name {
                ServerName::DnsName(name) => Some(name.as_ref().to_owned()),
                _ => None,
            },
            alpn: connection
                .and_then(|c| c.alpn_protocol())
                .map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
            version: connection
                .and_then(|c| c.protocol_version())
                .map(|version| version_name(version.into())),
            cipher: suite.map(|suite| cipher_name(suite.suite().into())),
            key_exchange: group.and_then(|group| group.name().as_str()).map(ToOwned::to_owned),
            verified: presented_certificates
                .as_ref()
                .map(|presented_certificates| presented_certificates.fault.is_none()),
            verify_error: fault.as_ref().map(|fault| fault.text.to_string()),
            verify_error_code: fault.map(|fault| fault.code.to_string()),
            certificates: presented_certificates.map_or_else(Vec::new, |presented_certificates| {
                presented_certificates.certificates
            }),
        }
    }

    fn verify(
        &self,
        presented: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        // Private servers often use self-signed certificates, which WebPKI does not support; here
        // they are trusted if they are among the trusted certificates themselves.
        if self.trust.certificates.iter().any(|trusted| trusted == presented) {
            certificate::check_validity(presented, now)?;
            let parsed = ParsedCertificate::try_from(presented)?;
            return rustls::client::verify_server_name(&parsed, name);
        }
        let verifier = self.trust.verifier.as_ref();
        let verifier = verifier.filter(|_| !certificate::is_self_signed(presented));
        let Some(verifier) = verifier else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        verifier.verify_server_cert(presented, intermediates, name, &[], now).map(drop)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.verify(presented, intermediates, name, now);
        let fault = match &verified {
            Ok(()) => None,
            Err(Error::InvalidCertificate(error)) => Some(from_certificate_error(error)),
            Err(other) => {
                Some(Fault { code: "CERT_INVALID".into(), text: other.to_string().into() })
            }
        };
        let chain = std::iter::once(presented).chain(intermediates);
        let certificates = chain.filter_map(certificate::read).collect();
        *self.presented_certificates.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(PresentedCertificates { certificates, fault });
        match verified {
            Err(error) if !self.insecure => Err(error),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, presented, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, presented, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
