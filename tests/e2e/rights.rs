//! `manifests/base/rbac.yaml`: the server runs as its own ServiceAccount, and what it is granted is
//! what the API server saw it use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use futures::future::{join_all, select};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, Options};
use crate::fleet::{Member, MemberOptions, managed_clusters};
use crate::kubectl::{kubectl, render, repository};
use crate::nodes::add_virtual_node;
use crate::pki::text;
use crate::scene::{FLEET, Scene};
use crate::sheetanchor::{NAMESPACE, Sheetanchor, SheetanchorOptions};
use crate::wait::{PATIENCE, eventually};

const USER: &str = "system:serviceaccount:sheetanchor-system:sheetanchor";
const NAMES: [&str; 3] = ["eu-1", "eu-2", "eu-3"];

/// A right, or a request that needs it: where (a namespace, or everywhere), what, which one by name, how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    namespace: Option<String>,
    resource: String,
    name: Option<String>,
    verb: String,
}

impl Right {
    fn covers(&self, request: &Self) -> bool {
        (self.namespace.is_none() || self.namespace == request.namespace)
            && self.resource == request.resource
            && (self.name.is_none() || self.name == request.name)
            && self.verb == request.verb
    }
}

/// What the manifests grant, one resource, name and verb at a time.
fn granted() -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for role in render(&repository("manifests/base")) {
        let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
        for rule in role["rules"].as_array().into_iter().flatten() {
            let strings = |field: &str| -> Vec<String> { serde_json::from_value(rule[field].clone()).unwrap() };
            let [group] = &strings("apiGroups")[..] else { panic!("one group a rule: {rule}") };
            let names = if rule["resourceNames"].is_null() { vec![] } else { strings("resourceNames") };
            let names = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
            for resource in strings("resources") {
                for name in &names {
                    rights.extend(strings("verbs").into_iter().map(|verb| Right {
                        namespace: namespace.clone(),
                        resource: format!("{group}/{resource}"),
                        name: name.clone(),
                        verb,
                    }));
                }
            }
        }
    }
    rights
}

/// The API server's record of what it was asked by us.
struct Audit {
    log: String,
}

