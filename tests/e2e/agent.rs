//! `sheetanchor agent` as the heartbeat of a cluster. It runs with the rights that its manifests grant
//! it, and no others; the hub and the member are the same API server.

use std::path::{Path, PathBuf};
use std::process::Command;

use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::control_plane::{ControlPlane, Options, free_port, get};
use crate::fleet::{ensure_namespace, managed_clusters};
use crate::nodes::add_virtual_node;
use crate::pki::text;
use crate::process::{EndsWithStdin, Process};
use crate::scene::{FLEET, Scene};
use crate::wait::{PATIENCE, eventually};

/// The two service accounts of the manifests.
const MEMBER_USER: &str = "system:serviceaccount:sheetanchor-agent:sheetanchor-agent";
const HUB_USER: &str = "system:serviceaccount:fleet:sheetanchor-agent-eu-1";

/// The objects of a file below `manifests/agent`.
fn manifest(path: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/agent").join(path);
    serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn api(client: &Client, object: &Value) -> Api<DynamicObject> {
    let (group, version) = match object["apiVersion"].as_str().unwrap().split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", "v1"),
    };
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap()));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    }
}

/// Applies the objects of a file; the API server must know every field of theirs.
async fn apply(client: &Client, path: &str) {
    for object in manifest(path) {
        let (params, name) = (PatchParams::apply("test").validation_strict(), object["metadata"]["name"].as_str());
        api(client, &object).patch(name.unwrap(), &params, &Patch::Apply(&object)).await.unwrap();
    }
}

/// An agent of fleet/eu-1 that beats every second.
struct Agent {
    process: Process,
    dir: PathBuf,
    kubeconfigs: [PathBuf; 2],
}

impl Agent {
    /// Grants it what the manifests grant, and starts it.
    async fn start(control_plane: &ControlPlane) -> Self {
        Self::start_in(control_plane, control_plane.kubeconfig(MEMBER_USER, None)).await
    }

    /// As [`Agent::start`], in the member that this kubeconfig names.
    async fn start_in(control_plane: &ControlPlane, member: PathBuf) -> Self {
        let client = control_plane.client();
        ensure_namespace(&client, FLEET).await;
        for path in ["member/namespace.yaml", "member/rbac.yaml", "hub/rbac.yaml"] {
            apply(&client, path).await;
        }
        // By default everybody may ask an API server how it is.
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding"});
        for everybodys in ["system:public-info-viewer", "system:discovery"] {
            api(&client, &binding).delete(everybodys, &DeleteParams::default()).await.unwrap();
        }
        let kubeconfigs = [member, control_plane.kubeconfig(HUB_USER, None)];
        let dir = control_plane.dir().to_owned();
        Self { process: spawn(&dir, &kubeconfigs), dir, kubeconfigs }
    }

    /// Starts it again, after its death.
    fn restart(&mut self) {
        self.process = spawn(&self.dir, &self.kubeconfigs);
    }

    async fn until_logged(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), PATIENCE, async || {
            let log = self.process.log();
            if log.contains(text) { Ok(()) } else { Err(log) }
        })
        .await;
    }
}

fn spawn(dir: &Path, [member, hub]: &[PathBuf; 2]) -> Process {
    let mut command = command();
    command.args(["--kubeconfig", text(member), "--hub-kubeconfig", text(hub)]);
    command.arg("--cluster-status-update-frequency=1s");
    Process::spawn("agent", command, dir, EndsWithStdin::No)
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sheetanchor"));
    command.args(["agent", "--cluster-namespace=fleet", "--cluster-name=eu-1"]);
    command
}

/// Creates fleet/eu-1, with a taint of somebody's.
async fn create_cluster(client: &Client) {
    let cluster: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "clusters.clusternet.io/v1beta1", "kind": "ManagedCluster",
        "metadata": {"namespace": FLEET, "name": "eu-1", "labels": {"theirs": "kept"}},
        "spec": {"clusterId": "12345678-1234-4234-8234-123456789abc", "syncMode": "Dual",
            "taints": [{"key": "gpu", "effect": "NoSchedule"}]},
    }))
    .unwrap();
    managed_clusters(client, FLEET).create(&PostParams::default(), &cluster).await.unwrap();
}

async fn stored(client: &Client) -> DynamicObject {
    managed_clusters(client, FLEET).get("eu-1").await.unwrap()
}

/// Waits for so many further beats.
async fn until_beats(client: &Client, count: usize) {
    let mut stamps = vec![stored(client).await.data["status"]["lastObservedTime"].clone()];
    eventually(&format!("{count} beats"), PATIENCE, async || {
        let stamp = stored(client).await.data["status"]["lastObservedTime"].clone();
        if stamps.last() != Some(&stamp) {
            stamps.push(stamp);
        }
        if stamps.len() > count { Ok(()) } else { Err(format!("{stamps:?}")) }
    })
    .await;
}

