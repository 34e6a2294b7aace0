//! A certificate authority of the demo's own, and the certificate that it signs for the server.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// PEM files.
pub(super) struct Certs {
    /// The authority's certificate.
    pub(super) ca: PathBuf,
    /// The server's.
    pub(super) cert: PathBuf,
    /// Its private key.
    pub(super) key: PathBuf,
    /// The text of `ca`.
    pub(super) ca_pem: String,
}

/// Writes them into `dir`. The certificate is good for loopback and for the Service of a real installation.
pub(super) fn create(dir: &Path) -> anyhow::Result<Certs> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "sheetanchor demo authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let names = ["127.0.0.1", "localhost", "sheetanchor.sheetanchor-system.svc"];
    let mut params = CertificateParams::new(names.map(str::to_owned))?;
    params.distinguished_name.push(DnType::CommonName, "sheetanchor");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, &ca)?;

    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).map(|()| path)
    };
    let ca_pem = ca.pem();
    Ok(Certs {
        ca: file("ca.crt", &ca_pem)?,
        cert: file("tls.crt", &cert.pem())?,
        key: file("tls.key", &key.serialize_pem())?,
        ca_pem,
    })
}