impl Audit {
    /// The flags that make an API server write it.
    fn flags(dir: &Path) -> (Self, Vec<String>) {
        let (policy, log) = (dir.join("audit-policy.yaml"), dir.join("audit.log"));
        let rules = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": [USER]}, {"level": "None"}],
        });
        fs::write(&policy, rules.to_string()).unwrap();
        let flags = [("policy-file", text(&policy)), ("log-path", text(&log)), ("log-mode", "blocking")];
        let flags = flags.map(|(flag, value)| format!("--audit-{flag}={value}"));
        (Self { log: text(&log).to_owned() }, flags.to_vec())
    }

    /// What was asked, and with which HTTP statuses it was answered.
    fn requests(&self) -> BTreeMap<Right, BTreeSet<u64>> {
        let mut requests = BTreeMap::<_, BTreeSet<u64>>::new();
        for line in fs::read_to_string(&self.log).unwrap().lines() {
            // The last line may be half written.
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            assert_eq!(event["user"]["username"], USER);
            let object = &event["objectRef"];
            let of = |field: &str| object[field].as_str().map(str::to_owned);
            let subresource = of("subresource").map_or(String::new(), |subresource| format!("/{subresource}"));
            let resource = format!("{}/{}{subresource}", of("apiGroup").unwrap_or_default(), of("resource").unwrap());
            let verb = event["verb"].as_str().unwrap().to_owned();
            // Whoever creates something cannot be bound to its name.
            let name = of("name").filter(|_| verb != "create");
            let request = Right { namespace: of("namespace"), resource, name, verb };
            requests.entry(request).or_default().insert(event["responseStatus"]["code"].as_u64().unwrap());
        }
        requests
    }

    async fn until(&self, resource: &str, verb: &str) {
        let what = format!("somebody to {verb} {resource}");
        eventually(&what, PATIENCE, async || {
            let requests = self.requests();
            requests.keys().any(|request| request.resource == resource && request.verb == verb).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_uses_every_right_that_it_is_granted_and_needs_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, mut api_server_args) = Audit::flags(dir.path());
    api_server_args.push("--service-cluster-ip-range=10.96.0.0/16".to_owned());
    let control_plane = ControlPlane::start(Options { api_server_args, ..Options::default() }).await;
    let (scene, standby) = install(control_plane).await;

    live_through_everything(&scene, &audit).await;
    hand_over(scene, &standby).await;

    let (granted, requests) = (granted(), audit.requests());
    for request in requests.keys() {
        let covered = granted.iter().any(|right| right.covers(request));
        assert!(covered && !requests[request].contains(&403), "{request:?} is not granted: {requests:#?}");
    }
    for right in &granted {
        assert!(requests.keys().any(|request| right.covers(request)), "{right:?} is granted and never used");
    }
    assert!(!standby.process.log().contains("orbidden"), "{}", standby.process.log());
}

/// Two replicas, as kubectl installs their rights, each with a token of their ServiceAccount.
async fn install(control_plane: ControlPlane) -> (Scene, Sheetanchor) {
    let client = control_plane.client();
    let mut members = BTreeMap::new();
    for name in NAMES {
        members.insert(name.to_owned(), Member::join(&client, FLEET, name, MemberOptions::default()).await);
        add_virtual_node(&client, name, &[("sheetanchor.dev/cluster", &format!("{FLEET}.{name}"))]).await;
    }
    kubectl(&control_plane, &["apply", "-k", &repository("manifests/base")]);
    let token = kubectl(&control_plane, &["-n", NAMESPACE, "create", "token", "sheetanchor"]);
    let kubeconfig = control_plane.kubeconfig_with_token(token.trim());
    let replica = |name: &str| SheetanchorOptions {
        name: name.to_owned(),
        kubeconfig: Some(kubeconfig.clone()),
        ..SheetanchorOptions::default()
    };
    let sheetanchor = Sheetanchor::start(&control_plane, replica("sheetanchor")).await;
    let scene = Scene { control_plane, client, members, sheetanchor };
    for name in NAMES {
        scene.until_alive(name, "True", "Ready").await;
    }
    let standby = Sheetanchor::start(&scene.control_plane, replica("standby")).await;
    (scene, standby)
}

/// Taint, mirror, condition, Events that repeat, conflicts, the brake's record.
async fn live_through_everything(scene: &Scene, audit: &Audit) {
    // The second loss is counted up on the Event of the first.
    for _ in 0..2 {
        scene.member("eu-1").stop().await;
        scene.until_tainted("eu-1", Some("ClusterStatusUnknown")).await;
        scene.until_alive("eu-1", "Unknown", "Lost").await;
        scene.member("eu-1").resume().await;
        scene.until_tainted("eu-1", None).await;
        scene.until_alive("eu-1", "True", "Ready").await;
    }
    audit.until("events.k8s.io/events", "patch").await;

    // Somebody writes without end, and undoes what we wrote: what we decided on is never what is stored.
    scene.member("eu-2").stop().await;
    scene.until_verdict("eu-2", "Late").await;
    let clusters = managed_clusters(&scene.client, FLEET);
    contend(&clusters, "eu-2", audit.until("clusters.clusternet.io/managedclusters", "get")).await;
    contend(&nodes(&scene.client), "eu-2", audit.until("/nodes", "get")).await;
    scene.until_tainted("eu-2", Some("ClusterStatusUnknown")).await;
    scene.member("eu-2").resume().await;
    scene.until_tainted("eu-2", None).await;

    join_all(NAMES.map(|name| scene.member(name).stop())).await;
    scene.until_event("sheetanchor-brake", "BrakeOn").await;
    join_all(NAMES.map(|name| scene.member(name).resume())).await;
    scene.until_event("sheetanchor-brake", "BrakeOff").await;
    audit.until("/configmaps", "update").await;
}

/// The standby takes over, and writes.
async fn hand_over(mut scene: Scene, standby: &Sheetanchor) {
    scene.sheetanchor.process.terminate();
    let status = scene.sheetanchor.process.wait_for_exit(PATIENCE).await;
    let log = scene.sheetanchor.process.log();
    assert!(status.code() == Some(0) && log.contains("Lease released") && !log.contains("orbidden"), "{log}");
    eventually("the standby to lead", PATIENCE, async || (standby.metric("leading").await == 1.0).then_some(())).await;
    scene.member("eu-3").stop().await;
    scene.until_tainted("eu-3", Some("ClusterStatusUnknown")).await;
}

fn nodes(client: &Client) -> Api<Node> {
    Api::all(client.clone())
}

/// Writes to an object, and takes off its taints, again and again until `enough`.
async fn contend<K>(api: &Api<K>, name: &str, enough: impl Future<Output = ()>)
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let write = async {
        for count in 0.. {
            let patch = json!({"metadata": {"annotations": {"count": format!("{count}")}}, "spec": {"taints": null}});
            api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        }
    };
    select(Box::pin(write), Box::pin(enough)).await;
}
