//! The demo's hub answers as the real API server does: the same requests go to both, and the answers
//! must be the same, down to the words that are shown to people.

mod side;
mod webhook;

use sheetanchor::demo::hub::Hub;

use crate::control_plane::{ControlPlane, Options};

use self::side::Side;
use self::webhook::Webhook;

/// What is asked, and the body.
type Step = (&'static str, &'static str);

const FLEET: Step = ("POST /api/v1/namespaces", r#"{"metadata":{"name":"fleet"}}"#);
const CLUSTER: &str = r#"{"apiVersion":"clusters.clusternet.io/v1beta1","kind":"ManagedCluster",
    "metadata":{"name":"a","labels":{"env":"prod"}},"status":{"k8sVersion":"dropped"},
    "spec":{"clusterId":"11111111-1111-4111-8111-111111111111","syncMode":"Dual","clusterType":"EdgeCluster"}}"#;
const POD: &str = r#"{"metadata":{"name":"NAME"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#;
const BINDING: &str = r#"{"metadata":{"name":"NAME","annotations":{"a":"b"}},"target":{"kind":"Node","name":"n"}}"#;
const SUBSCRIPTION: &str = r#"{"apiVersion":"apps.clusternet.io/v1alpha1","kind":"Subscription",
    "metadata":{"name":"NAME"},"spec":{"schedulerName":"default","preemptionPolicy":"PreemptLowerPriority",
    "schedulingStrategy":"Replication","subscribers":[{"clusterAffinity":{}}],
    "feeds":[{"apiVersion":"apps/v1","kind":"Deployment","name":"web","namespace":"default"}]}}"#;

/// The real one without what no part of Kubernetes is here to take back.
async fn sides() -> (ControlPlane, Hub, [Side; 2]) {
    let plugins = "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition,DefaultTolerationSeconds";
    let options = Options { api_server_args: vec![plugins.to_owned()], ..Options::default() };
    let control_plane = ControlPlane::start(options).await;
    let hub = Hub::start().await.unwrap();
    let sides = [Side::real(&control_plane), Side::demo(&hub).await];
    (control_plane, hub, sides)
}

