//! From two PEM files to the TLS side of the doors.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ServerConfig};
use x509_parser::parse_x509_certificate;

/// The protocols offered in the handshake, the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a certificate and its key cannot be served. Each names the file to mend.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file could not be opened or read.
    #[error("cannot read TLS {what} {path:?}: is the Secret mounted?")]
    Unreadable {
        /// `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not valid PEM.
    #[error("cannot read TLS {what} {path:?}: {damage}")]
    DamagedPem {
        /// `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: &'static str,
    },
    /// The certificate file holds none.
    #[error("no certificate in {path:?}: a PEM block \"CERTIFICATE\" is needed")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key file holds none, or only an encrypted one.
    #[error("no private key in {path:?}: an unencrypted PEM block in PKCS#8, PKCS#1 or SEC1 is needed")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is of a kind that is not served.
    #[error(
        "cannot use TLS key {path:?}: allowed are ECDSA (P-256, P-384, P-521), RSA (2048 bits or more) and Ed25519"
    )]
    UnsupportedKey {
        /// The file.
        path: PathBuf,
        /// What the cryptographic library said.
        source: rustls::Error,
    },
    /// The first certificate is not a certificate.
    #[error("cannot use TLS certificate {path:?}: its first block is no X.509 certificate")]
    UnusableCertificate {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: rustls::Error,
    },
    /// Certificate and key were not made for each other.
    #[error("TLS key {key:?} does not belong to certificate {certificate:?}: were they rotated together?")]
    Mismatched {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// Nobody accepts the certificate any more.
    #[error("TLS certificate {path:?} expired at {not_after}, and now it is {now}: renew it as certs/README.md says")]
    Expired {
        /// The file.
        path: PathBuf,
        /// The last second of its validity.
        not_after: Timestamp,
        /// What our clock says.
        now: Timestamp,
    },
    /// Nobody accepts the certificate yet, or our clock is slow.
    #[error(
        "TLS certificate {path:?} is valid only from {not_before}, and now it is {now}: is the clock of this machine \
         right, or that of the one that made it?"
    )]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// The first second of its validity.
        not_before: Timestamp,
        /// What our clock says.
        now: Timestamp,
    },
    /// The provider cannot do the TLS versions that we require.
    #[error("cannot set up TLS 1.2 and 1.3")]
    Versions(#[source] rustls::Error),
}

/// The server's side of TLS for the chain in `certificate` (leaf first) and its private `key`, if the
/// leaf is valid at `now`.
///
/// TLS 1.2 or later, HTTP/2 preferred over HTTP/1.1, and the one certificate whatever name was asked
/// for: callers reach us by address as well. The provider is named here, so that this works whether
/// or not the process installed a default one.
pub fn server_config(certificate: &Path, key: &Path, now: Timestamp) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, private) = (read_chain(certificate)?, read_key(key)?);
    check_validity(certificate, &chain[0], now)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Versions)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|source| match source {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatched { certificate: certificate.to_owned(), key: key.to_owned() }
            }
            rustls::Error::InvalidCertificate(_) => {
                TlsError::UnusableCertificate { path: certificate.to_owned(), source }
            }
            _ => TlsError::UnsupportedKey { path: key.to_owned(), source },
        })?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

/// At least one certificate.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const WHAT: &str = "certificate";
    let pem = read(WHAT, path)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::DamagedPem { what: WHAT, path: path.to_owned(), damage: damage(&source) })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}

fn check_validity(path: &Path, leaf: &CertificateDer, now: Timestamp) -> Result<(), TlsError> {
    let path = path.to_owned();
    let Ok((_, parsed)) = parse_x509_certificate(leaf) else {
        let source = rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        return Err(TlsError::UnusableCertificate { path, source });
    };
    let validity = parsed.validity();
    // X.509 knows years that a timestamp does not.
    let not_before = Timestamp::from_second(validity.not_before.timestamp()).unwrap_or(Timestamp::MIN);
    let not_after = Timestamp::from_second(validity.not_after.timestamp()).unwrap_or(Timestamp::MAX);
    // Both name a second that still belongs to it.
    let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
    if second < not_before {
        return Err(TlsError::NotYetValid { path, not_before, now: second });
    }
    if second > not_after {
        return Err(TlsError::Expired { path, not_after, now: second });
    }
    Ok(())
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    const WHAT: &str = "key";
    let pem = read(WHAT, path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.to_owned() },
        source => TlsError::DamagedPem { what: WHAT, path: path.to_owned(), damage: damage(&source) },
    })
}

/// In words: the library prints the lines in question as lists of byte values.
fn damage(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "its END line is missing",
        pem::Error::IllegalSectionStart { .. } => "its BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "its base64 is damaged",
        _ => "it is not PEM",
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable { what, path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
