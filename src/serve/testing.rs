//! A server on a real socket, clients that do what no library would let them, and a fleet to ask about.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::domain::placement::{ClusterView, SparePolicy};
use crate::domain::taint::UNSCHEDULABLE_KEY;
use crate::domain::testing::{POLICY, at};
use crate::state::policy::Policy;
use crate::state::snapshot::{NodeHome, Snapshot};

use super::counters::ConnectionCounters;
use super::http::serve;
use super::limits::ConnectionLimits;
use super::tls::server_config;

/// Only bounds how long a broken build hangs.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const H1: &[&[u8]] = &[b"http/1.1"];
pub(super) const H2: &[&[u8]] = &[b"h2"];

/// Waits for what must happen.
pub(super) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("still waiting: {what}"),
    }
}

/// Waits until `holds`, for what can only be looked at.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The fleet of `views`, sorted by key, at 48 s, and where its nodes belong.
pub(super) fn mk_snapshot(now: Instant, views: Vec<ClusterView>, homes: Vec<(String, NodeHome)>) -> Snapshot {
    let policy = Policy {
        health: POLICY,
        taint_key: UNSCHEDULABLE_KEY.to_owned(),
        spares: SparePolicy::Prefer,
        node_labels: Vec::new(),
        match_node_names: false,
    };
    Snapshot {
        complete: true,
        clusters: views.into_iter().map(Arc::new).collect(),
        nodes: Arc::new(homes.into_iter().map(|(node, home)| (node.into(), home)).collect()),
        blind: false,
        taken: (now, at(48_000)),
        ..Snapshot::empty(now, Arc::new(policy))
    }
}

/// What `/metrics` says of what `register` adds, sorted within each metric.
pub(super) fn exposed(register: impl FnOnce(&mut Registry)) -> Vec<String> {
    let mut registry = Registry::default();
    register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let mut values: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    let metric = |value: &str| value.split(['{', ' ']).next().map(str::to_owned);
    for lines in values.chunk_by_mut(|left, right| metric(left) == metric(right)) {
        lines.sort_unstable();
    }
    values
}

/// PEM files in a directory of their own.
pub(super) struct Files {
    directory: TempDir,
}

impl Files {
    pub(super) fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) counters: ConnectionCounters,
    pub(super) stop: CancellationToken,
    pub(super) serving: JoinHandle<()>,
    root: CertificateDer<'static>,
}

impl TestServer {
    /// Over TLS.
    pub(super) async fn start(app: Router, limits: ConnectionLimits) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let files = Files::new();
        let config = server_config(
            &files.write("tls.crt", &made.cert.pem()),
            &files.write("tls.key", &made.signing_key.serialize_pem()),
            clock::wall(),
        );
        let root = made.cert.der().clone();
        Self::start_with(app, limits, Some(config.unwrap()), root).await
    }

    /// In the clear.
    pub(super) async fn start_plain(app: Router, limits: ConnectionLimits) -> Self {
        Self::start_with(app, limits, None, CertificateDer::from(Vec::new())).await
    }

    async fn start_with(
        app: Router,
        limits: ConnectionLimits,
        tls: Option<Arc<rustls::ServerConfig>>,
        root: CertificateDer<'static>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counters = ConnectionCounters::default();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, tls, app, limits, counters.clone(), stop.clone()));
        Self { address, counters, stop, serving, root }
    }

    pub(super) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(super) async fn try_tls(&self, alpn: &[&[u8]], trusted: bool) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        if trusted {
            roots.add(self.root.clone()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.tcp().await).await
    }

    pub(super) async fn tls(&self, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        soon("TLS handshake", self.try_tls(alpn, true)).await.unwrap()
    }

    pub(super) async fn client(&self, alpn: &[&[u8]]) -> Client {
        let io = TokioIo::new(self.tls(alpn).await);
        if alpn == H2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            Client::H2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Client::H1(sender)
        }
    }
}

/// One connection, used for one request after another.
pub(super) enum Client {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

impl Client {
    pub(super) async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        soon("an answer", async {
            match self {
                Self::H1(sender) => sender.send_request(request).await,
                Self::H2(sender) => sender.send_request(request).await,
            }
        })
        .await
    }

    pub(super) async fn get(&mut self, path: &str) -> hyper::Result<Response<Incoming>> {
        self.send(self.request("GET", path, Body::empty())).await
    }

    pub(super) async fn post(&mut self, path: &str, body: impl Into<Body>) -> hyper::Result<Response<Incoming>> {
        self.send(self.request("POST", path, body.into())).await
    }

    pub(super) fn request(&self, method: &str, path: &str, body: Body) -> Request<Body> {
        let uri = match self {
            Self::H1(_) => path.to_owned(),
            Self::H2(_) => format!("https://localhost{path}"),
        };
        Request::builder().method(method).uri(uri).header("host", "localhost").body(body).unwrap()
    }
}

/// Everything that the server says until it hangs up, by whichever of the ways to do so.
pub(super) async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut said = Vec::new();
    let _ = soon("the server to hang up", stream.read_to_end(&mut said)).await;
    String::from_utf8_lossy(&said).into_owned()
}

/// The error and all its causes, as a log line prints them.
pub(super) fn chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}