async fn compare(sides: &mut [Side; 2], steps: &[Step]) {
    let [real, demo] = sides;
    let mut different = Vec::new();
    for (request, body) in steps {
        let (expected, answer) = (real.ask(request, body).await, demo.ask(request, body).await);
        if answer != expected {
            different.push(format!("{request} {body}\n  real: {expected}\n  demo: {answer}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_created_read_and_deleted_alike() {
    let (_control_plane, _hub, mut sides) = sides().await;
    compare(
        &mut sides,
        &[
            ("POST {clusters}", CLUSTER),
            FLEET,
            FLEET,
            ("POST {clusters}", CLUSTER),
            ("POST {clusters}", CLUSTER),
            ("~POST {clusters}", r#"{"metadata":{"name":"b"}}"#),
            ("POST {leases}", r#"{"metadata":{"generateName":"x-"},"spec":{"holderIdentity":"me"}}"#),
            ("POST {maps}", r#"{"metadata":{}}"#),
            ("POST {maps}", r#"{"metadata":{"name":"A_b"}}"#),
            ("POST {maps}", r#"{"metadata":{"name":"m","resourceVersion":"5"}}"#),
            ("POST {maps}", r#"{"metadata":{"name":"m","namespace":"other"}}"#),
            ("~POST {maps}", r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"m"}}"#),
            ("POST {maps}", r#"{"metadata":{"name":"m"},"data":{"k":"v"}}"#),
            ("POST {maps}?dryRun=All", r#"{"metadata":{"name":"dry"},"data":{"k":"v"}}"#),
            ("~POST {maps}", "{"),
            ("~POST {maps}", "[]"),
            ("POST /api/v1/configmaps", r#"{"metadata":{"name":"m"}}"#),
            ("GET {clusters}/a", ""),
            ("GET {clusters}/a/status", ""),
            ("GET {clusters}/none", ""),
            ("GET {maps}", ""),
            ("GET {maps}/none", ""),
            ("GET /api/v1/namespaces/none/configmaps", ""),
            ("GET /api/v1/configmaps?fieldSelector=metadata.namespace=fleet", ""),
            ("GET {clusters}?labelSelector=env%20in%20(prod,dev)", ""),
            ("GET {clusters}?labelSelector=env!=prod", ""),
            ("GET {clusters}?labelSelector=!env", ""),
            ("GET {clusters}?fieldSelector=metadata.name=a", ""),
            ("GET {clusters}?fieldSelector=spec.x=a", ""),
            ("GET {maps}?limit=500", ""),
            ("GET /api/v1/none", ""),
            ("PUT {maps}", "{}"),
            ("DELETE {maps}/m", r#"{"preconditions":{"uid":"other"}}"#),
            ("DELETE {maps}/m", r#"{"preconditions":{"resourceVersion":"1"}}"#),
            ("DELETE {maps}/m?dryRun=All", ""),
            ("DELETE {maps}/m", r#"{"preconditions":{"uid":"$m.uid","resourceVersion":"$m.rv"}}"#),
            ("DELETE {maps}/m", ""),
            ("DELETE {clusters}/a", ""),
            ("DELETE {clusters}/a", ""),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_changed_alike() {
    let (_control_plane, _hub, mut sides) = sides().await;
    compare(
        &mut sides,
        &[
            FLEET,
            ("POST {clusters}", CLUSTER),
            // The status and the rest do not touch each other.
            ("MERGE {clusters}/a/status", r#"{"status":{"k8sVersion":"v1"},"spec":{"syncMode":"Push"},"metadata":{"labels":{"x":"y"}}}"#),
            ("MERGE {clusters}/a", r#"{"status":{"k8sVersion":"v2"},"spec":{"syncMode":"Push"},"metadata":{"labels":{"x":"y"}}}"#),
            ("MERGE {clusters}/a", r#"{"metadata":{"labels":{"x":null},"annotations":{"n":"1"}}}"#),
            ("MERGE {clusters}/a", "{}"),
            // Versions: that of the last answer, then one that is no longer so.
            ("MERGE {clusters}/a", r#"{"metadata":{"resourceVersion":"$a.rv"},"spec":{"taints":[{"key":"k","effect":"NoSchedule"}]}}"#),
            ("MERGE {clusters}/a", r#"{"metadata":{"resourceVersion":"1"},"spec":{"taints":null}}"#),
            ("MERGE {clusters}/a", r#"{"metadata":{"uid":"other"}}"#),
            ("MERGE {clusters}/a", r#"{"metadata":{"name":"b"}}"#),
            ("~MERGE {clusters}/a", r#"{"metadata":{"labels":{"x":1}}}"#),
            ("MERGE {clusters}/a", r#"{"spec":{"taints":null}}"#),
            ("MERGE {clusters}/none", "{}"),
            ("~MERGE {clusters}/a/none", "{}"),
            ("~MERGE {clusters}/a", "["),
            ("~STRATEGIC {clusters}/a", "{}"),
            ("JSON {clusters}/a", r#"[{"op":"add","path":"/metadata/labels/j","value":"1"},{"op":"test","path":"/metadata/labels/j","value":"1"}]"#),
            ("JSON {clusters}/a", r#"[{"op":"test","path":"/metadata/labels/j","value":"2"}]"#),
            ("JSON {clusters}/a", r#"[{"op":"remove","path":"/spec/none"}]"#),
            ("JSON {clusters}/a?dryRun=All", r#"[{"op":"remove","path":"/metadata/labels/j"}]"#),
            ("GET {clusters}/a", ""),
            ("PUT {clusters}/a", CLUSTER),
            ("~PUT {clusters}/a", r#"{"metadata":{"name":"b"}}"#),
            ("POST {leases}", r#"{"metadata":{"name":"l"},"spec":{"holderIdentity":"me"}}"#),
            ("PUT {leases}/l", r#"{"metadata":{"name":"l","resourceVersion":"$l.rv"},"spec":{"holderIdentity":"you"}}"#),
            ("PUT {leases}/l", r#"{"metadata":{"name":"l","resourceVersion":"1"},"spec":{"holderIdentity":"me"}}"#),
            ("~PUT {leases}/l", r#"{"metadata":{"name":"l","uid":"x","resourceVersion":"$l.rv"},"spec":{}}"#),
            ("PUT {leases}/l", r#"{"metadata":{"name":"l"},"spec":{"holderIdentity":"me"}}"#),
            ("PUT {leases}/none", r#"{"metadata":{"name":"none","resourceVersion":"1"},"spec":{}}"#),
            ("MERGE {leases}/l/status", "{}"),
            ("POST {maps}", r#"{"metadata":{"name":"m"},"data":{"k":"v"}}"#),
            ("PUT {maps}/m", r#"{"metadata":{"name":"m"},"data":{"k":"w"}}"#),
            ("STRATEGIC {maps}/m", r#"{"data":{"k":null,"l":"x"}}"#),
            ("POST {nodes}", r#"{"metadata":{"name":"n"},"status":{"phase":"Running"}}"#),
            ("MERGE {nodes}/n", r#"{"spec":{"taints":[{"key":"k","effect":"NoSchedule"}]},"status":{"phase":"Pending"}}"#),
            ("MERGE {nodes}/n/status", r#"{"status":{"phase":"Pending"}}"#),
            // Finalizers hold it until the last is gone.
            ("MERGE {clusters}/a", r#"{"metadata":{"finalizers":["example.com/hold"]}}"#),
            ("DELETE {clusters}/a", ""),
            ("DELETE {clusters}/a", ""),
            ("MERGE {clusters}/a", r#"{"metadata":{"labels":{"late":"1"}}}"#),
            ("MERGE {clusters}/a", r#"{"metadata":{"finalizers":null}}"#),
            ("GET {clusters}/a", ""),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_tell_alike() {
    let (_control_plane, _hub, mut sides) = sides().await;
    compare(
        &mut sides,
        &[
            FLEET,
            ("POST {maps}", r#"{"metadata":{"name":"a","labels":{"in":"1"}}}"#),
            ("GET {maps}", ""),
            ("POST {maps}", r#"{"metadata":{"name":"b"}}"#),
            ("MERGE {maps}/a", r#"{"data":{"k":"1"}}"#),
            ("MERGE {maps}/a", r#"{"data":{"k":"1"}}"#),
            ("MERGE {maps}/a", r#"{"metadata":{"labels":null}}"#),
            ("MERGE {maps}/b", r#"{"metadata":{"labels":{"in":"1"}}}"#),
            ("DELETE {maps}/b", ""),
            ("GET {maps}?watch=1&timeoutSeconds=1&resourceVersion=$list.rv", ""),
            ("GET {maps}?watch=1&timeoutSeconds=1&resourceVersion=$list.rv&labelSelector=in", ""),
            ("GET {maps}?watch=1&timeoutSeconds=1&resourceVersion=$list.rv&fieldSelector=metadata.name=b", ""),
            ("GET {maps}/a?watch=1&timeoutSeconds=1&resourceVersion=$list.rv", ""),
            ("GET {maps}?watch=1&timeoutSeconds=1", ""),
            ("GET {maps}?watch=1&timeoutSeconds=1&resourceVersion=0", ""),
            ("GET {maps}?watch=1&timeoutSeconds=x", ""),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_bound_alike() {
    let (control_plane, _hub, mut sides) = sides().await;
    let pod = |name| POD.replace("NAME", name).leak() as &str;
    let binding = |name| BINDING.replace("NAME", name).leak() as &str;
    let subscription = |name| SUBSCRIPTION.replace("NAME", name).leak() as &str;
    let names = ["plain", "denied", "refused", "stamped", "moved", "misfit", "warned", "down", "mistaken", "no-target"];
    let mut steps = vec![FLEET, ("POST {pods}/none/binding", binding("none")), ("POST {pods}", pod("probe"))];
    steps.extend(names.iter().map(|name| ("POST {pods}", pod(name))));
    compare(&mut sides, &steps).await;

    let webhook = [Webhook::start(control_plane.pki()).await, Webhook::start(control_plane.pki()).await];
    for policy in ["Fail", "Ignore"] {
        for (side, webhook) in sides.iter_mut().zip(&webhook) {
            side.register(webhook, policy).await;
        }
        let mut steps: Vec<Step> = Vec::new();
        for name in names {
            let body =
                if name == "no-target" { r#"{"metadata":{"name":"no-target"},"target":{}}"# } else { binding(name) };
            let wordy = if ["misfit", "down", "mistaken"].contains(&name) && policy == "Fail" || name == "misfit" {
                "~"
            } else {
                ""
            };
            steps.push((format!("{wordy}POST {{pods}}/{name}/binding").leak(), body));
            steps.push((format!("GET {{pods}}/{name}").leak(), ""));
        }
        compare(&mut sides, &steps).await;
        asked_alike(&webhook);
    }
    compare(
        &mut sides,
        &[
            ("POST {pods}", pod("other")),
            ("POST {pods}/other/binding", binding("another")),
            ("~POST {pods}/other/binding", r#"{"metadata":{"name":"other","uid":"x"},"target":{"name":"n"}}"#),
            ("POST {pods}/other/binding", r#"{"metadata":{"name":"other","uid":"$other.uid"},"target":{"name":"n"}}"#),
            ("POST {subscriptions}", subscription("kept")),
            ("MERGE {subscriptions}/kept", r#"{"metadata":{"annotations":{"a":"b"}}}"#),
            (
                "MERGE {subscriptions}/kept/status?fieldManager=x",
                r#"{"status":{"bindingClusters":[],"desiredReleases":0}}"#,
            ),
            ("POST {subscriptions}", subscription("denied")),
            ("MERGE {subscriptions}/denied/status", r#"{"status":{"bindingClusters":["fleet/b"]}}"#),
            ("GET {subscriptions}/denied", ""),
        ],
    )
    .await;
    asked_alike(&webhook);
}

fn asked_alike(webhook: &[Webhook; 2]) {
    let [real, demo] = webhook.each_ref().map(Webhook::reviews);
    for (real, demo) in real.iter().zip(&demo) {
        assert_eq!(demo, real, "what the webhook was asked");
    }
    assert_eq!(demo.len(), real.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_named_alike() {
    let (_control_plane, _hub, [real, demo]) = sides().await;
    let groups = demo.get("/apis").await["groups"].as_array().unwrap().clone();
    let versions =
        groups.iter().map(|group| format!("/apis/{}", group["preferredVersion"]["groupVersion"].as_str().unwrap()));
    for path in versions.chain(["/api/v1".to_owned()]) {
        let (known, claimed) = (real.get(&path).await, demo.get(&path).await);
        for resource in claimed["resources"].as_array().unwrap() {
            let known = known["resources"].as_array().unwrap().iter().find(|known| known["name"] == resource["name"]);
            let known = known.unwrap_or_else(|| panic!("{path} has no {}", resource["name"]));
            for field in ["singularName", "namespaced", "kind", "shortNames"] {
                assert_eq!(resource[field], known[field], "{field} of {} in {path}", resource["name"]);
            }
        }
    }
}
