//! A Kubernetes control plane of one's own: etcd and kube-apiserver always, kube-scheduler and
//! kube-controller-manager on request, on free ports of 127.0.0.1, gone when dropped.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::pki::{Leaf, Pki, text};
use crate::process::{EndsWithStdin, Process};
use crate::wait::{PATIENCE, eventually};

/// Ports are chosen free and released before the program binds them; somebody may be faster.
const START_ATTEMPTS: u32 = 3;

const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a test may want different from the ordinary.
#[derive(Clone, Default)]
pub(crate) struct Options {
    /// Further flags of kube-apiserver.
    pub(crate) api_server_args: Vec<String>,
    /// Clusternet is not installed: [`ControlPlane::apply_crds`] does it later.
    pub(crate) without_crds: bool,
}

/// The running control plane. Fields are dropped from the top: clients before servers.
pub(crate) struct ControlPlane {
    controller_manager: Option<Process>,
    scheduler: Option<Process>,
    api_server: Option<Process>,
    etcd: Process,
    client: Client,
    port: u16,
    etcd_port: u16,
    api_server_cert: Leaf,
    service_account_key: Leaf,
    options: Options,
    pki: Pki,
    dir: TempDir,
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver, and waits until Clusternet's resources are served (unless
    /// they are not wanted).
    pub(crate) async fn start(options: Options) -> Self {
        // The second test of a process finds it installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        for attempt in 1.. {
            match Self::try_start(options.clone()).await {
                Ok(control_plane) => {
                    if !options.without_crds {
                        control_plane.apply_crds().await;
                    }
                    return control_plane;
                }
                Err(report) if attempt == START_ATTEMPTS => panic!("{report}"),
                Err(report) => eprintln!("attempt {attempt} to start failed:\n{report}"),
            }
        }
        unreachable!("the last attempt returns or panics")
    }

    async fn try_start(options: Options) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("sheetanchor-e2e-").tempdir().unwrap();
        let pki = Pki::new(dir.path().join("pki"));
        let (port, etcd_port) = (free_port(), free_port());
        let admin = write_kubeconfig(&pki, port, "admin", Some("system:masters"));
        let mut control_plane = Self {
            controller_manager: None,
            scheduler: None,
            api_server: None,
            etcd: spawn_etcd(dir.path(), etcd_port),
            client: client_from(&admin).await,
            port,
            etcd_port,
            api_server_cert: pki.server(&["127.0.0.1", "localhost"]),
            service_account_key: pki.service_account_key(),
            options,
            pki,
            dir,
        };
        control_plane.api_server = Some(control_plane.spawn_api_server());
        control_plane.wait_until_ready().await?;
        Ok(control_plane)
    }

    /// Installs Clusternet's resources.
    pub(crate) async fn apply_crds(&self) {
        apply_crds(&self.client).await;
    }

    /// A client that may do everything.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// A client that acts as `user`, by certificate.
    pub(crate) async fn client_as(&self, user: &str, group: Option<&str>) -> Client {
        client_from(&self.kubeconfig(user, group)).await
    }

    /// Writes a kubeconfig for `user`. A service account is the user
    /// `system:serviceaccount:<namespace>:<name>`.
    pub(crate) fn kubeconfig(&self, user: &str, group: Option<&str>) -> PathBuf {
        write_kubeconfig(&self.pki, self.port, user, group)
    }

    /// Writes a kubeconfig for whoever has this token.
    pub(crate) fn kubeconfig_with_token(&self, token: &str) -> PathBuf {
        let path = self.dir().join("token.kubeconfig");
        fs::write(&path, kubeconfig(&self.pki, self.port, &json!({"token": token}))).unwrap();
        path
    }

    /// The authority that every certificate of this control plane comes from.
    pub(crate) fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The directory that holds logs and configuration, removed at the end.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Kills the API server: connections break at once, and new ones are refused.
    pub(crate) fn stop_api_server(&mut self) {
        drop(self.api_server.take());
    }

    /// The API server stands still: connections stay, and nothing comes.
    pub(crate) fn hang_api_server(&self) {
        self.api_server.as_ref().expect("running").pause();
    }

    /// It goes on with what was sent to it meanwhile.
    pub(crate) fn wake_api_server(&self) {
        self.api_server.as_ref().expect("running").resume();
    }

    /// etcd stands still: the API server answers only what it can without it.
    pub(crate) fn hang_etcd(&self) {
        self.etcd.pause();
    }

    /// It goes on with what was sent to it meanwhile.
    pub(crate) fn wake_etcd(&self) {
        self.etcd.resume();
    }

    /// Starts the API server again, on the same port, over the same etcd.
    pub(crate) async fn restart_api_server(&mut self) {
        self.stop_api_server();
        self.api_server = Some(self.spawn_api_server());
        if let Err(report) = self.wait_until_ready().await {
            panic!("{report}");
        }
    }

    /// A KubeSchedulerConfiguration that can reach this API server, ended by `rest`.
    pub(crate) fn scheduler_config(&self, rest: &str) -> String {
        let kubeconfig = self.kubeconfig("system:kube-scheduler", None);
        format!(
            "apiVersion: kubescheduler.config.k8s.io/v1\n\
             kind: KubeSchedulerConfiguration\n\
             leaderElection: {{leaderElect: false}}\n\
             clientConnection: {{kubeconfig: {}, qps: 1000, burst: 1000}}\n\
             {rest}\n",
            text(&kubeconfig)
        )
    }

    /// Starts kube-scheduler, or restarts it with another configuration.
    pub(crate) fn start_scheduler(&mut self, config_yaml: &str) {
        drop(self.scheduler.take());
        let config = self.dir().join("scheduler.yaml");
        fs::write(&config, config_yaml).unwrap();
        let (mut command, ends) = program("kube-scheduler");
        command.args(["--config", text(&config), "--secure-port=0"]);
        self.scheduler = Some(Process::spawn("kube-scheduler", command, self.dir(), ends));
    }

    /// Starts kube-controller-manager with the controllers that make pods, and that of their quotas.
    pub(crate) fn start_controller_manager(&mut self) {
        let kubeconfig = self.kubeconfig("system:kube-controller-manager", None);
        let (mut command, ends) = program("kube-controller-manager");
        command.args([
            "--kubeconfig",
            text(&kubeconfig),
            "--controllers=deployment,replicaset,statefulset,job,resourcequota",
            "--use-service-account-credentials=true",
            "--kube-api-qps=1000",
            "--kube-api-burst=1000",
            "--leader-elect=false",
            "--secure-port=0",
        ]);
        let process = Process::spawn("kube-controller-manager", command, self.dir(), ends);
        self.controller_manager = Some(process);
    }

    fn spawn_api_server(&self) -> Process {
        let (mut command, ends) = program("kube-apiserver");
        let key = &self.service_account_key;
        command
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port))
            .arg(format!("--secure-port={}", self.port))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .args(["--endpoint-reconciler-type=none"])
            .args(["--service-cluster-ip-range=10.0.0.0/24"])
            .args(["--tls-cert-file", text(&self.api_server_cert.cert)])
            .args(["--tls-private-key-file", text(&self.api_server_cert.key)])
            .args(["--client-ca-file", text(&self.pki.ca_file())])
            .args(["--service-account-issuer=https://kubernetes.default.svc"])
            .args(["--service-account-key-file", text(&key.cert)])
            .args(["--service-account-signing-key-file", text(&key.key)])
            .args(["--authorization-mode=RBAC", "--profiling=false"])
            .args(["--disable-admission-plugins=ServiceAccount"])
            .args(&self.options.api_server_args);
        Process::spawn("kube-apiserver", command, self.dir(), ends)
    }

    /// Waits for `/readyz`; an error when a server ended instead.
    async fn wait_until_ready(&mut self) -> Result<(), String> {
        let client = self.client.clone();
        let (etcd, api_server) = (&mut self.etcd, self.api_server.as_mut().unwrap());
        eventually("the API server to be ready", PATIENCE, async || {
            for process in [&mut *etcd, &mut *api_server] {
                if process.exit_status().is_some() {
                    return Ok(Err(process.log_tail()));
                }
            }
            get(&client, "/readyz").await.map(|_| Ok(()))
        })
        .await
    }
}

