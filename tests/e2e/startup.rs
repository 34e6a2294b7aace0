//! Starts that cannot succeed yet, and those that never will; and how it stops.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use http::StatusCode;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::control_plane::{ControlPlane, Options, get};
use crate::fleet::{Member, MemberOptions, ensure_namespace};
use crate::nodes::add_virtual_node;
use crate::pki::{Pki, text};
use crate::scene::{Scene, cluster_at};
use crate::sheetanchor::{NAMESPACE, Sheetanchor, SheetanchorOptions};
use crate::wait::{PATIENCE, eventually};

/// How often somebody tried in vain to create a Lease, on the API server's page.
const LEASE_TRIES: &str = concat!(
    r#"apiserver_request_total{code="404",component="apiserver",dry_run="",group="coordination.k8s.io","#,
    r#"resource="leases",scope="resource",subresource="",verb="POST""#
);

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_the_crds_and_for_the_api_server_and_says_so() {
    let options = Options { without_crds: true, ..Options::default() };
    let mut control_plane = ControlPlane::start(options).await;
    let client = control_plane.client();
    add_virtual_node(&client, "eu-1", &[("sheetanchor.dev/cluster", "fleet.eu-1")]).await;

    let mut sheetanchor = Sheetanchor::spawn(&control_plane, SheetanchorOptions::default());
    until_unready(&sheetanchor, "[-]managedclusters failed: cannot list managedclusters: ", "404").await;
    // It serves, but not an empty view as if it were the fleet.
    assert_eq!(sheetanchor.get("/livez").await.unwrap(), "ok");
    let pod = json!({"Pod": {"metadata": {"name": "p"}}, "NodeNames": ["eu-1"]});
    let (status, answer) = sheetanchor.post("/filter", &pod).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    // Having tried for a while it has said so once. (The API server counts tries at the Lease, whose
    // namespace is missing too, but not at what it does not serve.)
    eventually("several tries", PATIENCE, async || {
        let page = get(&client, "/metrics").await?;
        let tries = page.lines().find(|line| line.starts_with(LEASE_TRIES)).ok_or("none")?;
        let count = tries.rsplit_once(' ').and_then(|(_, count)| count.parse::<u32>().ok());
        if count > Some(4) { Ok(()) } else { Err(tries.to_owned()) }
    })
    .await;
    let log = sheetanchor.process.log();
    for warning in ["watch broke, retrying resource=\"managedclusters\"", "cannot reach the Lease"] {
        assert_eq!(log.matches(warning).count(), 1, "{log}");
    }
    ensure_namespace(&client, NAMESPACE).await;
    control_plane.apply_crds().await;
    let member = Member::join(&client, "fleet", "eu-1", MemberOptions::default()).await;
    sheetanchor.wait_until_ready().await;
    until_known(&sheetanchor).await;
    assert_eq!(sheetanchor.filter(&["eu-1"]).await.0, ["eu-1"]);

    control_plane.stop_api_server();
    sheetanchor.respawn();
    until_unready(&sheetanchor, "[-]nodes failed: cannot list nodes: ", "Connection refused").await;
    assert_eq!(sheetanchor.post("/filter", &pod).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(sheetanchor.process.exit_status(), None);
    control_plane.restart_api_server().await;
    sheetanchor.wait_until_ready().await;
    until_known(&sheetanchor).await;
    assert_eq!(member.stored().await.metadata.generation, Some(1), "it was tainted");
}

/// Waits until `/readyz?verbose` says this, and why.
async fn until_unready(sheetanchor: &Sheetanchor, what: &str, why: &str) {
    eventually("it to say why it is not ready", PATIENCE, async || {
        // The port is bound before the watches begin.
        let answer = sheetanchor.get("/readyz?verbose").await.err().ok_or("it is ready")?;
        if answer.contains(what) && answer.contains(why) { Ok(()) } else { Err(answer) }
    })
    .await;
}

async fn until_known(sheetanchor: &Sheetanchor) {
    eventually("the fleet to be known", PATIENCE, async || cluster_at(sheetanchor, "eu-1").await).await;
}

#[tokio::test]
async fn a_start_that_cannot_succeed_is_one_line_and_an_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let files = StartFiles::new(dir.path());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let port = format!("--secure-port={}", taken.trim_start_matches("127.0.0.1:"));
    let (cert, key, other, kubeconfig) = (&files.cert, &files.key, &files.other_key, &files.kubeconfig);
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        text(&path).to_owned()
    };
    let (junk, empty) = (file("junk", "no: [yaml"), file("empty", ""));
    let missing = text(&dir.path().join("missing")).to_owned();
    let paths = [cert, key, kubeconfig].map(String::as_str);
    for (name, args, paths, code, parts) in [
        ("port in use", vec![port.as_str()], paths, 1, vec![taken.as_str(), "--secure-port", "in use"]),
        ("admin port in use", vec!["--admin-bind-address", &taken], paths, 1, vec![&taken, "--admin-bind-address"]),
        ("no certificate", vec![], [&missing, key, kubeconfig], 1, vec![&missing, "TLS certificate", "No such file"]),
        ("no PEM", vec![], [&empty, key, kubeconfig], 1, vec![&empty, "no certificate"]),
        ("no key", vec![], [cert, &empty, kubeconfig], 1, vec![&empty, "no private key"]),
        ("another's key", vec![], [cert, other, kubeconfig], 1, vec![cert, other, "does not belong"]),
        ("no kubeconfig", vec![], [cert, key, &missing], 1, vec!["--kubeconfig", &missing, "No such file"]),
        ("a bad kubeconfig", vec![], [cert, key, &junk], 1, vec!["--kubeconfig", &junk]),
        (
            "no such policy",
            vec!["--spare-policy=Always"],
            paths,
            2,
            vec!["--spare-policy", "Always", "Prefer, OnFailure, Reserve"],
        ),
        (
            "no such mode",
            vec!["--subscription-guard=on"],
            paths,
            2,
            vec!["--subscription-guard", "on", "full, never-empty, off"],
        ),
        (
            "no duration",
            vec!["--cluster-status-update-frequency=3"],
            paths,
            2,
            vec!["--cluster-status-update-frequency", "1s to 1h"],
        ),
        ("no such flag", vec!["--spares=2"], paths, 2, vec!["--spares"]),
        (
            "no lease",
            vec!["--leader-elect-lease-duration=5s"],
            paths,
            2,
            vec!["--leader-elect-lease-duration=5s", "longer than"],
        ),
        ("no level", vec!["--log-level=loud=quiet"], paths, 2, vec!["--log-level", "loud=quiet", "debug"]),
    ] {
        let output = serve(&args, paths).output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        let told: Vec<&str> = log.lines().filter(|line| !line.contains(" INFO ")).collect();
        let told = told.join("\n");
        assert_eq!((output.status.code(), told.lines().count()), (Some(code), 1), "{name}: {told}");
        for part in parts {
            assert!(told.contains(part), "{name}: {part:?} is missing: {told}");
        }
        assert!(output.stdout.is_empty(), "{name}");
    }
}

