//! The binary under test, as a process, and what makes Kubernetes call it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::PostParams;
use kube::{Api, Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, free_port, get};
use crate::fleet::ensure_namespace;
use crate::kubectl::repository;
use crate::pki::{Leaf, Pki, text};
use crate::process::{EndsWithStdin, Process};
use crate::wait::{PATIENCE, eventually};

/// The namespace of its own objects.
pub(crate) const NAMESPACE: &str = "sheetanchor-system";

/// How to start one replica.
pub(crate) struct SheetanchorOptions {
    /// The name of the replica's log file; replicas of one test need different names.
    pub(crate) name: String,
    /// Whom the API server sees.
    pub(crate) user: String,
    /// That user's group.
    pub(crate) group: Option<String>,
    /// A kubeconfig to use instead of one for that user.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// `--leader-elect-lease-duration`.
    pub(crate) lease_duration: Duration,
    /// `--leader-elect-renew-deadline`.
    pub(crate) renew_deadline: Duration,
    /// `--leader-elect-retry-period`.
    pub(crate) retry_period: Duration,
    /// Further flags, last, so that they win.
    pub(crate) extra_args: Vec<String>,
}

impl Default for SheetanchorOptions {
    fn default() -> Self {
        Self {
            name: "sheetanchor".to_owned(),
            user: "sheetanchor".to_owned(),
            group: Some("system:masters".to_owned()),
            kubeconfig: None,
            lease_duration: Duration::from_secs(4),
            renew_deadline: Duration::from_secs(3),
            retry_period: Duration::from_secs(1),
            extra_args: Vec::new(),
        }
    }
}

/// One running replica.
pub(crate) struct Sheetanchor {
    /// Its process, to kill, pause and terminate.
    pub(crate) process: Process,
    options: SheetanchorOptions,
    kubeconfig: PathBuf,
    dir: PathBuf,
    /// The files it serves TLS with: overwrite them to rotate.
    pub(crate) serving_cert: Leaf,
    ca_pem: String,
    ca_file: PathBuf,
    port: u16,
    admin_port: u16,
    doors: Client,
    admin: Client,
}

impl Sheetanchor {
    /// Starts a replica and waits until it is ready.
    pub(crate) async fn start(control_plane: &ControlPlane, options: SheetanchorOptions) -> Self {
        ensure_namespace(&control_plane.client(), NAMESPACE).await;
        let mut sheetanchor = Self::spawn(control_plane, options);
        sheetanchor.wait_until_ready().await;
        sheetanchor
    }

    /// Starts a replica that may never become ready.
    pub(crate) fn spawn(control_plane: &ControlPlane, options: SheetanchorOptions) -> Self {
        let pki = control_plane.pki();
        let (port, admin_port) = (free_port(), free_port());
        let serving_cert = pki.server(&["127.0.0.1", "localhost", "sheetanchor.sheetanchor-system.svc"]);
        let for_user = || control_plane.kubeconfig(&options.user, options.group.as_deref());
        let kubeconfig = options.kubeconfig.clone().unwrap_or_else(for_user);
        let dir = control_plane.dir().to_owned();
        let command = command(&options, text(&kubeconfig), &serving_cert, port, admin_port);
        Self {
            process: Process::spawn(&options.name, command, &dir, EndsWithStdin::No),
            options,
            kubeconfig,
            dir,
            serving_cert,
            ca_pem: pki.ca_pem(),
            ca_file: pki.ca_file(),
            port,
            admin_port,
            doors: client(&format!("https://127.0.0.1:{port}"), Some(pki)),
            admin: client(&format!("http://127.0.0.1:{admin_port}"), None),
        }
    }

    /// Kills it and starts it again: same ports, nothing remembered.
    pub(crate) async fn restart(&mut self) {
        self.respawn();
        self.wait_until_ready().await;
    }

    /// As [`Sheetanchor::restart`], but it may never become ready.
    pub(crate) fn respawn(&mut self) {
        self.process.kill();
        let command = command(&self.options, text(&self.kubeconfig), &self.serving_cert, self.port, self.admin_port);
        let name = &self.options.name;
        self.process = Process::spawn(name, command, &self.dir, EndsWithStdin::No);
    }

    /// The root of its doors, as the scheduler and the API server are told it.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The text at `path` of a door, such as `/readyz`.
    pub(crate) async fn get(&self, path: &str) -> Result<String, String> {
        get(&self.doors, path).await
    }

    /// The text at `path` of the admin port, such as `/metrics`.
    pub(crate) async fn admin(&self, path: &str) -> Result<String, String> {
        get(&self.admin, path).await
    }

    /// What `/api/v1/fleet` says.
    pub(crate) async fn fleet(&self) -> Option<Value> {
        serde_json::from_str(&self.admin("/api/v1/fleet").await.ok()?).ok()
    }

