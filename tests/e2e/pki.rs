//! One certificate authority per test, and the certificates it signs, as PEM files.

use std::cell::Cell;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A certificate and its private key, as files.
#[derive(Clone)]
pub(crate) struct Leaf {
    /// The certificate, PEM.
    pub(crate) cert: PathBuf,
    /// Its private key, PEM.
    pub(crate) key: PathBuf,
}

/// A certificate authority that signs for servers and for users.
pub(crate) struct Pki {
    dir: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
    issued: Cell<u32>,
}

impl Pki {
    /// Creates an authority whose files live in `dir`.
    pub(crate) fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "sheetanchor test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(dir.join("ca.crt"), ca.pem()).unwrap();
        Self { dir, ca, issued: Cell::new(0) }
    }

    /// The authority's certificate, as a file.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// The authority's certificate, PEM.
    pub(crate) fn ca_pem(&self) -> String {
        self.ca.pem()
    }

    /// A server certificate for these names; an IP address becomes an IP name.
    pub(crate) fn server(&self, names: &[&str]) -> Leaf {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "sheetanchor test server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, "server")
    }

    /// A server certificate that is valid from the first day of one year to that of another.
    pub(crate) fn server_in(&self, years: Range<i32>) -> Leaf {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        self.sign(params, "server")
    }

    /// A client certificate; the API server reads the user from CN, the group from O. (At most one:
    /// this library keeps one O per name.)
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, "client")
    }

    /// A key pair for signing service account tokens; `cert` is the bare public key.
    pub(crate) fn service_account_key(&self) -> Leaf {
        let key = KeyPair::generate().unwrap();
        self.write("service-account", &key.public_key_pem(), &key)
    }

    fn sign(&self, mut params: CertificateParams, kind: &str) -> Leaf {
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.ca).unwrap();
        self.write(kind, &cert.pem(), &key)
    }

    fn write(&self, kind: &str, cert: &str, key: &KeyPair) -> Leaf {
        let number = self.issued.replace(self.issued.get() + 1);
        let leaf = Leaf {
            cert: self.dir.join(format!("{kind}-{number}.crt")),
            key: self.dir.join(format!("{kind}-{number}.key")),
        };
        fs::write(&leaf.cert, cert).unwrap();
        fs::write(&leaf.key, key.serialize_pem()).unwrap();
        leaf
    }
}

/// A path as the text that flags and configuration files want.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have UTF-8 names")
}