/// How often a request for a ManagedCluster's status ended so, on the API server's page.
async fn answers(client: &Client, verb: &str, code: u16) -> Result<u64, String> {
    let page = get(client, "/metrics").await?;
    let wanted = [
        "apiserver_request_total{",
        &format!("code=\"{code}\""),
        &format!("verb=\"{verb}\""),
        "resource=\"managedclusters\"",
        "subresource=\"status\"",
    ];
    let lines = page.lines().filter(|line| wanted.iter().all(|part| line.contains(part)));
    Ok(lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_lives_and_dies_with_its_agent() {
    let scene = Scene::start(&["eu-1", "eu-2", "eu-3"], &[]).await;
    let mut agent = Agent::start(&scene.control_plane).await;
    agent.until_logged("beating").await;
    scene.member("eu-1").stop().await;
    until_beats(&scene.client, 5).await;
    scene.until_alive("eu-1", "True", "Ready").await;
    assert_eq!(scene.generation("eu-1").await, 1, "it was tainted, or its spec written");

    agent.process.kill();
    scene.until_tainted("eu-1", Some("ClusterStatusUnknown")).await;
    scene.until_alive("eu-1", "Unknown", "Lost").await;
    agent.restart();
    scene.until_tainted("eu-1", None).await;
    scene.until_alive("eu-1", "True", "Ready").await;

    agent.process.signal(Signal::STOP);
    scene.until_tainted("eu-1", Some("ClusterStatusUnknown")).await;
    scene.until_alive("eu-1", "Unknown", "Lost").await;
    agent.process.signal(Signal::CONT);
    scene.until_tainted("eu-1", None).await;
    scene.until_alive("eu-1", "True", "Ready").await;
    assert_eq!(agent.process.exit_status(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_api_server_is_down_is_reported_and_judged_not_ready() {
    let scene = Scene::start(&["eu-1", "eu-2", "eu-3"], &[]).await;
    let kubeconfig = scene.control_plane.kubeconfig("nobody", None);
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&kubeconfig).unwrap()).unwrap();
    config["clusters"][0]["cluster"]["server"] = json!(format!("https://127.0.0.1:{}", free_port()));
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    scene.until_alive("eu-1", "True", "Ready").await;

    let agent = Agent::start_in(&scene.control_plane, kubeconfig).await;
    scene.member("eu-1").stop().await;
    scene.until_tainted("eu-1", Some("ManagedClusterNotReady")).await;
    until_beats(&scene.client, 3).await;
    scene.until_alive("eu-1", "False", "NotReady").await;
    assert_eq!(agent.process.log().matches("the member's API server is not ready").count(), 1);
}

/// Creates a Pod bound to `node`, or to none.
async fn create_pod(client: &Client, name: &str, node: Option<&str>) {
    let container = json!({"name": "main", "image": "x", "resources": {"requests": {"cpu": "1500m", "memory": "1Gi"}}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "containers": [container]}});
    let api = api(client, &pod);
    api.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
}

async fn patch_status(client: &Client, object: Value, status: Value) {
    let name = object["metadata"]["name"].as_str().unwrap();
    let patch = Patch::Merge(json!({ "status": status }));
    api(client, &object).patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

/// Waits until the stored status has these fields, and perhaps others.
async fn until_status(client: &Client, expected: &Value) {
    eventually(&format!("the status {expected}"), PATIENCE, async || {
        let status = &stored(client).await.data["status"];
        let same = expected.as_object().unwrap().iter().all(|(field, value)| status[field] == *value);
        if same { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

/// A Node, or a Pod in the namespace default.
fn object(kind: &str, name: &str) -> Value {
    match kind {
        "Node" => json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}),
        _ => json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}}),
    }
}

/// Two nodes of the cluster's own and two that stand for others, with pods; n-2 is not ready.
async fn stock(client: &Client) {
    for (name, labels) in [
        ("n-1", &[][..]),
        ("n-2", &[]),
        ("virtual", &[("type", "virtual-kubelet")]),
        ("another", &[("sheetanchor.dev/cluster", "fleet.eu-2")]),
    ] {
        add_virtual_node(client, name, labels).await;
    }
    let not_ready = json!({"conditions": [{"type": "Ready", "status": "False", "reason": "R"}],
        "allocatable": {"cpu": "3920m", "memory": "7Gi"}});
    patch_status(client, object("Node", "n-2"), not_ready).await;
    for (name, node) in [
        ("a", Some("n-1")),
        ("b", Some("n-1")),
        ("ended", Some("n-2")),
        ("elsewhere", Some("virtual")),
        ("waiting", None),
    ] {
        create_pod(client, name, node).await;
    }
    patch_status(client, object("Pod", "ended"), json!({"phase": "Succeeded"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reports_what_the_cluster_is_and_has_and_touches_nothing_else() {
    let control_plane = ControlPlane::start(Options::default()).await;
    let client = control_plane.client();
    ensure_namespace(&client, FLEET).await;
    create_cluster(&client).await;
    let fine = json!({"type": "x/Fine", "status": "Unknown", "reason": "Why", "message": "two\nlines",
        "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 7});
    let cluster = json!({"apiVersion": "clusters.clusternet.io/v1beta1", "kind": "ManagedCluster",
        "metadata": {"name": "eu-1", "namespace": FLEET}});
    patch_status(&client, cluster, json!({"appPusher": true, "conditions": [fine]})).await;
    stock(&client).await;

    let mut agent = Agent::start(&control_plane).await;
    let version = client.apiserver_version().await.unwrap();
    let gib = |count: u64| (count << 30).to_string();
    until_status(
        &client,
        &json!({
            "heartbeatFrequencySeconds": 1, "livez": true, "readyz": true, "healthz": true,
            "k8sVersion": version.git_version, "platform": version.platform, "appPusher": true,
            "capacity": {"cpu": "128000m", "memory": gib(512)},
            "allocatable": {"cpu": "67920m", "memory": gib(256 + 7)},
            "resourceUsage": {"cpuUsage": "3000m", "memoryUsage": gib(2)},
            "nodeStatistics": {"readyNodes": 1, "notReadyNodes": 1, "unknownNodes": 0, "lostNodes": 0},
        }),
    )
    .await;

    // What changes is seen.
    patch_status(&client, object("Pod", "a"), json!({"phase": "Failed"})).await;
    create_pod(&client, "c", Some("n-2")).await;
    create_pod(&client, "d", Some("n-2")).await;
    until_status(&client, &json!({"resourceUsage": {"cpuUsage": "4500m", "memoryUsage": gib(3)}})).await;
    let node = object("Node", "n-2");
    api(&client, &node).delete("n-2", &DeleteParams::default()).await.unwrap();
    until_status(
        &client,
        &json!({
            "capacity": {"cpu": "64000m", "memory": gib(256)},
            "resourceUsage": {"cpuUsage": "1500m", "memoryUsage": gib(1)},
            "nodeStatistics": {"readyNodes": 1, "notReadyNodes": 0, "unknownNodes": 0, "lostNodes": 0},
        }),
    )
    .await;

    let cluster = stored(&client).await;
    let conditions = cluster.data["status"]["conditions"].as_array().unwrap();
    assert_eq!((conditions.len(), &conditions[0], &conditions[1]["type"]), (2, &fine, &json!("Ready")));
    assert_eq!((cluster.metadata.generation, cluster.metadata.labels.unwrap()["theirs"].as_str()), (Some(1), "kept"));
    assert_eq!(cluster.data["spec"]["taints"], json!([{"key": "gpu", "effect": "NoSchedule"}]));
    let managed = cluster.metadata.managed_fields.unwrap();
    let ours = managed.iter().filter(|entry| entry.manager.as_deref() == Some("sheetanchor-agent"));
    let ours: Vec<_> = ours.map(|entry| entry.subresource.as_deref()).collect();
    assert_eq!(ours, [Some("status")]);

    agent.process.terminate();
    let status = agent.process.wait_for_exit(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{}", agent.process.log());
    assert!(!agent.process.log().contains("WARN"), "{}", agent.process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_in_between_is_not_overwritten_and_the_beats_go_on() {
    let control_plane = ControlPlane::start(Options::default()).await;
    let client = control_plane.client();
    ensure_namespace(&client, FLEET).await;
    create_cluster(&client).await;
    let _agent = Agent::start(&control_plane).await;
    until_beats(&client, 2).await;

    // Each of these would be lost to a patch of the whole list that carried no version.
    let clusters = managed_clusters(&client, FLEET);
    let mut written = 0;
    let theirs = async |count: &mut i64| loop {
        let mut cluster = clusters.get("eu-1").await.unwrap();
        let conditions = cluster.data["status"]["conditions"].as_array_mut().unwrap();
        let kept = conditions.iter().filter(|condition| condition["type"] != "Ready").count();
        assert_eq!(kept as i64, (*count).min(1), "{conditions:?}");
        conditions.retain(|condition| condition["type"] == "Ready");
        conditions.push(json!({"type": "x/Fine", "status": "True", "reason": "Why", "message": count.to_string(),
            "lastTransitionTime": "2026-01-02T03:04:05Z"}));
        match clusters.replace_status("eu-1", &PostParams::default(), &cluster).await {
            Ok(_) => *count += 1,
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let enough = eventually("conflicts", PATIENCE, async || match answers(&client, "PATCH", 409).await {
        Ok(count) if count >= 3 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    tokio::select! {
        () = theirs(&mut written) => {}
        () = async { enough.await; until_beats(&client, 3).await } => {}
    }
    until_beats(&client, 2).await;
    let conditions = stored(&client).await.data["status"]["conditions"].take();
    let fine = conditions.as_array().unwrap().iter().find(|condition| condition["type"] == "x/Fine").unwrap();
    // The last write may have been stored, and its answer not been read.
    let last: i64 = fine["message"].as_str().unwrap().parse().unwrap();
    assert!((written - 1..=written).contains(&last), "{last} of {written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_its_object_and_says_so_once() {
    let control_plane = ControlPlane::start(Options::default()).await;
    let client = control_plane.client();
    let agent = Agent::start(&control_plane).await;
    eventually("several tries", PATIENCE, async || match answers(&client, "GET", 404).await {
        Ok(count) if count >= 3 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let log = agent.process.log();
    let told = "cannot report on ManagedCluster \\\"fleet/eu-1\\\" (it has to be created there first)";
    assert_eq!((log.matches(told).count(), log.matches("beating").count()), (1, 0), "{log}");
    create_cluster(&client).await;
    until_beats(&client, 2).await;
    agent.until_logged("beating").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_manifests_are_accepted_and_its_pod_is_admitted_as_restricted() {
    let control_plane = ControlPlane::start(Options::default()).await;
    let client = control_plane.client();
    for path in ["member/namespace.yaml", "member/rbac.yaml", "member/deployment.yaml"] {
        apply(&client, path).await;
    }
    let [mut deployment] = <[Value; 1]>::try_from(manifest("member/deployment.yaml")).unwrap();
    let spec = deployment["spec"]["template"]["spec"].take();
    let args: Vec<String> = serde_json::from_value(spec["containers"][0]["args"].clone()).unwrap();
    let flags = ["--cluster-namespace=fleet", "--cluster-name=eu-1"].map(str::to_owned);
    let line = ["sheetanchor".to_owned()].into_iter().chain(args).chain(flags);
    assert!(sheetanchor::config::parse(line.map(Into::into)).is_ok());

    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent", "namespace": "sheetanchor-agent"},
        "spec": spec});
    let api = api(&client, &pod);
    let create = async |pod: &Value| {
        api.create(&PostParams::default(), &serde_json::from_value(pod.clone()).unwrap()).await.map(drop)
    };
    let mut lax = pod.clone();
    lax["spec"]["securityContext"].as_object_mut().unwrap().remove("seccompProfile");
    let refused = create(&lax).await.unwrap_err().to_string();
    assert!(refused.contains("restricted"), "{refused}");
    // As the controller of quotas does, and as the API server notices by a watch of its own.
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "sheetanchor-agent-critical-pods", "namespace": "sheetanchor-agent"}});
    patch_status(&client, quota, json!({"hard": {"pods": "100"}, "used": {"pods": "0"}})).await;
    eventually("the pod", PATIENCE, async || create(&pod).await).await;
}

#[test]
fn a_start_that_cannot_succeed_is_one_line() {
    let dir = TempDir::new().unwrap();
    let (missing, member) = (dir.path().join("missing"), dir.path().join("member"));
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "c", "user": {}}]});
    std::fs::write(&member, config.to_string()).unwrap();
    let (missing, member) = (text(&missing), text(&member));
    for (args, code, parts) in [
        (vec!["--hub-kubeconfig", member], 1, vec!["no Pod", "--kubeconfig"]),
        (vec!["--kubeconfig", member, "--hub-kubeconfig", missing], 1, vec!["--hub-kubeconfig", missing]),
        (vec!["--kubeconfig", missing, "--hub-kubeconfig", member], 1, vec!["--kubeconfig", missing]),
        (vec!["--kubeconfig", member], 2, vec!["--hub-kubeconfig"]),
    ] {
        let output = command().args(&args).env_remove("KUBERNETES_SERVICE_HOST").output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        let told: Vec<&str> = log.lines().filter(|line| !line.contains(" INFO ")).collect();
        assert_eq!((output.status.code(), told.len()), (Some(code), 1), "{args:?}: {log}");
        for part in parts {
            assert!(told[0].contains(part), "{part:?} is missing: {told:?}");
        }
        assert!(output.stdout.is_empty());
    }
}
