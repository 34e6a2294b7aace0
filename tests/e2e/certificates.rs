//! `certs/gen.sh`: what it makes is what both callers verify, and it destroys nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::parse_x509_certificate;

use crate::kubectl::{render, repository, succeed};
use crate::pki::text;
use crate::process::{EndsWithStdin, Process};
use crate::start_errors::{StartFiles, serve};
use crate::wait::{PATIENCE, eventually};

/// Runs gen.sh by the name of its interpreter, as `PATH` need not know it.
pub(crate) fn gen_sh(args: &[&str]) -> Output {
    Command::new("/bin/sh").arg(repository("certs/gen.sh")).args(args).output().unwrap()
}

/// What gen.sh says when it refuses: one line.
fn refusal(output: &Output) -> String {
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&fs::read(path).unwrap()).unwrap()
}

fn roots(ca: &Path) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(ca)).unwrap();
    Arc::new(roots)
}

#[tokio::test]
async fn what_gen_sh_makes_is_verified_under_every_name() {
    let dir = tempfile::tempdir().unwrap();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (made, other) = (dir.path().join("made"), dir.path().join("other"));
    succeed(gen_sh(&["--out", text(&made), "--cluster-ip", "10.0.0.42"]));
    succeed(gen_sh(&["--out", text(&other)]));
    assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
    for name in ["ca.key", "tls.key", "scheduler.key"] {
        assert_eq!(fs::metadata(made.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }

    let files = StartFiles::new(dir.path());
    let (cert, key) = (made.join("tls.crt"), made.join("tls.key"));
    let command = serve(&[], [text(&cert), text(&key), &files.kubeconfig]);
    let server = Process::spawn("sheetanchor", command, dir.path(), EndsWithStdin::No);
    let address = eventually("the secure port", PATIENCE, async || {
        let log = server.log();
        let (_, rest) = log.split_once("door=\"secure port\" address=")?;
        rest.split_once('\n').map(|(address, _)| address.to_owned())
    })
    .await;

    for (name, trusted, expected) in [
        ("sheetanchor.sheetanchor-system.svc", &made, true),
        ("sheetanchor.sheetanchor-system.svc.cluster.local", &made, true),
        ("sheetanchor.sheetanchor-system", &made, true),
        ("sheetanchor", &made, true),
        ("localhost", &made, true),
        ("127.0.0.1", &made, true),
        ("10.0.0.42", &made, true),
        ("10.96.0.94", &made, false),
        ("example.com", &made, false),
        ("localhost", &other, false),
    ] {
        let config = ClientConfig::builder().with_root_certificates(roots(&trusted.join("ca.crt")));
        let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
        let stream = TcpStream::connect(&address).await.unwrap();
        let handshake = connector.connect(ServerName::try_from(name).unwrap(), stream).await;
        assert_eq!(handshake.is_ok(), expected, "{name}: {:?}", handshake.err());
    }
}

#[test]
fn its_client_certificate_is_the_schedulers_and_new_leaves_may_have_the_old_authority() {
    let dir = tempfile::tempdir().unwrap();
    let (made, renewed) = (dir.path().join("made"), dir.path().join("renewed"));
    succeed(gen_sh(&["--out", text(&made)]));
    succeed(gen_sh(&["--out", text(&renewed), "--ca", text(&made)]));

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let trusted = WebPkiClientVerifier::builder_with_provider(roots(&made.join("ca.crt")), provider).build().unwrap();
    let accepted = |path: &Path| trusted.verify_client_cert(&certificate(path), &[], UnixTime::now()).is_ok();
    let mut seen = Vec::new();
    for dir in [&made, &renewed] {
        let der = certificate(&dir.join("scheduler.crt"));
        assert!(accepted(&dir.join("scheduler.crt")));
        assert!(!accepted(&dir.join("tls.crt")), "the serving certificate is good for a client too");
        let (_, parsed) = parse_x509_certificate(&der).unwrap();
        assert_eq!(parsed.subject().to_string(), "CN=system:kube-scheduler");
        assert!(!seen.contains(&parsed.raw_serial_as_string()), "a serial number was given twice");
        seen.push(parsed.raw_serial_as_string());
    }
    assert_eq!(fs::read(made.join("ca.crt")).unwrap(), fs::read(renewed.join("ca.crt")).unwrap());
    assert_ne!(fs::read(made.join("tls.key")).unwrap(), fs::read(renewed.join("tls.key")).unwrap());
}

#[test]
fn gen_sh_refuses_in_one_line_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made");
    succeed(gen_sh(&["--out", text(&made)]));
    let before = fs::read(made.join("tls.key")).unwrap();
    assert!(refusal(&gen_sh(&["--out", text(&made)])).contains("nothing is overwritten"));
    assert_eq!(fs::read(made.join("tls.key")).unwrap(), before);

    let free = dir.path().join("free");
    for (args, said) in [
        (&["--out", text(&free), "--ca", "/nonexistent"][..], "no ca.key"),
        (&["--out", text(&free), "--cluster-ip", "here"], "no IP address"),
        (&["--out", text(&free), "--cluster-ip", "10.96.0"], "openssl"),
        (&["--force"], "no such option: --force; see --help"),
        (&["--out"], "--out needs a value"),
    ] {
        let output = gen_sh(args);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && told.contains(said), "{args:?}: {told}");
    }
    let mut without_openssl = Command::new("/bin/sh");
    without_openssl.arg(repository("certs/gen.sh")).args(["--out", text(&free)]).env("PATH", text(dir.path()));
    assert!(refusal(&without_openssl.output().unwrap()).contains("openssl is not installed"));
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["made"]);

    let help = gen_sh(&["--help"]);
    assert!(succeed(help).starts_with("usage: certs/gen.sh"));
}

#[test]
fn its_component_brings_the_secret_to_the_pods_and_the_authority_to_every_webhook() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("certs");
    succeed(gen_sh(&["--out", text(&made)]));
    fs::create_dir(dir.path().join("hub")).unwrap();
    std::os::unix::fs::symlink(repository("manifests"), dir.path().join("manifests")).unwrap();
    let kustomization = "resources: [../manifests/base]\ncomponents: [../certs]\n";
    fs::write(dir.path().join("hub/kustomization.yaml"), kustomization).unwrap();

    let objects = render(text(&dir.path().join("hub")));
    let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
    let secret = find("Secret");
    let ca = secret["data"]["ca.crt"].as_str().unwrap();
    let webhooks = find("MutatingWebhookConfiguration")["webhooks"].as_array().unwrap();
    assert_eq!(webhooks.len(), 2);
    for webhook in webhooks {
        assert_eq!(webhook["clientConfig"]["caBundle"], ca);
        assert_eq!(webhook["clientConfig"]["service"]["name"], "sheetanchor");
    }
    let volume = &find("Deployment")["spec"]["template"]["spec"]["volumes"][0];
    assert_eq!(volume["secret"]["secretName"], secret["metadata"]["name"]);
    assert_eq!(
        (&secret["type"], &secret["metadata"]["namespace"]),
        (&"kubernetes.io/tls".into(), &"sheetanchor-system".into())
    );
}
