//! Starts that cannot succeed yet, and how it stops.

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
    let advice = "404 page not found; the hub does not serve this resource: install Clusternet's CRDs";
    until_unready(&sheetanchor, "[-]managedclusters failed: cannot list managedclusters: ", advice).await;
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
    for warning in [
        "cannot list, retrying resource=\"managedclusters\"",
        "cannot reach the Lease",
        "(404 NotFound); create it, or name another one with --leader-elect-resource-namespace",
    ] {
        assert_eq!(log.matches(warning).count(), 1, "{log}");
    }
    // Another trouble is another line.
    control_plane.stop_api_server();
    let another = "cannot list, retrying resource=\"managedclusters\" error=cannot reach the API server: ";
    eventually("it to say so", PATIENCE, async || sheetanchor.process.log().contains(another).then_some(())).await;
    control_plane.restart_api_server().await;
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