    /// The value of a metric, by its name and labels as they stand on the page, without the prefix
    /// `sheetanchor_`; 0 when it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let page = self.admin("/metrics").await.unwrap();
        let mut lines = page.lines().filter_map(|line| line.strip_prefix("sheetanchor_")?.strip_prefix(name));
        lines.find_map(|rest| rest.strip_prefix(' ')).map_or(0.0, |value| value.parse().unwrap())
    }

    /// Which of these nodes `/filter` lets a pod without tolerations pass, and why not the others.
    pub(crate) async fn filter(&self, nodes: &[&str]) -> (Vec<String>, BTreeMap<String, String>) {
        let (status, answer) =
            self.post("/filter", &json!({"Pod": {"metadata": {"name": "p"}}, "NodeNames": nodes})).await;
        assert_eq!(status, StatusCode::OK, "{answer:?}");
        let mut answer: Value = serde_json::from_slice(&answer).unwrap();
        let passed = serde_json::from_value(answer["NodeNames"].take()).unwrap();
        let failed: Option<_> = serde_json::from_value(answer["FailedAndUnresolvableNodes"].take()).unwrap();
        (passed, failed.unwrap_or_default())
    }

    /// Posts to a door, as the scheduler does: the status and the body, whatever they are.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Bytes) {
        self.call("POST", path, body.to_string()).await
    }

    /// Sends anything to a door: the status and the body, whatever they are.
    pub(crate) async fn call(&self, method: &str, path: &str, body: impl Into<Vec<u8>>) -> (StatusCode, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(body.into().into())
            .unwrap();
        let answer = self.doors.send(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap();
        (status, body.to_bytes())
    }

    /// Waits for `/readyz`.
    pub(crate) async fn wait_until_ready(&mut self) {
        let what = format!("{} to be ready", self.options.name);
        let (process, doors) = (&mut self.process, &self.doors);
        eventually(&what, PATIENCE, async || {
            if let Some(status) = process.exit_status() {
                panic!("it ended instead: {status}");
            }
            get(doors, "/readyz").await
        })
        .await;
    }
}

fn command(options: &SheetanchorOptions, kubeconfig: &str, serving_cert: &Leaf, port: u16, admin_port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sheetanchor"));
    command
        .arg("serve")
        .args(["--kubeconfig", kubeconfig])
        .arg("--bind-address=127.0.0.1")
        .arg(format!("--secure-port={port}"))
        .args(["--tls-cert-file", text(&serving_cert.cert)])
        .args(["--tls-private-key-file", text(&serving_cert.key)])
        .arg(format!("--admin-bind-address=127.0.0.1:{admin_port}"))
        .arg(format!("--leader-elect-resource-namespace={NAMESPACE}"));
    for (flag, value) in [
        ("lease-duration", options.lease_duration),
        ("renew-deadline", options.renew_deadline),
        ("retry-period", options.retry_period),
    ] {
        command.arg(format!("--leader-elect-{flag}={}ms", value.as_millis()));
    }
    command.args(&options.extra_args);
    command
}

/// A plain client for one server; kube's has TLS, time limits and text bodies already.
fn client(url: &str, pki: Option<&Pki>) -> Client {
    let mut config = Config::new(url.parse().unwrap());
    config.root_cert = pki.map(|pki| {
        let der = CertificateDer::from_pem_slice(pki.ca_pem().as_bytes()).unwrap();
        vec![der.to_vec()]
    });
    config.default_retry = false;
    config.read_timeout = Some(Duration::from_secs(10));
    Client::try_from(config).unwrap()
}

/// The shipped configuration of kube-scheduler, with the addresses and paths of this test.
pub(crate) fn shipped_config(control_plane: &ControlPlane, sheetanchor: &Sheetanchor) -> String {
    let mut config = fs::read_to_string(repository("manifests/scheduler-config/kube-scheduler.yaml")).unwrap();
    let kubeconfig = control_plane.kubeconfig("system:kube-scheduler", None);
    let client = control_plane.pki().client("system:kube-scheduler", None);
    for (shipped, here) in [
        ("https://10.96.0.94:443", sheetanchor.url().as_str()),
        ("/etc/kubernetes/scheduler.conf", text(&kubeconfig)),
        ("/etc/kubernetes/sheetanchor/ca.crt", text(&sheetanchor.ca_file)),
        ("/etc/kubernetes/sheetanchor/scheduler.crt", text(&client.cert)),
        ("/etc/kubernetes/sheetanchor/scheduler.key", text(&client.key)),
    ] {
        assert_eq!(config.matches(shipped).count(), 1, "{shipped} in {config}");
        config = config.replace(shipped, here);
    }
    config
}

/// As [`shipped_config`], for a scheduler that may be killed and started again at once. (One second of
/// backoff, so that a pod refused once is soon looked at again.)
pub(crate) fn extender_config(control_plane: &ControlPlane, sheetanchor: &Sheetanchor) -> String {
    let config = shipped_config(control_plane, sheetanchor);
    assert!(config.contains("leaderElect: true"), "{config}");
    config.replace("leaderElect: true", "leaderElect: false") + "podInitialBackoffSeconds: 1\n"
}

/// Makes the API server ask `sheetanchor` about whatever the shipped configuration asks about, at its
/// own address: there is no Service here.
pub(crate) async fn register_webhook(client: &Client, sheetanchor: &Sheetanchor) {
    let manifest = fs::read_to_string(repository("manifests/base/webhook.yaml")).unwrap();
    let mut configuration: Value = serde_saphyr::from_str(&manifest).unwrap();
    let ca = k8s_openapi::ByteString(sheetanchor.ca_pem.clone().into_bytes());
    for webhook in configuration["webhooks"].as_array_mut().unwrap() {
        let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap();
        webhook["clientConfig"] = json!({"url": format!("{}{path}", sheetanchor.url()), "caBundle": ca});
    }
    let configuration: MutatingWebhookConfiguration = serde_json::from_value(configuration).unwrap();
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    api.create(&PostParams::default(), &configuration).await.unwrap();
}