/// The text at `path`, or why there is none.
pub(crate) async fn get(client: &Client, path: &str) -> Result<String, String> {
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    match tokio::time::timeout(PROBE_TIMEOUT, client.request_text(request)).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {PROBE_TIMEOUT:?}")),
    }
}

/// A port of 127.0.0.1 that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn spawn_etcd(dir: &Path, port: u16) -> Process {
    let (mut command, ends) = program("etcd");
    let url = format!("http://127.0.0.1:{port}");
    // Nobody ever dials the peer address of a cluster of one, but etcd insists on having it.
    let peer = "http://127.0.0.1:0";
    command
        .args(["--data-dir", text(&dir.join("etcd"))])
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", peer])
        .args(["--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .args(["--unsafe-no-fsync", "--log-level=warn"]);
    Process::spawn("etcd", command, dir, ends)
}

/// How to run one of the programs of Kubernetes: ours, or for those that envtest ships, those of
/// `KUBEBUILDER_ASSETS`.
pub(crate) fn program(name: &str) -> (Command, EndsWithStdin) {
    if let Some(assets) = env::var_os("KUBEBUILDER_ASSETS") {
        let binary = Path::new(&assets).join(name);
        if binary.exists() {
            return (Command::new(binary), EndsWithStdin::No);
        }
    }
    let binary = env::var_os("SHEETANCHOR_CONTROL_PLANE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/control-plane/control-plane"),
        PathBuf::from,
    );
    assert!(binary.exists(), "run \"make control-plane\" first");
    let mut command = Command::new(binary);
    command.arg(name);
    (command, EndsWithStdin::Yes)
}

fn write_kubeconfig(pki: &Pki, port: u16, user: &str, group: Option<&str>) -> PathBuf {
    let Leaf { cert, key } = pki.client(user, group);
    let path = cert.with_extension("kubeconfig");
    fs::write(&path, kubeconfig(pki, port, &json!({"client-certificate": cert, "client-key": key}))).unwrap();
    path
}

/// `user`: what shows who one is. JSON is YAML, for every reader of a kubeconfig.
fn kubeconfig(pki: &Pki, port: u16, user: &Value) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": pki.ca_file(),
        }}],
        "users": [{"name": "test", "user": user}],
    });
    config.to_string()
}

/// A client for the current context of a kubeconfig.
pub(crate) async fn client_from(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    // After an outage a beat is due at once, not after what a client has backed off to.
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// Applies the CRDs of `tests/data/crds`, and waits until each is served.
async fn apply_crds(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/crds");
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let yaml = fs::read_to_string(entry.unwrap().path()).unwrap();
        let crd: CustomResourceDefinition = serde_saphyr::from_str(&yaml).unwrap();
        let version = &crd.spec.versions[0].name;
        let names = &crd.spec.names;
        paths.push(format!("/apis/{}/{version}/{}", crd.spec.group, names.plural));
        api.create(&Default::default(), &crd).await.unwrap();
    }
    // A list that is answered says more than the condition Established does.
    for path in paths {
        eventually(&path, PATIENCE, async || get(client, &path).await).await;
    }
}
