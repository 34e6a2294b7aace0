use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, SignatureAlgorithm, date_time_ymd,
};

use super::super::testing::{Files, chain};
use super::server_config;
use crate::clock;

fn make(kind: &'static SignatureAlgorithm) -> (String, KeyPair) {
    let key = KeyPair::generate_for(kind).unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// The key in its own format, PKCS#1 or SEC1, which PKCS#8 wraps into its third element.
fn unwrapped(pkcs8: &[u8]) -> &[u8] {
    /// The content of the first element, and what follows it.
    fn element(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, start) = match der[1] {
            short @ 0..=0x7f => (usize::from(short), 2),
            0x81 => (usize::from(der[2]), 3),
            0x82 => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
            long => panic!("length of {long:#x} bytes"),
        };
        der[start..].split_at(length)
    }
    let (_version, rest) = element(element(pkcs8).0);
    let (_algorithm, rest) = element(rest);
    element(rest).0
}

#[test]
fn every_kind_of_key_is_served() {
    let files = Files::new();
    let cases = [
        ("P-256", &PKCS_ECDSA_P256_SHA256, Some("EC PRIVATE KEY")),
        ("P-384", &PKCS_ECDSA_P384_SHA384, Some("EC PRIVATE KEY")),
        ("P-521", &PKCS_ECDSA_P521_SHA512, Some("EC PRIVATE KEY")),
        ("RSA", &PKCS_RSA_SHA256, Some("RSA PRIVATE KEY")),
        ("Ed25519", &PKCS_ED25519, None),
    ];
    for (name, kind, own_format) in cases {
        let (certificate, key) = make(kind);
        let certificate = files.write("tls.crt", &certificate);
        let mut keys = vec![key.serialize_pem()];
        if let Some(label) = own_format {
            // openssl writes the curve in front of the key.
            let curve = pem("EC PARAMETERS", b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07");
            let own = pem(label, unwrapped(key.serialized_der()));
            keys.extend([own.clone(), curve + &own]);
        }
        for key in keys {
            let label = key.lines().next().unwrap().to_owned();
            let loaded = server_config(&certificate, &files.write("tls.key", &key), clock::wall());
            assert!(loaded.is_ok(), "{name} {label}: {:?}", loaded.err());
        }
    }
}

/// A good pair in files, and room for bad ones.
struct Pair {
    files: Files,
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn new() -> Self {
        let files = Files::new();
        let (certificate, key) = make(&PKCS_ECDSA_P256_SHA256);
        Self {
            certificate: files.write("tls.crt", &certificate),
            key: files.write("tls.key", &key.serialize_pem()),
            files,
        }
    }

    #[track_caller]
    fn check_certificate(&self, path: &Path, expected: &[&str]) {
        check(path, &self.key, expected);
    }

    #[track_caller]
    fn check_key(&self, path: &Path, expected: &[&str]) {
        check(&self.certificate, path, expected);
    }
}

/// Each expected line is an error and its causes; each error is one line.
#[track_caller]
fn check(certificate: &Path, key: &Path, expected: &[&str]) {
    let error = server_config(certificate, key, clock::wall()).unwrap_err();
    assert_eq!(chain(&error), expected);
    assert!(!error.to_string().contains('\n'));
}

#[test]
fn an_unreadable_file_is_named_and_the_cause_is_the_systems() {
    let pair = Pair::new();
    let absent = pair.files.path("absent");
    let os = "No such file or directory (os error 2)";
    let message = format!("cannot read TLS certificate {absent:?}: is the Secret mounted?");
    pair.check_certificate(&absent, &[&message, os]);
    let message = format!("cannot read TLS key {absent:?}: is the Secret mounted?");
    pair.check_key(&absent, &[&message, os]);
}

#[test]
fn a_damaged_file_is_named_with_its_damage() {
    let pair = Pair::new();
    for (text, damage) in [
        ("-----BEGIN X-----\nMIIB\n", "its END line is missing"),
        ("-----BEGIN X\nMIIB\n-----END X-----\n", "its BEGIN line is malformed"),
        ("-----BEGIN X-----\n!\n-----END X-----\n", "its base64 is damaged"),
    ] {
        let torn = pair.files.write("torn.crt", &text.replace('X', "CERTIFICATE"));
        let message = format!("cannot read TLS certificate {torn:?}: {damage}");
        pair.check_certificate(&torn, &[&message]);
        let torn = pair.files.write("torn.key", &text.replace('X', "PRIVATE KEY"));
        let message = format!("cannot read TLS key {torn:?}: {damage}");
        pair.check_key(&torn, &[&message]);
    }
    let noise = pair.files.write("noise.crt", &pem("CERTIFICATE", b"no X.509"));
    let message = format!("cannot use TLS certificate {noise:?}: its first block is no X.509 certificate");
    pair.check_certificate(&noise, &[&message, "invalid peer certificate: BadEncoding"]);
    let strange = pair.files.write("strange.key", &pem("PRIVATE KEY", b"no key"));
    let message = format!(
        "cannot use TLS key {strange:?}: allowed are ECDSA (P-256, P-384, P-521), \
         RSA (2048 bits or more) and Ed25519"
    );
    let cause = "unexpected error: failed to parse private key as RSA, ECDSA, or EdDSA";
    pair.check_key(&strange, &[&message, cause]);
}

#[test]
fn the_wrong_file_is_named_with_what_it_lacks() {
    let pair = Pair::new();
    let empty = pair.files.write("empty", "");
    for path in [&empty, &pair.key] {
        let message = format!("no certificate in {path:?}: a PEM block \"CERTIFICATE\" is needed");
        pair.check_certificate(path, &[&message]);
    }
    let locked = pem("ENCRYPTED PRIVATE KEY", b"?");
    let locked = pair.files.write("locked.key", &locked);
    for path in [&empty, &pair.certificate, &locked] {
        let message =
            format!("no private key in {path:?}: an unencrypted PEM block in PKCS#8, PKCS#1 or SEC1 is needed");
        pair.check_key(path, &[&message]);
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let pair = Pair::new();
    let (_, other) = make(&PKCS_ECDSA_P256_SHA256);
    let other = pair.files.write("other.key", &other.serialize_pem());
    let message =
        format!("TLS key {other:?} does not belong to certificate {:?}: were they rotated together?", pair.certificate);
    pair.check_key(&other, &[&message]);
}

#[test]
fn a_certificate_outside_its_time_is_refused_with_its_date() {
    let files = Files::new();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2026, 2, 1), date_time_ymd(2026, 3, 1));
    let certificate = files.write("tls.crt", &params.self_signed(&key).unwrap().pem());
    let key = files.write("tls.key", &key.serialize_pem());
    for (now, expected) in [
        (
            "2026-01-31T23:59:59.999Z",
            Some(format!(
                "TLS certificate {certificate:?} is valid only from 2026-02-01T00:00:00Z, and now it is \
                 2026-01-31T23:59:59Z: is the clock of this machine right, or that of the one that made it?"
            )),
        ),
        ("2026-02-01T00:00:00Z", None),
        ("2026-03-01T00:00:00.999Z", None),
        (
            "2026-03-01T00:00:01Z",
            Some(format!(
                "TLS certificate {certificate:?} expired at 2026-03-01T00:00:00Z, and now it is \
                 2026-03-01T00:00:01Z: renew it as certs/README.md says"
            )),
        ),
    ] {
        let result = server_config(&certificate, &key, now.parse().unwrap());
        assert_eq!(result.err().map(|error| error.to_string()), expected, "{now}");
    }
}