/// What a start needs, without a hub.
pub(crate) struct StartFiles {
    cert: String,
    key: String,
    other_key: String,
    /// Names a hub that nobody answers for.
    pub(crate) kubeconfig: String,
}

impl StartFiles {
    pub(crate) fn new(dir: &Path) -> Self {
        let pki = Pki::new(dir.join("pki"));
        let (leaf, other) = (pki.server(&["localhost"]), pki.server(&["localhost"]));
        let kubeconfig = dir.join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "c", "user": {}}],
        });
        fs::write(&kubeconfig, config.to_string()).unwrap();
        let path = |path: &Path| text(path).to_owned();
        Self {
            cert: path(&leaf.cert),
            key: path(&leaf.key),
            other_key: path(&other.key),
            kubeconfig: path(&kubeconfig),
        }
    }
}

/// How to run `serve`; a free port for whatever is not named.
pub(crate) fn serve(args: &[&str], [cert, key, kubeconfig]: [&str; 3]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sheetanchor"));
    command.args(["serve", "--bind-address=127.0.0.1"]);
    for (flag, free) in [("--secure-port", "0"), ("--admin-bind-address", "127.0.0.1:0")] {
        if !args.iter().any(|arg| arg.starts_with(flag)) {
            command.args([flag, free]);
        }
    }
    command.args(["--tls-cert-file", cert, "--tls-private-key-file", key, "--kubeconfig", kubeconfig]);
    command.args(args);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_answered_before_it_stops() {
    let mut scene = Scene::start(&["eu-1"], &[]).await;
    let body = json!({"Pod": {"metadata": {"name": "p"}}, "NodeNames": ["eu-1"]}).to_string();
    let mut stream = connect(&scene).await;
    let header = format!(
        "POST /filter HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(header.as_bytes()).await.unwrap();
    // The server asks for the body: the request is in its hands.
    let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"));

    scene.sheetanchor.process.terminate();
    eventually("it to be stopping", PATIENCE, async || {
        scene.sheetanchor.process.log().contains("Lease released").then_some(())
    })
    .await;
    assert!(TcpStream::connect(address(&scene)).await.is_err(), "it still accepts connections");
    assert_eq!(scene.sheetanchor.process.exit_status(), None, "it did not wait");

    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains(r#""NodeNames":["eu-1"]"#), "{answer}");
    let status = scene.sheetanchor.process.wait_for_exit(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{}", scene.sheetanchor.process.log());
}

async fn connect(scene: &Scene) -> TlsStream<TcpStream> {
    let ca = CertificateDer::from_pem_slice(scene.control_plane.pki().ca_pem().as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address(scene)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

fn address(scene: &Scene) -> String {
    scene.sheetanchor.url().trim_start_matches("https://").to_owned()
}
